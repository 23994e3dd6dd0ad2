"""Hands what happens to one tracker in a thread of its own, so that a tracker neither stops nor slows a run."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from hnlm_ray.config.section import without_credentials
from hnlm_ray.errors import HnlmError
from hnlm_ray.run.tracked import TrackingRecord
from hnlm_ray.tracking.protocol import Fit, Pipeline, Point, Status, Tracker

__all__ = ["Desk", "Log", "wait_for"]

_MOST = 10
"""A tracker that gets on is waited for this many times as long as one that does not."""

_MOST_WAITING = 20
"""Things to do that wait at a tracker, above which the curve of a running fit is not handed on again."""

_MOST_CHARACTERS = 300
"""Of the reason in a warning."""


class Log:
    """One tracker, and how far each curve is that it has; used by the desk's thread alone.

    Args:
        tracker: begun already.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self._last: dict[str, dict[str, int]] = {}

    def add_rows(self, fit: Fit, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add what is new of a learning curve to a fit, which is begun where it is not.

        Args:
            fit: whose curve it is.
            rows: with ``epoch`` and figures; a figure that is None is not there yet, one that is no number is left out.
        """
        if fit.key not in self._last:
            self._last[fit.key] = dict(self.tracker.begin_fit(fit))
        last = self._last[fit.key]
        points: list[Point] = []
        for row in rows:
            epoch = int(row["epoch"])
            new = {
                name: float(value)
                for name, value in row.items()
                if name != "epoch" and value is not None and math.isfinite(value) and epoch > last.get(name, -1)
            }
            last |= dict.fromkeys(new, epoch)
            if new:
                points.append((epoch, new))
        if points:
            self.tracker.log_points(fit, points)


Act: TypeAlias = Callable[[Log], None]


class Desk:
    """A tracker with its queue and its thread, which begins with the first thing to do.

    The first error is said, and from then on nothing is done and nothing is said.

    Args:
        tracker: the tracker.
        pipeline: what it is begun with.
        record: gets the link.
        warn: says a sentence.
    """

    def __init__(
        self, tracker: Tracker, pipeline: Pipeline, record: TrackingRecord, warn: Callable[[str], None]
    ) -> None:
        self.place = tracker.place
        self.is_begun = threading.Event()
        self.moved = 0.0
        self._tracker, self._pipeline, self._record, self._warn = tracker, pipeline, record, warn
        self._acts: queue.SimpleQueue[Act | None] = queue.SimpleQueue()
        self._has_failed = False
        self._thread = threading.Thread(target=self._work, name=f"tracking with {tracker.title}", daemon=True)

    @property
    def is_busy(self) -> bool:
        """Whether there is something left to do."""
        return self._thread.is_alive() and not self._has_failed

    @property
    def is_behind(self) -> bool:
        """Whether so much waits to be done that what is told again later had better wait."""
        return self._acts.qsize() > _MOST_WAITING

    def tell(self, act: Act) -> None:
        """Do something when what was told before is done; returns at once."""
        if not self._has_failed:
            self._acts.put(act)
            if self._thread.ident is None:
                self._thread.start()

    def finish(self, status: Status) -> None:
        """End the run of the pipeline when everything else is done; returns at once."""
        if self._thread.ident is not None:
            self._acts.put(lambda log: log.tracker.end(status))
            self._acts.put(None)

    def give_up(self, why: str) -> None:
        """Say why, unless something was said already, and do nothing any more."""
        if not self._has_failed:
            self._has_failed = True
            self._warn(f"tracking with {self._tracker.title} has ended ({why}); the run goes on without it")

    def _work(self) -> None:
        log = Log(self._tracker)
        act: Act | None = self._begin
        while act is not None and not self._has_failed:
            try:
                act(log)
            except Exception as error:  # whatever it is, the run goes on
                self.give_up(_reason(error))
            self.moved = time.monotonic()
            self.is_begun.set()
            if not self._has_failed:
                act = self._acts.get()

    def _begin(self, log: Log) -> None:
        self._record.note_link(self._tracker.title, self._tracker.begin(self._pipeline))


def wait_for(desks: Sequence[Desk], patience_s: float) -> None:
    """Wait for desks that were told to finish; give up on those that do not get on.

    Args:
        desks: work side by side, so that several that hang take no longer than one.
        patience_s: seconds without an answer of a tracker.
    """
    began = time.monotonic()
    while busy := [desk for desk in desks if desk.is_busy]:
        now = time.monotonic()
        for desk in busy:
            if now - max(began, desk.moved) > patience_s or now - began > _MOST * patience_s:
                desk.give_up(f"it did not answer within {patience_s:g} s")
        time.sleep(0.02)


def _reason(error: Exception) -> str:
    """The first line of what went wrong, without credentials."""
    if isinstance(error, HnlmError):
        return f"{error.problem}: {error.action}"
    lines = str(error).strip().splitlines() or [""]
    return without_credentials(f"{type(error).__name__}: {lines[0]}")[:_MOST_CHARACTERS]
