"""What a stage says while it works: sentences, and how much of its work is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Say", "WorkDone", "silent"]


@dataclass(frozen=True)
class WorkDone:
    """How far some work is; as a string, one line about it.

    Attributes:
        work: the name of the work, such as ``dns, seed 0``.
        done: how much is done, that of earlier attempts included.
        total: how much there is at most.
        unit: what is counted, in the plural: ``epochs``, ``fits``.
        line: the same as a sentence, for a log.
        rate: units per second; None before it is known.
        seconds_left: at that rate; None before it is known.
        note: what else is worth a look, such as the best validation so far.
        parts: the works of which this one consists and that are under way.
    """

    work: str
    done: int
    total: int
    unit: str
    line: str
    rate: float | None = None
    seconds_left: float | None = None
    note: str = ""
    parts: tuple[WorkDone, ...] = ()

    def __str__(self) -> str:
        return self.line


Say = Callable[[str | WorkDone], None]
"""Takes what a stage says. One with an attribute ``every_s`` is told how far work is that often, in seconds."""


def silent(said: str | WorkDone) -> None:
    """Ignore what a stage says."""
