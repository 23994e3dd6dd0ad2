"""Reads the bodies of requests before anybody works on them, within bounds of size, of time, and of their number."""

from __future__ import annotations

import asyncio
from typing import Any

from hnlm_ray.serving.http.protocol import Message, Receive
from hnlm_ray.serving.http.refusals import RefusedError

__all__ = ["MOST_ARRIVING", "Bodies"]

MOST_ARRIVING = 256
"""Most bodies of a process that arrive at a time. For one more the oldest is given up: who sends fast is never refused
for those who send slowly, and the memory for pieces of bodies is bounded."""

_CLOSE = {"connection": "close"}
"""Of refusals whose body is not read to its end: the connection cannot be reused."""


class Bodies:
    """The bodies that are arriving at one process.

    Bytes are counted, because a chunked body has no length in its headers, or one that means nothing.
    """

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes, self._timeout_s = max_bytes, timeout_s
        self._arriving: dict[asyncio.Task[Any], asyncio.TimerHandle] = {}  # the oldest first
        self._given_up: set[asyncio.Task[Any]] = set()

    async def complete(self, receive: Receive, headers: dict[bytes, bytes]) -> Receive:
        """Read a body to its end, and give a ``receive`` that hands it out as one message.

        Raises:
            RefusedError: the body is too large (413), did not arrive in time (408), or ends too early (400).
        """
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            raise self._too_large()
        waiting = [await self._in_time(receive)]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        return replay

    async def _in_time(self, receive: Receive) -> Message:
        # asyncio.timeout would do, but takes several times as long as everything else that is done for a request here.
        task = asyncio.current_task()
        assert task is not None
        timer = asyncio.get_running_loop().call_later(self._timeout_s, self._give_up, task)
        self._arriving[task] = timer
        if len(self._arriving) > MOST_ARRIVING:
            self._give_up(next(iter(self._arriving)))
        try:
            return await self._read(receive)
        except asyncio.CancelledError:
            if task in self._given_up and not task.uncancel():
                raise RefusedError(408, "The body did not arrive in time.", _CLOSE) from None
            raise
        finally:
            timer.cancel()
            self._arriving.pop(task, None)
            self._given_up.discard(task)

    def _give_up(self, task: asyncio.Task[Any]) -> None:
        """End the wait for a body, by cancelling the task that waits."""
        self._arriving.pop(task).cancel()
        self._given_up.add(task)
        task.cancel()

    async def _read(self, receive: Receive) -> Message:
        pieces, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise RefusedError(400, "The body is incomplete.")
            piece, more = message.get("body", b""), message.get("more_body", False)
            pieces.append(piece)
            size += len(piece)
            if size > self._max_bytes:
                raise self._too_large()
        return {"type": "http.request", "body": b"".join(pieces), "more_body": False}

    def _too_large(self) -> RefusedError:
        return RefusedError(413, f"The body is larger than {self._max_bytes} bytes.", _CLOSE)
