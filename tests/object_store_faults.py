"""A proxy in front of an object store that refuses, drops or delays what it is told to."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Fault = Literal["403", "503", "reset", "slow"] | None
_CODES = {"403": "AccessDenied", "503": "SlowDown"}
_HOP = {"connection", "transfer-encoding", "keep-alive"}
_OWN = {*_HOP, "content-length", "date", "server"}


class FaultyProxy(ThreadingHTTPServer):
    """Forwards to ``127.0.0.1:port``, unless ``fault(method, path)`` names what is to go wrong.

    Attributes:
        faults: how many requests went wrong.
    """

    daemon_threads = True

    def __init__(self, port: int, fault: Callable[[str, str], Fault]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.fault, self.faults = port, fault, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def log_message(self, *arguments: object) -> None:
        pass

    def _forward(self) -> None:
        body, fault = self._body(), self.server.fault(self.command, self.path)
        self.server.faults += fault is not None
        if fault == "reset":
            self.close_connection = True
            self.connection.close()
        elif fault in _CODES:
            self._answer(int(fault), [], f"<Error><Code>{_CODES[fault]}</Code><Message>no</Message></Error>".encode())
        else:
            time.sleep(0.3 * (fault == "slow"))
            self._pass_on(body)

    def _pass_on(self, body: bytes) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        upstream.request(self.command, self.path, body=body, headers=headers)
        answer = upstream.getresponse()
        self._answer(answer.status, answer.getheaders(), answer.read())
        upstream.close()

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _OWN:
                self.send_header(name, value)
        said = {name.lower(): value for name, value in headers}.get("content-length", "")
        self.send_header("Content-Length", said if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward  # noqa: N815
