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

__all__ = ["ASGI", "MAX_DELAYED_REFUSALS", "Guard", "JsonLines", "token_of"]

MAX_DELAYED_REFUSALS = 1024
"""Most refusals that a process delays at a time; one more is sent at once."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]

_Refusal = tuple[int, str, list[tuple[bytes, bytes]]]
"""Status, sentence, headers."""

_log = logging.getLogger("hnlm_ray.serving.requests")

_OPEN = ("/health", "/ready", "/v1/health", "/v1/ready")
"""Paths of probes, which have no token and must never be refused."""

_OPEN_PAGES = ("/", "/docs", "/openapi.json")
"""Paths that need no token, because they contain nothing of a bundle."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SLOW_S = 1.0
_RETRY_AFTER = b"1"

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
        status, has_begun = 500, False

        async def answer(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                own = [*_HEADERS, (b"x-request-id", request_id.encode())] if self._sends_request_id else _HEADERS
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        try:
            if scope["path"] not in _OPEN and self._ongoing >= self._max_ongoing:
                await self._refuse_busy(answer)
            else:
                await self._accept(scope, receive, answer, lambda: has_begun)
        finally:
            self._record(scope, request_id, status, time.perf_counter() - started)

    async def _accept(self, scope: Scope, receive: Receive, answer: Send, has_begun: Callable[[], bool]) -> None:
        self._ongoing += 1
        try:
            refusal = self._refusal(scope["path"], dict(scope["headers"]))
            if refusal is None:
                body = _Body(receive, self._max_body_bytes)
                await self._ask(scope, body, answer, has_begun)
                refusal = self._too_large() if body.is_too_large and not has_begun() else None
            if refusal is not None:
                await _refuse(answer, *refusal)
        finally:
            self._ongoing -= 1

    async def _refuse_busy(self, answer: Send) -> None:
        self._meters.refused.inc()
        if self._pause_s and self._delayed < MAX_DELAYED_REFUSALS:
            self._delayed += 1
            try:
                # Of different lengths, or clients that were refused together would retry together.
                await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.5))  # noqa: S311
            finally:
                self._delayed -= 1
        sentence = "Too many requests are being processed, try again soon."
        await _refuse(answer, 503, sentence, [(b"retry-after", _RETRY_AFTER)])

    async def _ask(self, scope: Scope, body: _Body, answer: Send, has_begun: Callable[[], bool]) -> None:
        """Call the application, and drop its answer to a body that was cut off: the guard explains that itself."""

        async def unless_cut_off(message: Message) -> None:
            if has_begun() or not body.is_too_large:
                await answer(message)

        try:
            await self._app(scope, body.receive, unless_cut_off)
        except Exception:
            if not body.is_too_large:
                raise

    def _refusal(self, path: str, headers: dict[bytes, bytes]) -> _Refusal | None:
        if path in _OPEN:
            return None
        if self._token is not None and path not in _OPEN_PAGES:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._token):
                sentence = "The header Authorization must carry the token of this service, as Bearer TOKEN."
                return 401, sentence, [(b"www-authenticate", b"Bearer")]
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body_bytes:
            return self._too_large()
        return None

    def _too_large(self) -> _Refusal:
        # The body is not read to its end, so the connection cannot be reused.
        return 413, f"The body is larger than {self._max_body_bytes} bytes.", [(b"connection", b"close")]

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        # The template of the route, never the path itself: a path may name a user.
        route = getattr(scope.get("route"), "path", "other")
        self._meters.count_request(route, status, seconds)
        if self._log_requests == "none" or (self._log_requests == "problems" and status < 400 and seconds < _SLOW_S):
            return
        line = {"request": request_id, "method": scope["method"], "route": route, "status": status}
        _log.info("request", extra={"fields": {**line, "milliseconds": round(seconds * 1e3, 2)}})


class _Body:
    """The body of a request, cut off where it becomes too large, as if the client had disconnected.

    Bytes are counted, because a chunked body has no length in its headers, or one that means nothing.
    """

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive, self._left = receive, max_bytes
        self.is_too_large = False

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


async def _refuse(send: Send, status: int, sentence: str, headers: list[tuple[bytes, bytes]]) -> None:
    body = json.dumps({"error": sentence}).encode()
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body})
