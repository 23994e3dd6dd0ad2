"""The metrics of the service, in the format of Prometheus."""

from __future__ import annotations

import functools

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Meters"]

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Meters:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "hnlm_requests", "Answered requests.", ["route", "status"], registry=self.registry
        )  # exported as hnlm_requests_total, as are the other counters
        self.latency = Histogram(
            "hnlm_request_seconds", "Seconds from the head of a request to the end of the answer.", ["route"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.answers = Counter(
            "hnlm_recommendations", "Recommendations by their source; `popular` is the fallback.",
            ["bundle", "source"], registry=self.registry,
        )  # fmt: skip
        self.batches = Histogram("hnlm_batch_size", "Requests scored together.", buckets=_SIZES, registry=self.registry)
        self.bundles = Gauge("hnlm_bundle", "1 for the version served.", ["name", "version"], registry=self.registry)
        self.reloads = Counter(
            "hnlm_reloads", "Attempts to replace a bundle.", ["name", "outcome"], registry=self.registry
        )
        self.refused = Counter(
            "hnlm_refused", "Requests refused because too many were being processed.", registry=self.registry
        )
        self.overlap = Histogram(
            "hnlm_shadow_overlap", "Share of the recommended items that a shadow recommends too.", ["name"],
            buckets=_SHARES, registry=self.registry,
        )  # fmt: skip
        self.feedback = Counter(
            "hnlm_feedback_events", "Events of feedback: stored, failed to be stored, or refused, since too many wait.",
            ["outcome"], registry=self.registry,
        )  # fmt: skip
        self.feedback_write = Histogram(
            "hnlm_feedback_write_seconds", "Seconds to store a file of events.", buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        # Looking up labels takes longer than counting.
        self._answers_of, self._requests_of = (
            functools.cache(self.answers.labels),
            functools.cache(self.requests.labels),
        )
        self._latency_of = functools.cache(self.latency.labels)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request and its time."""
        self._requests_of(route, status).inc()
        self._latency_of(route).observe(seconds)

    def count_recommendation(self, bundle: str, source: str) -> None:
        """Count a recommendation of a bundle, by what it is based on."""
        self._answers_of(bundle, source).inc()

    def count_reload(self, name: str, version: str, is_loaded: bool) -> None:
        """Count an attempt to replace a bundle, and report the version that is served from then on."""
        self.reloads.labels(name, "loaded" if is_loaded else "refused").inc()
        if is_loaded:
            self.set_version(name, version)

    def set_version(self, name: str, version: str) -> None:
        """Report a version of a bundle as the one that is served under its name."""
        for metric in self.bundles.collect():
            for sample in metric.samples:
                if sample.labels["name"] == name:
                    self.bundles.remove(name, sample.labels["version"])
        self.bundles.labels(name, version).set(1)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format, of :data:`prometheus_client.CONTENT_TYPE_LATEST`."""
        return generate_latest(self.registry)
