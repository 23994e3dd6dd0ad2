"""A shortcut for the busiest route past the web framework, whose routing takes longer than scoring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace

from starlette.requests import Request
from starlette.responses import Response

from hnlm_ray.serving.http.protocol import ASGI, Receive, Scope, Send
from hnlm_ray.serving.http.refusals import RefusedError, apology, refusal

__all__ = ["Shortcut"]


class Shortcut:
    """An ASGI application that calls the function of one route itself and passes all other requests on.

    Requests with a query are passed on, too. The framework has the same route with the same function; this is faster.
    """

    def __init__(self, app: ASGI, path: str, function: Callable[[Request], Awaitable[Response]]) -> None:
        self._app, self._path, self._function = app, path, function
        self._route = SimpleNamespace(path=path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called by the server."""
        if scope.get("path") != self._path or scope.get("method") != "POST" or scope["query_string"]:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        try:
            response = await self._function(Request(scope, receive))
        except RefusedError as error:
            response = refusal(error)
        except Exception:
            await apology()(scope, receive, send)
            raise  # for the server, which logs it
        await response(scope, receive, send)
