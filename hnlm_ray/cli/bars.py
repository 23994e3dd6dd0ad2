"""Bars of progress at the foot of a terminal: the stages of a run, the work under way, and the parts of it."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from hnlm_ray.cli.terminal import written_out
from hnlm_ray.run.progress import WorkDone

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Bars"]

_LEAST_BAR, _MOST_NAME = 12, 32
"""Columns."""


class Bars:
    """Shows how far the work of a run is, while it is open; lines that are printed meanwhile stand above the bars.

    A stage that says nothing of its work has a bar that moves and the time since its beginning.

    Args:
        console: the terminal.
        stages: stages to run; 0 for work that is no run.

    Attributes:
        every_s: how often it wants to be told, in seconds.
    """

    every_s = 1.0

    def __init__(self, console: Console, stages: int = 0) -> None:
        self._progress = Progress(
            _Field("name", Column(no_wrap=True, max_width=_MOST_NAME)),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=_LEAST_BAR, max_width=40)),
            _Field("amount", Column(no_wrap=True, justify="right")),
            _Field("rate", Column(no_wrap=True, justify="right")),
            _Time(table_column=Column(no_wrap=True, justify="right")),
            _Field("note", Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            transient=True,
            expand=True,
            refresh_per_second=4,
        )
        self._lock = threading.Lock()
        self._stages = self._add("stages", stages, amount=f"0/{stages} stages") if stages else None
        self._total, self._ended = stages, 0
        self._shown: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, name: str) -> None:
        """Show that a stage has begun."""
        with self._lock:
            self._clear()
            self._shown[""] = self._add(name, None)

    def end(self) -> None:
        """Count a stage as ended, run or skipped."""
        with self._lock:
            self._clear()
            self._ended += 1
            if self._stages is not None:
                amount = f"{self._ended}/{self._total} stages"
                self._progress.update(self._stages, completed=self._ended, amount=amount)

    def show(self, work: WorkDone) -> None:
        """Show how far the work of the stage is, and its parts."""
        with self._lock:
            for gone in self._shown.keys() - {"", *(part.work for part in work.parts)}:
                self._progress.remove_task(self._shown.pop(gone))
            self._update("", work)
            for part in work.parts:
                self._update(part.work, part)

    def _clear(self) -> None:
        for task in self._shown.values():
            self._progress.remove_task(task)
        self._shown.clear()

    def _add(self, name: str, total: int | None, **fields: Any) -> TaskID:
        empty = {"amount": "", "rate": "", "note": "", "until": None}
        return self._progress.add_task("", total=total, **{"name": name, **empty, **fields})

    def _update(self, place: str, work: WorkDone) -> None:
        name = f"  {work.work}" if place else work.work
        if place not in self._shown:
            self._shown[place] = self._add(name, work.total)
        self._progress.update(
            self._shown[place],
            total=work.total,
            completed=work.done,
            name=name,
            amount=f"{work.done:,}/{work.total:,} {work.unit}",
            rate=_pace(work),
            note=work.note,
            until=None if work.seconds_left is None else time.monotonic() + work.seconds_left,
        )


def _pace(work: WorkDone) -> str:
    if not work.rate:
        return ""
    return f"{work.rate:,.1f}/s" if work.rate >= 1 else f"{1 / work.rate:,.1f} s each"


class _Field(ProgressColumn):
    """A field of the task as it is, but for control characters, which a live display does not look for."""

    def __init__(self, name: str, column: Column) -> None:
        super().__init__(table_column=column)
        self._name = name

    def render(self, task: Task) -> Text:
        return Text(written_out(str(task.fields[self._name])), style="dim" if self._name == "note" else "")


class _Time(ProgressColumn):
    """The time left, counted down between two looks; where it is not known, the time since the beginning."""

    def render(self, task: Task) -> Text:
        if (until := task.fields["until"]) is not None:
            return Text(f"{_clock(max(0.0, until - time.monotonic()))} left", style="cyan")
        return Text(_clock(task.elapsed or 0.0), style="dim")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
