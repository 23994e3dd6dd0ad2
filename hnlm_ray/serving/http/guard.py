"""The checks before every route, of host, token, body and load, and the log of requests, as plain ASGI.

One layer instead of one per concern: each layer of a web framework costs more than scoring a small catalogue.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import random
import time

from hnlm_ray.config.serving import ServiceOptions
from hnlm_ray.errors import ConfigError
from hnlm_ray.serving.http.bodies import Bodies
from hnlm_ray.serving.http.hosts import Hosts
from hnlm_ray.serving.http.meters import Meters
from hnlm_ray.serving.http.naming import request_id_of
from hnlm_ray.serving.http.protocol import ASGI, Message, Receive, Scope, Send
from hnlm_ray.serving.http.refusals import RefusedError, refusal

__all__ = ["MAX_DELAYED_REFUSALS", "Guard", "JsonLines", "token_of"]

MAX_DELAYED_REFUSALS = 1024
"""Most refusals that a process delays at a time; one more is sent at once."""

_log = logging.getLogger("hnlm_ray.serving.requests")

_OPEN = ("/health", "/ready", "/v1/health", "/v1/ready")
"""Paths of probes, which have no token and must never be refused."""

_OPEN_PAGES = ("/", "/docs", "/openapi.json")
"""Paths that need no token, because they contain nothing of a bundle."""

_WAITING_FOR_STORAGE = ("/v1/feedback",)
"""Paths of requests that mostly wait: they take no place among those at work, and have a bound of their own."""

_WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")
"""Methods of routes that read no body; the server drops one that comes nevertheless."""

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

    Refuses, with one sentence as JSON, a request for a host that is not served (421), a wrong or missing token (401), a
    body that is too large (413) or does not arrive in time (408), and, while ``max_ongoing_requests`` are being
    processed, any further request (503 with ``Retry-After``).

    A request takes its place among those being processed once its body is complete, so that clients that send slowly
    keep nobody else waiting.

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
        self._hosts = Hosts(options.allowed_hosts)
        self._bodies = Bodies(options.max_body_bytes, options.timeout_s)
        self._max_ongoing = options.max_ongoing_requests
        self._log_requests, self._pause_s = options.log_requests, options.refusal_pause_s
        self._sends_request_id = sends_request_id
        self._ongoing, self._delayed = 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called by the server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = scope["hnlm_request_id"] = request_id_of(scope["headers"])
        headers = [*_HEADERS, (b"x-request-id", request_id.encode())] if self._sends_request_id else _HEADERS
        answer = _Answer(send, headers)
        try:
            await self._process(scope, receive, answer)
        except RefusedError as error:
            await refusal(error)(scope, receive, answer.send)
        finally:
            self._record(scope, request_id, answer.status or 500, time.perf_counter() - started)

    async def _process(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        if scope["path"] in _OPEN:
            await self._app(scope, receive, answer.send)
            return
        await self._require_room()
        headers = dict(scope["headers"])
        self._require_right(scope["path"], headers)
        if scope["method"] not in _WITHOUT_BODY:
            receive = await self._bodies.complete(receive, headers)
            await self._require_room()
        if scope["path"] in _WAITING_FOR_STORAGE:
            await self._app(scope, receive, answer.send)
            return
        self._ongoing += 1
        try:
            await self._app(scope, receive, answer.send)
        finally:
            self._ongoing -= 1

    async def _require_room(self) -> None:
        if self._ongoing < self._max_ongoing:
            return
        self._meters.refused.inc()
        if self._pause_s and self._delayed < MAX_DELAYED_REFUSALS:
            self._delayed += 1
            try:
                # Of different lengths, or clients that were refused together would retry together.
                await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.5))  # noqa: S311
            finally:
                self._delayed -= 1
        raise RefusedError(503, "Too many requests are being processed, try again soon.", {"retry-after": "1"})

    def _require_right(self, path: str, headers: dict[bytes, bytes]) -> None:
        """Refuse who may not ask."""
        if self._token is None:
            self._hosts.require(headers.get(b"host"))
        elif path not in _OPEN_PAGES and not hmac.compare_digest(headers.get(b"authorization", b""), self._token):
            sentence = "The header Authorization must carry the token of this service, as Bearer TOKEN."
            raise RefusedError(401, sentence, {"www-authenticate": "Bearer"})

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        # The template of the route, never the path itself: a path may name a user.
        route = getattr(scope.get("route"), "path", "other")
        self._meters.count_request(route, status, seconds)
        if self._log_requests == "none" or (self._log_requests == "problems" and status < 400 and seconds < _SLOW_S):
            return
        line = {"request": request_id, "method": scope["method"], "route": route, "status": status}
        _log.info("request", extra={"fields": {**line, "milliseconds": round(seconds * 1e3, 2)}})


class _Answer:
    """The way of an answer to the client; adds the headers that every answer has.

    Attributes:
        status: of the answer; 0 before it has begun.
    """

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send, self._headers = send, headers
        self.status = 0

    async def send(self, message: Message) -> None:
        """Called by the application."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)


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
