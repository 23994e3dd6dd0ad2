"""Progress lines: said while the body runs, when something changed, and never after it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from hnlm_ray.cluster.heartbeat import heartbeat, rate_line
from hnlm_ray.errors import StoreError


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_says_what_changed_and_only_that() -> None:
    said: list[str] = []
    state: list[str | None] = [None]
    looks = 0

    def look() -> str | None:
        nonlocal looks
        looks += 1
        return state[0]

    with heartbeat(look, said.append, every_s=0.01):
        until(lambda: looks > 2)
        assert said == []
        state[0] = "one"
        until(lambda: len(said) == 1)
        again = looks + 3
        until(lambda: looks > again)
        state[0] = "two"
        until(lambda: len(said) == 2)
    assert said == ["one", "two"]
    assert all(thread.name != "heartbeat" for thread in threading.enumerate())


def test_half_written_state_is_looked_at_again() -> None:
    said: list[str] = []
    states = iter([OSError("gone"), ValueError("no footer"), StoreError("gone", "run again"), "whole"])

    def look() -> str | None:
        state = next(states, None)
        if isinstance(state, Exception):
            raise state
        return state

    with heartbeat(look, said.append, every_s=0.01):
        until(lambda: bool(said))
    assert said == ["whole"]


def test_an_error_of_the_body_passes_and_ends_the_watch() -> None:
    with pytest.raises(KeyError), heartbeat(lambda: None, print, every_s=0.01):
        raise KeyError
    assert all(thread.name != "heartbeat" for thread in threading.enumerate())


def test_the_rate_counts_from_where_this_attempt_began() -> None:
    counts = iter([40, 40, 30, 60])
    look = rate_line("squaring", 100, lambda: next(counts))
    assert look() is None  # nothing new
    assert look() is None  # a file of a lost attempt was removed
    time.sleep(0.05)
    line = look()
    assert line is not None
    assert line.startswith("squaring: 60 of 100, ")
    rate = float(line.split(", ")[1].removesuffix("/s"))
    assert 0 < rate < 20 / 0.05 + 1
