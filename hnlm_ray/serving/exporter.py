"""The metrics of a replica as Ray's own, which an agent on every node offers to Prometheus.

``/metrics`` answers for the one replica that happens to get the request, which is enough where there is only one. Ray's
agents have the metrics of all replicas, under the same names with the prefix ``ray_``.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from prometheus_client import Metric
from prometheus_client.samples import Sample

from hnlm_ray.serving.http.meters import Meters

__all__ = ["Exporter"]

_log = logging.getLogger("hnlm_ray.serving")

_EVERY_S = 10.0

_Series = tuple[str, tuple[tuple[str, str], ...]]
"""Name of a sample, and its labels in order."""


class Exporter:
    """Passes on what has changed since the last export; a histogram goes as the counters that it consists of."""

    def __init__(self, meters: Meters, every_s: float = _EVERY_S) -> None:
        """Export nothing yet.

        Args:
            meters: what is exported.
            every_s: seconds between two exports.
        """
        self._meters, self._every_s = meters, every_s
        self._metrics: dict[str, Any] = {}
        self._counts: dict[_Series, float] = {}
        self._gauges: set[_Series] = set()

    def start(self) -> None:
        """Export from now on, in a thread that ends with the process."""
        threading.Thread(target=self._export_repeatedly, name="metrics", daemon=True).start()

    def export(self) -> None:
        """Export once."""
        gauges: set[_Series] = set()
        for family in self._meters.registry.collect():
            for sample in family.samples:
                series = (sample.name, tuple(sorted(sample.labels.items())))
                if family.type == "gauge":
                    gauges.add(series)
                    self._metric(family, sample).set(sample.value, tags=sample.labels)
                elif not sample.name.endswith("_created"):  # the time when counting began, of no use to Ray
                    self._count(family, sample, series)
        for name, labels in self._gauges - gauges:  # Ray would go on reporting the last value
            self._metrics[name].set(0.0, tags=dict(labels))
        self._gauges = gauges

    def _count(self, family: Metric, sample: Sample, series: _Series) -> None:
        more = sample.value - self._counts.get(series, 0.0)
        metric = self._metric(family, sample)
        if more > 0:
            metric.inc(more, tags=sample.labels)
            self._counts[series] = sample.value

    def _metric(self, family: Metric, sample: Sample) -> Any:
        """Ray's metric of that name; made once, because each costs Ray a registration."""
        from ray.util.metrics import Counter, Gauge

        if sample.name not in self._metrics:
            kind = Gauge if family.type == "gauge" else Counter
            labels = tuple(sorted(sample.labels))
            self._metrics[sample.name] = kind(sample.name, description=family.documentation, tag_keys=labels)
        return self._metrics[sample.name]

    def _export_repeatedly(self) -> None:
        wait, is_failing = threading.Event(), False
        while not wait.wait(self._every_s):
            try:
                self.export()
            except Exception:  # Ray may be short of something for a while: the next export hands over what is missing
                if not is_failing:
                    _log.exception("exporting the metrics failed, it is tried again every %g s", self._every_s)
                is_failing = True
            else:
                is_failing = False
