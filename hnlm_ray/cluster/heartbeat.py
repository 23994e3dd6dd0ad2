"""Report the progress of long work that runs in other processes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from hnlm_ray.errors import StoreError

__all__ = ["EVERY_S", "Look", "heartbeat", "rate_line"]

EVERY_S = 10.0
"""Seconds between two lines: often enough to show progress, seldom enough for the log of a job."""

Look = Callable[[], str | None]
"""Reads the state of the work and gives a line about it; None where there is nothing to report yet."""


@contextlib.contextmanager
def heartbeat(look: Look, say: Callable[[str], None], every_s: float = EVERY_S) -> Iterator[None]:
    """Call ``look`` every ``every_s`` seconds while the body runs, and pass on a line that differs from the last.

    Args:
        look: called from a thread of its own; what it reads may be half-written, so ``OSError``, ``ValueError``
            (Arrow's own errors are both) and ``StoreError`` mean that there is nothing to report this time.
        say: called with the line.
        every_s: seconds between calls.
    """
    ended = threading.Event()

    def watch() -> None:
        last: str | None = None
        while not ended.wait(every_s):
            with contextlib.suppress(OSError, ValueError, StoreError):
                line = look()
                if line is not None and line != last:
                    say(line)
                    last = line

    thread = threading.Thread(target=watch, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def rate_line(what: str, total: int, count: Callable[[], int]) -> Look:
    """A :data:`Look` that gives rows done, rows per second since this call, and the time left at that rate.

    Args:
        what: name of the work.
        total: rows to do.
        count: gives the rows done so far, those of earlier attempts included.
    """
    started, before = time.monotonic(), count()

    def look() -> str | None:
        done = count()
        if done <= before:
            return None
        rate = (done - before) / (time.monotonic() - started)
        return f"{what}: {done:,} of {total:,}, {rate:.1f}/s, about {(total - done) / rate:.0f} s left"

    return look
