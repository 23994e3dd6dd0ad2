"""A tracker that fails, hangs or is slow stops no run, and says one sentence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hnlm_ray.errors import ConfigError
from hnlm_ray.run.store import RunStore
from hnlm_ray.run.tracked import TrackingRecord
from hnlm_ray.tracking.desk import Desk, Log, wait_for
from hnlm_ray.tracking.protocol import Fit, Pipeline, Point, Status

PIPELINE = Pipeline("1" * 32, "run", {})
FIT = Fit("train.dns.s0", "abc")


class Scripted:
    """Notes what it is told; ``does`` is called before, with the name of the method."""

    title = "Scripted"
    place = "here"

    def __init__(
        self, does: Callable[[str], None] = lambda method: None, known: Mapping[str, int] | None = None
    ) -> None:
        self._does, self._known = does, known or {}
        self.told: list[tuple[str, Any]] = []

    def _note(self, method: str, what: Any = None) -> None:
        self._does(method)
        self.told.append((method, what))

    def begin(self, pipeline: Pipeline) -> str:
        self._note("begin")
        return "http://there"

    def begin_fit(self, fit: Fit) -> Mapping[str, int]:
        self._note("begin_fit", fit.name)
        return self._known

    def log_points(self, fit: Fit, points: Sequence[Point]) -> None:
        self._note("points", [(epoch, dict(row)) for epoch, row in points])

    def log_figures(self, figures: Mapping[str, float], fit: Fit | None = None) -> None:
        self._note("figures", dict(figures))

    def log_file(self, name: str, content: bytes) -> None:
        self._note("file", name)

    def end_fit(self, fit: Fit, status: Status) -> None:
        self._note("end_fit", status)

    def end(self, status: Status) -> None:
        self._note("end", status)


@pytest.fixture
def record(tmp_path: Path) -> TrackingRecord:
    return TrackingRecord(RunStore(str(tmp_path)))


def figures(number: int) -> Callable[[Log], None]:
    return lambda log: log.tracker.log_figures({"number": number})


def test_everything_comes_in_order_and_the_end_last(record: TrackingRecord, tmp_path: Path) -> None:
    tracker, said = Scripted(), list[str]()
    desk = Desk(tracker, PIPELINE, record, said.append)
    for number in range(50):
        desk.tell(figures(number))
    desk.finish("finished")
    wait_for([desk], 10)
    numbers = [("figures", {"number": number}) for number in range(50)]
    assert tracker.told == [("begin", None), *numbers, ("end", "finished")]
    assert said == []
    assert TrackingRecord(RunStore(str(tmp_path))).links == {"Scripted": "http://there"}


def test_a_tracker_that_nobody_tells_anything_is_not_begun(record: TrackingRecord) -> None:
    tracker = Scripted()
    desk = Desk(tracker, PIPELINE, record, pytest.fail)
    desk.finish("finished")
    wait_for([desk], 10)
    assert tracker.told == []


@pytest.mark.parametrize("method", ["begin", "figures", "end"])
def test_the_first_error_is_said_and_nothing_is_done_after_it(record: TrackingRecord, method: str) -> None:
    def fail(called: str) -> None:
        if called == method:
            raise RuntimeError("the disk at http://me:pw@host is full\nand more")

    tracker, said = Scripted(fail), list[str]()
    desk = Desk(tracker, PIPELINE, record, said.append)
    for number in range(5):
        desk.tell(figures(number))
    desk.finish("finished")
    wait_for([desk], 10)
    reason = "RuntimeError: the disk at http://host is full"
    assert said == [f"tracking with Scripted has ended ({reason}); the run goes on without it"]
    assert len(tracker.told) == {"begin": 0, "figures": 1, "end": 6}[method]


def test_an_error_of_ours_says_what_to_do(record: TrackingRecord) -> None:
    def fail(called: str) -> None:
        raise ConfigError("there is no key", "set KEY")

    said = list[str]()
    desk = Desk(Scripted(fail), PIPELINE, record, said.append)
    desk.tell(figures(0))
    desk.finish("finished")
    wait_for([desk], 10)
    assert said == ["tracking with Scripted has ended (there is no key: set KEY); the run goes on without it"]


def test_several_trackers_that_hang_are_waited_for_together(record: TrackingRecord) -> None:
    for_ever, said = threading.Event(), list[str]()
    desks = [Desk(Scripted(lambda method: void(for_ever.wait())), PIPELINE, record, said.append) for _ in range(3)]
    started = time.monotonic()
    for desk in desks:
        desk.tell(figures(0))
        desk.finish("finished")
    assert time.monotonic() - started < 0.2  # telling waits for nothing
    wait_for(desks, 0.5)
    assert time.monotonic() - started < 1.2
    assert said == ["tracking with Scripted has ended (it did not answer within 0.5 s); the run goes on without it"] * 3
    for_ever.set()


def void(_: object) -> None: ...


def test_a_tracker_that_gets_on_is_waited_for_but_not_for_ever(record: TrackingRecord) -> None:
    tracker, said = Scripted(lambda method: time.sleep(0.15)), list[str]()
    desk = Desk(tracker, PIPELINE, record, said.append)
    for number in range(4):
        desk.tell(figures(number))
    desk.finish("finished")
    wait_for([desk], 0.4)  # longer than one call, and not as long as all
    assert (said, tracker.told[-1]) == ([], ("end", "finished"))
    slow = Desk(Scripted(lambda method: time.sleep(0.15)), PIPELINE, record, said.append)
    for number in range(100):
        slow.tell(figures(number))
    slow.finish("finished")
    started = time.monotonic()
    wait_for([slow], 0.2)
    assert 1.5 < time.monotonic() - started < 3
    assert len(said) == 1


def test_only_what_is_new_of_a_curve_is_told() -> None:
    tracker = Scripted(known={"loss": 1})
    log = Log(tracker)
    log.add_rows(FIT, [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0, "valid": None}])
    log.add_rows(FIT, [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0, "valid": 0.5}, {"epoch": 3, "loss": 1.0}])
    log.add_rows(FIT, [{"epoch": 3, "loss": 1.0}])
    assert tracker.told == [
        ("begin_fit", FIT.name),
        ("points", [(2, {"loss": 2.0})]),
        ("points", [(2, {"valid": 0.5}), (3, {"loss": 1.0})]),
    ]


def test_a_damaged_note_is_begun_anew(tmp_path: Path) -> None:
    first = TrackingRecord(RunStore(str(tmp_path)))
    first.note_done("here", "prepare@abc")
    again = TrackingRecord(RunStore(str(tmp_path)))
    assert again.id == first.id
    assert again.is_done("here", "prepare@abc")
    assert not again.is_done("there", "prepare@abc")
    (tmp_path / "tracking.json").write_text('{"id": "x", "links": 3')
    assert TrackingRecord(RunStore(str(tmp_path))).id not in ("x", first.id)
