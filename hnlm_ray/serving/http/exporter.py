"""The counts of a replica on Ray's own metrics, which a Prometheus scrapes from an agent on every node.

``/metrics`` answers for the one replica that happens to get the request, which is enough for one replica only. Ray's
agents have all of them, under the same names with the prefix ``ray_``.
"""

from __future__ import annotations

import threading
from typing import Any

from prometheus_client import Metric
from prometheus_client.samples import Sample

from hnlm_ray.serving.http.meters import Meters

__all__ = ["Exporter"]

_EVERY_S = 10.0


class Exporter:
    """Hands over what has been counted since the last time; histograms go as the counters that they are made of."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._metrics: dict[str, Any] = {}
        self._before: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def start(self) -> None:
        """Export from now on, in a thread that ends with the process."""
        threading.Thread(target=self._go_on, name="metrics", daemon=True).start()

    def export(self) -> None:
        """Hand over once."""
        for family in self._meters.registry.collect():
            for sample in family.samples:
                if not sample.name.endswith("_created"):  # when the count began, which Ray does not want to know
                    self._hand_over(family, sample)

    def _hand_over(self, family: Metric, sample: Sample) -> None:
        from ray.util.metrics import Counter, Gauge

        kind = Gauge if family.type == "gauge" else Counter
        metric = self._metrics.get(sample.name)
        if metric is None:
            labels = tuple(sorted(sample.labels))
            metric = self._metrics[sample.name] = kind(sample.name, description=family.documentation, tag_keys=labels)
        if kind is Gauge:
            metric.set(sample.value, tags=sample.labels)
            return
        key = (sample.name, tuple(sorted(sample.labels.items())))
        more = sample.value - self._before.get(key, 0.0)
        if more > 0:
            metric.inc(more, tags=sample.labels)
            self._before[key] = sample.value

    def _go_on(self) -> None:
        wait = threading.Event()
        while not wait.wait(_EVERY_S):
            self.export()
