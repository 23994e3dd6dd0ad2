"""Consoles that print text as it is, so that no id, title or message of elsewhere can command a terminal."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.control import Control
from rich.segment import Segment

__all__ = ["plain_console", "written_out"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Of terminals, and those that turn the direction of writing; not tab and newline."""
_LOG_WIDTH = 140
"""Columns where the output goes into a file or a job's log, which have no width of their own."""


class _Visible:
    """What is printed, with every control character written out, so that no text can command a terminal."""

    def __init__(self, content: RenderableType) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._content, options):
            yield segment if segment.control else segment._replace(text=written_out(segment.text))


class _NothingHidden(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [one if isinstance(one, Control) else _Visible(one) for one in renderables]


def written_out(text: str) -> str:
    """The text with every control character written out as an escape."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def plain_console(stream: TextIO, *, stderr: bool) -> Console:
    """A console that prints text as it is, but for control characters, which it writes out.

    It does not read markup (``[bold]``, ``:smile:``), not even in tables, because most of what is printed comes from
    elsewhere: ids, titles, paths, messages of other libraries. What is to be coloured gets a style, or is a
    :class:`~rich.text.Text`.
    """
    width = None if stream.isatty() or "COLUMNS" in os.environ else _LOG_WIDTH
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True, width=width)
    console.push_render_hook(_NothingHidden())
    return console
