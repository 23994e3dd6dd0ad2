"""Progress lines: said while the body runs, when something changed, and never after it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from hnlm_ray.cluster.heartbeat import heartbeat, rate_line
from hnlm_ray.errors import StoreError
from hnlm_ray.run.progress import WorkDone


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


ONE, TWO = (WorkDone("fits", done, 2, "fits", f"{done} of 2 fits") for done in (1, 2))


def test_says_what_changed_and_only_that() -> None:
    said: list[str | WorkDone] = []
    state: list[WorkDone | None] = [None]
    looks = 0

    def look() -> WorkDone | None:
        nonlocal looks
        looks += 1
        return state[0]

    with heartbeat(look, said.append, every_s=0.01):
        until(lambda: looks > 2)
        assert said == []
        state[0] = ONE
        until(lambda: len(said) == 1)
        again = looks + 3
        until(lambda: looks > again)
        state[0] = TWO
        until(lambda: len(said) == 2)
    assert said == [ONE, TWO]
    assert str(ONE) == "1 of 2 fits"
    assert all(thread.name != "heartbeat" for thread in threading.enumerate())


def test_half_written_state_is_looked_at_again() -> None:
    said: list[str | WorkDone] = []
    states = iter([OSError("gone"), ValueError("no footer"), StoreError("gone", "run again"), ONE])

    def look() -> WorkDone | None:
        state = next(states, None)
        if isinstance(state, Exception):
            raise state
        return state

    with heartbeat(look, said.append, every_s=0.01):
        until(lambda: bool(said))
    assert said == [ONE]


def test_who_listens_says_how_often_it_wants_to_be_told() -> None:
    class Often:
        every_s = 0.01
        said = 0

        def __call__(self, said: str | WorkDone) -> None:
            self.said += 1

    often, looks = Often(), iter([ONE, TWO])
    started = time.monotonic()
    with heartbeat(lambda: next(looks, None), often):
        until(lambda: often.said == 2)
    assert time.monotonic() - started < 5


def test_an_error_of_the_body_passes_and_ends_the_watch() -> None:
    with pytest.raises(KeyError), heartbeat(lambda: None, print, every_s=0.01):
        raise KeyError
    assert all(thread.name != "heartbeat" for thread in threading.enumerate())


def test_the_rate_counts_from_where_this_attempt_began() -> None:
    counts = iter([40, 40, 30, 60])
    look = rate_line("squaring", 100, lambda: next(counts), "rows")
    assert look() is None  # nothing new
    assert look() is None  # a file of a lost attempt was removed
    time.sleep(0.05)
    found = look()
    assert found is not None
    assert (found.work, found.done, found.total, found.unit) == ("squaring", 60, 100, "rows")
    assert found.rate is not None
    assert 0 < found.rate < 20 / 0.05 + 1
    assert found.seconds_left == pytest.approx(40 / found.rate)
    assert str(found) == f"squaring: 60 of 100, {found.rate:.1f}/s, about {found.seconds_left:.0f} s left"
