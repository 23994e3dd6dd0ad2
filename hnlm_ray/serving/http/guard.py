"""The checks before every route, of token, size and load, and the log of requests, as plain ASGI.

One layer instead of one per concern: each layer of a web framework costs more than scoring a small catalogue.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import random
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from hnlm_ray.config.serving import ServiceOptions
from hnlm_ray.errors import ConfigError
from hnlm_ray.serving.http.meters import Meters
from hnlm_ray.serving.http.refusals import RefusedError, refusal

__all__ = ["ASGI", "MAX_DELAYED_REFUSALS", "Guard", "JsonLines", "token_of"]

MAX_DELAYED_REFUSALS = 1024
"""Most refusals that a process delays at a time; one more is sent at once."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger("hnlm_ray.serving.requests")

_OPEN = ("/health", "/ready", "/v1/health", "/v1/ready")
"""Paths of probes, which have no token and must never be refused."""

_OPEN_PAGES = ("/", "/docs", "/openapi.json")
"""Paths that need no token, because they contain nothing of a bundle."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SLOW_S = 1.0

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
]


def token_of(options: ServiceOptions) -> str | None:
    """The token that requests must carry, from the environment; None where none is needed.

    Raises:
        ConfigError: the environment variable is not set.
    """
    token = None if options.token_env is None else os.environ.get(options.token_env, "")
    if token == "":
        raise ConfigError(f"the environment variable {options.token_env} is not set", "set it on every node")
    return token


class Guard:
    """An ASGI application around another.

    Refuses, with one sentence as JSON, a body that is too large (413), a wrong or missing token (401), and, while
    ``max_ongoing_requests`` are being processed, any further request (503 with ``Retry-After``).

    A 503 is delayed. Refusing costs the process nearly as much as answering, so clients that retry at once would slow
    down the requests that were accepted; while a client waits for its refusal, it sends nothing.
    """

    def __init__(
        self, app: ASGI, meters: Meters, options: ServiceOptions, token: str | None = None, *,
        sends_request_id: bool = True,
    ) -> None:  # fmt: skip
        """Wrap an application.

        Args:
            app: the application.
            meters: metrics that are counted.
            options: of the service.
            token: what ``Authorization: Bearer`` must carry; None where no token is needed.
            sends_request_id: whether answers carry ``x-request-id``; Ray Serve adds the header itself.
        """
        self._app, self._meters = app, meters
        self._token = None if token is None else f"Bearer {token}".encode()
        self._max_body_bytes, self._max_ongoing = options.max_body_bytes, options.max_ongoing_requests
        self._log_requests, self._pause_s = options.log_requests, options.refusal_pause_s
        self._sends_request_id = sends_request_id
        self._ongoing, self._delayed = 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called by the server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = scope["hnlm_request_id"] = _request_id(scope["headers"])
        headers = [*_HEADERS, (b"x-request-id", request_id.encode())] if self._sends_request_id else _HEADERS
        exchange = _Exchange(receive, send, self._max_body_bytes, headers)
        try:
            if scope["path"] not in _OPEN and self._ongoing >= self._max_ongoing:
                refused: RefusedError | None = await self._refuse_busy()
            else:
                refused = await self._accept(scope, exchange)
            if refused is not None:
                await refusal(refused)(scope, receive, exchange.answer)
        finally:
            self._record(scope, request_id, exchange.status or 500, time.perf_counter() - started)

    async def _accept(self, scope: Scope, exchange: _Exchange) -> RefusedError | None:
        self._ongoing += 1
        try:
            refused = self._refusal(scope["path"], dict(scope["headers"]))
            if refused is not None:
                return refused
            await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            if not exchange.is_too_large:
                raise
        finally:
            self._ongoing -= 1
        return self._too_large() if exchange.is_too_large and not exchange.status else None

    async def _refuse_busy(self) -> RefusedError:
        self._meters.refused.inc()
        if self._pause_s and self._delayed < MAX_DELAYED_REFUSALS:
            self._delayed += 1
            try:
                # Of different lengths, or clients that were refused together would retry together.
                await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.5))  # noqa: S311
            finally:
                self._delayed -= 1
        return RefusedError(503, "Too many requests are being processed, try again soon.", {"retry-after": "1"})

    def _refusal(self, path: str, headers: dict[bytes, bytes]) -> RefusedError | None:
        if path in _OPEN:
            return None
        if self._token is not None and path not in _OPEN_PAGES:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._token):
                sentence = "The header Authorization must carry the token of this service, as Bearer TOKEN."
                return RefusedError(401, sentence, {"www-authenticate": "Bearer"})
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body_bytes:
            return self._too_large()
        return None

    def _too_large(self) -> RefusedError:
        # The body is not read to its end, so the connection cannot be reused.
        return RefusedError(413, f"The body is larger than {self._max_body_bytes} bytes.", {"connection": "close"})

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        # The template of the route, never the path itself: a path may name a user.
        route = getattr(scope.get("route"), "path", "other")
        self._meters.count_request(route, status, seconds)
        if self._log_requests == "none" or (self._log_requests == "problems" and status < 400 and seconds < _SLOW_S):
            return
        line = {"request": request_id, "method": scope["method"], "route": route, "status": status}
        _log.info("request", extra={"fields": {**line, "milliseconds": round(seconds * 1e3, 2)}})


class _Exchange:
    """One request and its answer.

    The body is cut off where it becomes too large, as if the client had disconnected. Bytes are counted, because a
    chunked body has no length in its headers, or one that means nothing.

    Attributes:
        is_too_large: whether the body has been cut off.
        status: of the answer; 0 before it has begun.
    """

    def __init__(self, receive: Receive, send: Send, max_bytes: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._receive, self._send, self._left, self._headers = receive, send, max_bytes, headers
        self.is_too_large, self.status = False, 0

    async def answer(self, message: Message) -> None:
        """Send a part of an answer, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)

    async def send(self, message: Message) -> None:
        """Called by the application; its answer to a body that was cut off is dropped, as the guard explains that."""
        if self.status or not self.is_too_large:
            await self.answer(message)

    async def receive(self) -> Message:
        """Called by the application."""
        if self.is_too_large:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        self.is_too_large = self._left < 0
        return {"type": "http.disconnect"} if self.is_too_large else message


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and the fields that a record carries."""

    def format(self, record: logging.LogRecord) -> str:
        """Called by the logging module."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's id for a request, if it is a harmless word, else a new one."""
    given = next((value for name, value in headers if name == b"x-request-id"), b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
