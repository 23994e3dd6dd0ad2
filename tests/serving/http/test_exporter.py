from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import pytest
import ray.util.metrics

from hnlm_ray.serving.http.exporter import Exporter
from hnlm_ray.serving.http.meters import Meters


class _Recorder:
    """In the place of Ray's metrics: what they were told."""

    made: ClassVar[Counter[str]] = Counter()
    told: ClassVar[Counter[tuple[Any, ...]]] = Counter()

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name, self.tag_keys = name, tag_keys
        self.made[name] += 1

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self.tag_keys)
        self.told[(self.name, *sorted(tags.values()))] += value

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.told[(self.name, *sorted(tags.values()))] = value


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[_Recorder]:
    _Recorder.made, _Recorder.told = Counter(), Counter()
    monkeypatch.setattr(ray.util.metrics, "Counter", _Recorder)
    monkeypatch.setattr(ray.util.metrics, "Gauge", _Recorder)
    return _Recorder


def test_each_count_arrives_once_however_often_it_is_exported(recorder: type[_Recorder]) -> None:
    meters = Meters()
    exporter = Exporter(meters)
    for _ in range(3):
        meters.request("/v1/recommend", 200, 0.003)
        exporter.export()
        exporter.export()
    assert recorder.told["hnlm_requests_total", "/v1/recommend", "200"] == 3
    assert recorder.told["hnlm_request_seconds_count", "/v1/recommend"] == 3
    assert recorder.told["hnlm_request_seconds_bucket", "/v1/recommend", "0.002"] == 0
    assert recorder.told["hnlm_request_seconds_bucket", "/v1/recommend", "0.005"] == 3
    assert set(recorder.made.values()) == {1}  # a metric is made once: each costs Ray a registration


def test_the_served_version_is_a_gauge(recorder: type[_Recorder]) -> None:
    meters = Meters()
    meters.serves("main", "abc")
    Exporter(meters).export()
    assert recorder.told["hnlm_bundle", "abc", "main"] == 1
