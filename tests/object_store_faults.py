"""A proxy in front of an object store that refuses, drops or delays what it is told to."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Fault = Literal["403", "503", "reset", "slow"] | None
_HOP = {"connection", "transfer-encoding", "keep-alive"}


class FaultyProxy:
    """Forwards to ``127.0.0.1:port``, unless ``fault(method, path)`` names what is to go wrong.

    Attributes:
        port: where it listens.
        faults: how many requests went wrong.
    """

    def __init__(self, port: int, fault: Callable[[str, str], Fault]) -> None:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def _forward(self) -> None:
                body = self._body()
                found = fault(self.command, self.path)
                proxy.faults += found is not None
                if found == "reset":
                    self.close_connection = True
                    self.connection.close()
                    return
                if found in ("403", "503"):
                    code = {"403": "AccessDenied", "503": "SlowDown"}[found]
                    self._answer(int(found), [], f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())
                    return
                if found == "slow":
                    time.sleep(0.3)
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
                upstream.request(self.command, self.path, body=body, headers=headers)
                answer = upstream.getresponse()
                kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
                self._answer(answer.status, kept, answer.read())
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
                    if name.lower() not in ("content-length", "date", "server"):
                        self.send_header(name, value)
                is_head = self.command == "HEAD"
                length = next((value for name, value in headers if name.lower() == "content-length"), len(body))
                self.send_header("Content-Length", str(length if is_head else len(body)))
                self.end_headers()
                if not is_head:
                    self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward  # noqa: N815

        self.faults = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
