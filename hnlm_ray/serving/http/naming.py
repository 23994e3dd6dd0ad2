"""Names of requests: the client's own in the header ``x-request-id``, if it is a harmless word, else a new one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hnlm_ray.serving.http.protocol import ASGI, Receive, Scope, Send

if TYPE_CHECKING:
    from starlette.middleware import Middleware

__all__ = ["PlainRequestIds", "middlewares", "request_id_of"]

_HEADER = b"x-request-id"
_PLAIN = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The name of a request."""
    given = next((value for name, value in headers if name == _HEADER), b"")
    return given.decode() if _PLAIN.fullmatch(given) else uuid.uuid4().hex


class PlainRequestIds:
    """An ASGI application around Ray Serve's own layers, which would repeat any name in headers and logs."""

    def __init__(self, app: ASGI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called by the server."""
        if scope["type"] == "http":
            kept = [one for one in scope["headers"] if one[0] != _HEADER or _PLAIN.fullmatch(one[1])]
            scope = {**scope, "headers": kept}
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """Called by Ray Serve in each process that receives requests, as :mod:`hnlm_ray.cluster.ingress` has set."""
    from starlette.middleware import Middleware

    return [Middleware(PlainRequestIds)]
