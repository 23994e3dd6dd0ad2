"""Say how far long work has come, while it runs elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from hnlm_ray.errors import StoreError

__all__ = ["Look", "heartbeat", "rate_line"]

_EVERY_S = 10.0
"""Seconds between two looks: often enough to see life, seldom enough for a job's log."""

Look = Callable[[], str | None]
"""Reads the state of the work; None where there is nothing to say yet."""


@contextlib.contextmanager
def heartbeat(look: Look, say: Callable[[str], None], every_s: float = _EVERY_S) -> Iterator[None]:
    """Look every ``every_s`` seconds while the body runs, and say what has changed.

    Args:
        look: called from a thread of its own; what it reads may be half-written, so ``OSError``, ``ValueError``
            (Arrow's own errors are both) and ``StoreError`` mean that there is nothing to say this time.
        say: gets one line.
        every_s: seconds between looks.
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
    """A look that says rows done, their rate since it was made, and the time left at that rate.

    Args:
        what: is being done.
        total: rows in the end.
        count: rows done so far, those of earlier attempts included.
    """
    started, before = time.monotonic(), count()

    def look() -> str | None:
        done = count()
        if done <= before:
            return None
        rate = (done - before) / (time.monotonic() - started)
        return f"{what}: {done:,} of {total:,}, {rate:.1f}/s, about {(total - done) / rate:.0f} s left"

    return look
