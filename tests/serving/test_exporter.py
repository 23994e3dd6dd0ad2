from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Any, ClassVar

import pytest
import ray.util.metrics

from hnlm_ray.serving.exporter import Exporter
from hnlm_ray.serving.http.meters import Meters
from tests.serving.services import until


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
        meters.count_request("/v1/recommend", 200, 0.003)
        exporter.export()
        exporter.export()
    assert recorder.told["hnlm_requests_total", "/v1/recommend", "200"] == 3
    assert recorder.told["hnlm_request_seconds_count", "/v1/recommend"] == 3
    assert recorder.told["hnlm_request_seconds_bucket", "/v1/recommend", "0.002"] == 0
    assert recorder.told["hnlm_request_seconds_bucket", "/v1/recommend", "0.005"] == 3
    assert set(recorder.made.values()) == {1}  # a metric is made once: each costs Ray a registration


def test_the_version_that_is_served_is_1_and_a_replaced_one_0(recorder: type[_Recorder]) -> None:
    meters = Meters()
    exporter = Exporter(meters)
    meters.set_version("main", "abc")
    meters.set_version("second", "abc")
    exporter.export()
    assert recorder.told["hnlm_bundle", "abc", "main"] == 1
    meters.set_version("main", "def")
    exporter.export()
    assert recorder.told["hnlm_bundle", "abc", "main"] == 0
    assert recorder.told["hnlm_bundle", "def", "main"] == recorder.told["hnlm_bundle", "abc", "second"] == 1
    meters.set_version("main", "abc")
    exporter.export()
    assert (recorder.told["hnlm_bundle", "abc", "main"], recorder.told["hnlm_bundle", "def", "main"]) == (1, 0)


def test_the_thread_survives_errors_logs_a_lasting_one_once_and_loses_no_count(
    recorder: type[_Recorder], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing, failures = threading.Event(), list[int]()
    inc = recorder.inc

    def fail_at_times(metric: _Recorder, value: float, tags: dict[str, str]) -> None:
        if failing.is_set():
            failures.append(1)
            raise RuntimeError("no agent")
        inc(metric, value, tags)

    monkeypatch.setattr(recorder, "inc", fail_at_times)
    meters = Meters()
    logger = logging.getLogger("hnlm_ray.serving")
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, logger=logger.name):
        failing.set()
        meters.count_recommendation("main", "personal")
        Exporter(meters, every_s=0.005).start()
        until(lambda: len(failures) > 3)
        failing.clear()
        until(lambda: recorder.told["hnlm_recommendations_total", "main", "personal"] == 1)
        assert len(caplog.records) == 1
        assert "no agent" in caplog.text
        before = len(failures)
        failing.set()
        meters.count_recommendation("main", "personal")
        until(lambda: len(failures) > before + 3)
        failing.clear()
        until(lambda: recorder.told["hnlm_recommendations_total", "main", "personal"] == 2)
    assert len(caplog.records) == 2
