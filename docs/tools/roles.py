"""Docstrings of the package as pages of the reference: what one names in Sphinx's roles becomes a link."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Roles"]

_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([^`<]+?)(?:\s*<([^>]+)>)?`")


def linked(text: str) -> str:
    """The text with links where there were roles; a name that no page describes stays a name."""

    def link(found: re.Match[str]) -> str:
        shown, target = found[1], found[2] or found[1]
        short = shown if found[2] else shown.rpartition(".")[2]
        return f'<autoref identifier="{target}" optional><code>{short}</code></autoref>'

    return _ROLE.sub(link, text)


class Roles(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = linked(obj.docstring.value)
