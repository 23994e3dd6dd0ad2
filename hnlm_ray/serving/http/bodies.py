"""Reads the bodies of requests before anybody works on them, within bounds of size, of time, and of their number."""

from __future__ import annotations

import asyncio

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
        self._arriving: dict[asyncio.Timeout, None] = {}  # the oldest first

    async def complete(self, receive: Receive, headers: dict[bytes, bytes]) -> Receive:
        """Read a body to its end, and give a ``receive`` that hands it out as one message.

        Raises:
            RefusedError: the body is too large (413), did not arrive in time (408), or ends too early (400).
        """
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                self._enter(limit)
                try:
                    waiting = [await self._read(receive)]
                finally:
                    self._arriving.pop(limit, None)
        except TimeoutError as error:
            raise RefusedError(408, "The body did not arrive in time.", _CLOSE) from error

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        return replay

    def _enter(self, limit: asyncio.Timeout) -> None:
        self._arriving[limit] = None
        if len(self._arriving) > MOST_ARRIVING:
            oldest = next(iter(self._arriving))
            del self._arriving[oldest]
            if not oldest.expired():
                oldest.reschedule(0.0)

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
