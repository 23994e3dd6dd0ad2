"""Routes behind an id that may contain everything: their last word was sent as a segment of its own."""

from __future__ import annotations

from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.routing import Match

from hnlm_ray.serving.http.protocol import Scope

__all__ = ["LastWord"]


class LastWord(APIRoute):
    """A route such as ``/v1/users/{id}/recommendations``, which the id ``a/recommendations`` must not shadow.

    A server decodes the path before it is matched, so that the slash of an id and one between segments look the same.
    The path as it was sent tells them apart: there the slash of an id is ``%2F``.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Called by the router."""
        sent = scope.get("raw_path")
        last = self.path.rpartition("/")[2]
        if sent is not None and unquote(sent.rpartition(b"/")[2]) != last:
            return Match.NONE, {}
        return super().matches(scope)
