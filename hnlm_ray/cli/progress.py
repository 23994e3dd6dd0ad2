"""Who listens to a run: bars on a terminal, lines of text in a job's log, or lines of JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from hnlm_ray.cli import console
from hnlm_ray.cli.log import log
from hnlm_ray.cli.words import summary_line
from hnlm_ray.run.execute import Progress
from hnlm_ray.run.plan import PlannedStage
from hnlm_ray.run.progress import Say, WorkDone

__all__ = ["Events", "Lines", "listening", "saying"]


@contextlib.contextmanager
def listening(stages: int) -> Iterator[Progress]:
    """What hears of a run and shows it, in the way that suits where standard error goes.

    Args:
        stages: how many are to run or to be skipped.
    """
    if log.is_json:
        yield Events().progress()
    elif _has_screen():
        with _on_screen(stages) as screen:
            yield screen.progress()
    else:
        yield Lines().progress()


class Lines:
    """Lines of text."""

    def __init__(self) -> None:
        self._last = ""

    def progress(self) -> Progress:
        """The listeners of a run."""
        return Progress(self.started, self.skipped, self.finished, self.say)

    def started(self, stage: PlannedStage) -> None:
        """Print the name of the stage."""
        console.errors.print(f"▸ {stage.name}", style="bold")

    def skipped(self, stage: PlannedStage) -> None:
        """Print that the stage is complete."""
        console.errors.print(f"✓ {stage.name}: already complete ({stage.artifact.fingerprint})", style="dim")

    def finished(self, stage: PlannedStage) -> None:
        """Print what the stage did, and its warnings."""
        console.print_marked("ok", summary_line(stage), to=console.errors)
        for warning in stage.artifact.manifest().warnings:
            console.print_marked("warn", warning, to=console.errors)

    def say(self, said: str | WorkDone) -> None:
        """Print a line, unless it repeats how far the work was."""
        if isinstance(said, WorkDone) and str(said) == self._last:
            return
        self._last = str(said)
        console.errors.print(f"    {said}", style="dim")


class _Screen(Lines):
    """Lines of text above bars, which take the place of lines about how far the work is."""

    def __init__(self, stages: int) -> None:
        from hnlm_ray.cli.bars import Bars

        super().__init__()
        self.bars = Bars(console.errors, stages)
        self.every_s = self.bars.every_s

    def progress(self) -> Progress:
        return Progress(self.started, self.skipped, self.finished, self)

    def __call__(self, said: str | WorkDone) -> None:
        if isinstance(said, WorkDone):
            self.bars.show(said)
        else:
            self.say(said)

    def started(self, stage: PlannedStage) -> None:
        super().started(stage)
        self.bars.begin(stage.name)

    def skipped(self, stage: PlannedStage) -> None:
        super().skipped(stage)
        self.bars.end()

    def finished(self, stage: PlannedStage) -> None:
        self.bars.end()
        super().finished(stage)


def _has_screen() -> bool:
    """Whether standard error is a terminal that can draw over what it has drawn."""
    return console.errors.is_terminal and not console.errors.is_dumb_terminal


@contextlib.contextmanager
def _on_screen(stages: int = 0) -> Iterator[_Screen]:
    """Bars on the terminal during the body."""
    screen = _Screen(stages)
    with screen.bars:
        yield screen


class Events:
    """Lines of JSON."""

    def __init__(self) -> None:
        self._stage: str | None = None

    def progress(self) -> Progress:
        """The listeners of a run."""
        return Progress(self.started, self.skipped, self.finished, self.say)

    def started(self, stage: PlannedStage) -> None:
        """Write ``stage_started``."""
        self._stage = stage.name
        log.event("stage_started", stage=stage.name, fingerprint=stage.artifact.fingerprint)

    def skipped(self, stage: PlannedStage) -> None:
        """Write ``stage_skipped``."""
        log.event("stage_skipped", stage=stage.name, fingerprint=stage.artifact.fingerprint)

    def finished(self, stage: PlannedStage) -> None:
        """Write a ``message`` for each warning of the stage, and ``stage_finished``."""
        manifest = stage.artifact.manifest()
        for warning in manifest.warnings:
            log.event("message", "warning", stage=stage.name, message=warning)
        fields = {"seconds": manifest.seconds, "rows": manifest.rows, "counts": manifest.counts}
        log.event("stage_finished", "info", stage=stage.name, fingerprint=stage.artifact.fingerprint, **fields)
        self._stage = None

    def say(self, said: str | WorkDone) -> None:
        """Write ``progress`` or ``message``."""
        if isinstance(said, WorkDone):
            log.event("progress", stage=self._stage, **_fields(said))
        else:
            log.event("message", stage=self._stage, message=said)


def _fields(work: WorkDone) -> dict[str, Any]:
    fields = {name: value for name, value in vars(work).items() if name != "line"}
    fields |= {name: round(fields[name], 3) for name in ("rate", "seconds_left") if fields[name] is not None}
    return {**fields, "parts": [_fields(part) for part in work.parts]}


@contextlib.contextmanager
def saying(otherwise: Say) -> Iterator[Say]:
    """What hears of work that is no run: bars on a terminal, events, or else ``otherwise``."""
    if log.is_json:
        yield Events().say
    elif _has_screen():
        with _on_screen() as screen:
            yield screen
    else:
        yield otherwise
