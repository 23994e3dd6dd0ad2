"""Report the progress of long work that runs in other processes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from hnlm_ray.errors import StoreError
from hnlm_ray.run.progress import Say, WorkDone

__all__ = ["EVERY_S", "Look", "heartbeat", "rate_line"]

EVERY_S = 10.0
"""Seconds between two lines: often enough to show progress, seldom enough for the log of a job."""

Look = Callable[[], WorkDone | None]
"""Reads how far the work is; None where there is nothing to report yet."""


@contextlib.contextmanager
def heartbeat(look: Look, say: Say, every_s: float | None = None) -> Iterator[None]:
    """Call ``look`` every ``every_s`` seconds while the body runs, and pass on what differs from the last.

    Args:
        look: called from a thread of its own; what it reads may be half-written, so ``OSError``, ``ValueError``
            (Arrow's own errors are both) and ``StoreError`` mean that there is nothing to report this time.
        say: called with what it gives.
        every_s: seconds between calls; None for what ``say`` asks for, by default :data:`EVERY_S`.
    """
    pause = getattr(say, "every_s", EVERY_S) if every_s is None else every_s
    ended = threading.Event()

    def watch() -> None:
        last: WorkDone | None = None
        while not ended.wait(pause):
            with contextlib.suppress(OSError, ValueError, StoreError):
                found = look()
                if found is not None and found != last:
                    say(found)
                    last = found

    thread = threading.Thread(target=watch, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def rate_line(what: str, total: int, count: Callable[[], int], unit: str) -> Look:
    """A :data:`Look` that gives what is done, the rate since this call, and the time left at that rate.

    Args:
        what: name of the work.
        total: how much there is to do.
        count: gives how much is done so far, that of earlier attempts included.
        unit: what is counted, in the plural.
    """
    started, before = time.monotonic(), count()

    def look() -> WorkDone | None:
        done = count()
        if done <= before:
            return None
        rate = (done - before) / (time.monotonic() - started)
        left = (total - done) / rate
        line = f"{what}: {done:,} of {total:,}, {rate:.1f}/s, about {left:.0f} s left"
        return WorkDone(what, done, total, unit, line, rate, left)

    return look
