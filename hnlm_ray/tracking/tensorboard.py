"""TensorBoard: a folder of event files per fit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hnlm_ray.config.tracking import TensorBoardConfig
from hnlm_ray.tracking.protocol import Fit, Pipeline, Point, Status

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TensorBoardTracker"]


class TensorBoardTracker:
    """Writes event files as they come; TensorBoard keeps no files and no status.

    Args:
        options: of the section ``tracking.tensorboard``.
    """

    title = "TensorBoard"

    def __init__(self, options: TensorBoardConfig) -> None:
        self._root = Path(os.path.abspath(os.path.expanduser(options.folder)))
        self.place = f"tensorboard {self._root}"
        self._writers: dict[str, SummaryWriter] = {}

    def begin(self, pipeline: Pipeline) -> str:
        """See :class:`hnlm_ray.tracking.protocol.Tracker`; so for the other methods."""
        name = Path(pipeline.name.rstrip("/")).name or "run"
        self._folder = self._root / f"{name}-{pipeline.id[:6]}"
        if not (self._folder / "pipeline").is_dir():
            self._writer(None).add_text("options", _table(pipeline.parameters))
            self._writer(None).flush()
        return f"tensorboard --logdir {self._root}"

    def begin_fit(self, fit: Fit) -> Mapping[str, int]:
        """The last epochs are read from the event files, so that a killed run continues its curves."""
        folder = self._folder / fit.key.replace("@", "-")
        known = _last_steps(folder) if folder.is_dir() else {}
        writer = self._writer(fit)
        if not known:
            writer.add_text("options", _table(fit.parameters))
            writer.flush()
        return known

    def log_points(self, fit: Fit, points: Sequence[Point]) -> None:
        """One tag per figure, with the epoch as its step."""
        writer = self._writer(fit)
        for epoch, row in points:
            for name, value in row.items():
                writer.add_scalar(name, value, epoch)
        writer.flush()

    def log_figures(self, figures: Mapping[str, float], fit: Fit | None = None) -> None:
        """As points at step 0."""
        writer = self._writer(fit)
        for name, value in figures.items():
            writer.add_scalar(name, value, 0)
        writer.flush()

    def log_file(self, name: str, content: bytes) -> None:
        """TensorBoard keeps none."""

    def end_fit(self, fit: Fit, status: Status) -> None:
        """Close its event file."""
        if (writer := self._writers.pop(fit.key, None)) is not None:
            writer.close()

    def end(self, status: Status) -> None:
        """Close every event file."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _writer(self, fit: Fit | None) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        key = "pipeline" if fit is None else fit.key
        if key not in self._writers:
            self._writers[key] = SummaryWriter(str(self._folder / key.replace("@", "-")))
        return self._writers[key]


def _last_steps(folder: Path) -> dict[str, int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 1})
    found.Reload()
    return {tag: found.Scalars(tag)[-1].step for tag in found.Tags()["scalars"]}


def _table(parameters: Mapping[str, str]) -> str:
    """A table in Markdown, as TensorBoard shows text."""
    rows = [f"| {key} | {value.replace('|', '&#124;')} |" for key, value in parameters.items()]
    return "\n".join(["| option | value |", "|---|---|", *rows])
