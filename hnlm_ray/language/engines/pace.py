"""How fast a server is asked: all requests slow down together when it says that it is too busy, and then recover."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

__all__ = ["Pace", "backoff"]

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 8.0
_SPREAD = 0.1
"""Of a pause that a server asks for: as much is added at random, so that several clients do not come back together."""


def backoff(tries: int) -> float:
    """Seconds until a request is repeated that has failed so many times: doubled each time, less up to a quarter."""
    pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(tries - 1, 16))
    return pause * random.uniform(0.75, 1.0)  # noqa: S311


class Pace:
    """Places for the requests under way; additive increase, multiplicative decrease, and a pause for all at once.

    Attributes:
        allowed: requests that may be under way now: halved when the server is too busy, and raised by one after as many
            answers, up to ``most``.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.allowed = float(most)
        self._busy = 0
        self._back = 0
        """Requests that come back after a pause and wait for a place."""
        self._opens = 0.0
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def place(self, comes_back: bool = False) -> AsyncIterator[None]:
        """Hold a place while the body runs; waits until there is one and no pause is on.

        Args:
            comes_back: the request held a place before, and goes first: behind all others, it could not tell an outage
                before each of them has been sent.
        """
        self._back += comes_back
        try:
            await self._wait(comes_back)
        finally:
            self._back -= comes_back
        try:
            if comes_back:  # those that let it go first look for places that are left
                async with self._changed:
                    self._changed.notify_all()
            yield
        finally:
            async with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    async def _wait(self, comes_back: bool) -> None:
        while True:
            if (wait := self._opens - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            async with self._changed:
                await self._changed.wait_for(lambda: self._busy < int(self.allowed) and (comes_back or not self._back))
                if time.monotonic() >= self._opens:
                    self._busy += 1
                    return

    def hold(self, seconds: float) -> None:
        """Send nothing for so long, and then less at a time."""
        now = time.monotonic()
        if now >= self._opens:  # the other requests of the same moment are refused for the same reason
            self.allowed = max(1.0, self.allowed / 2)
        self._opens = max(self._opens, now + seconds * random.uniform(1.0, 1.0 + _SPREAD))  # noqa: S311

    def answered(self) -> None:
        """The server keeps up."""
        self.allowed = min(float(self.most), self.allowed + 1 / self.allowed)
