"""A server that misbehaves on purpose, for the tests of endpoints."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = '{"reasoning":"r","summary":"for those who care"}'


def completion(content: object = GOOD, finish_reason: object = "stop", **usage: object) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, "finish_reason": finish_reason}], "usage": usage or None}


@dataclass(frozen=True)
class Answer:
    """What is sent back; a status of 0 closes the connection without a word."""

    body: Any = field(default_factory=completion)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    drips: bool = False
    """A byte now and then, so that no single read takes long."""


@dataclass(frozen=True)
class Asked:
    """One request, and when it came."""

    path: str
    body: dict[str, Any]
    at: float
    key: str | None

    @property
    def user(self) -> str:
        return str(self.body["messages"][-1]["content"])


Reply = Callable[[Asked, int], Answer]
"""The answer to a request, given how many came before it."""


class Server(ThreadingHTTPServer):
    """Answers by a function; keeps what it was asked."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, reply: Reply, models: Answer | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply_to = reply
        self.models = models or Answer({"data": []})
        self.asked: list[Asked] = []
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextlib.contextmanager
def serving(reply: Reply, models: Answer | None = None) -> Iterator[Server]:
    """A server while the body runs."""
    with Server(reply, models) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None: ...

    def do_GET(self) -> None:
        if self.path.partition("?")[0] == "/v1/models":
            self._send(self.server.models)
        else:
            self._send(Answer({"error": "page not found"}, 404))

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = Asked(self.path, body, time.monotonic(), self.headers.get("Authorization"))
        if self.path.partition("?")[0] != "/v1/chat/completions":
            self._send(Answer({"error": "page not found"}, 404))
            return
        with server.lock:
            before = len(server.asked)
            server.asked.append(asked)
            server.busy += 1
            server.most_busy = max(server.most_busy, server.busy)
        time.sleep(0.02)
        answer = server.reply_to(asked, before)
        with server.lock:
            server.busy -= 1
        with contextlib.suppress(OSError):
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        if answer.status == 0:
            self.close_connection = True
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        if answer.drips:
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b" ")
                time.sleep(0.1)
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
