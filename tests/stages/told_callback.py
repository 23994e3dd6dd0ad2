"""A callback of a configuration, for the workers of Ray to load by its path."""

from __future__ import annotations

import json
from pathlib import Path

from hnlm_ray.training.callbacks import Callback, Figures


class Told(Callback):
    """Adds what it is told to a file as lines of JSON, and fails in one epoch."""

    def __init__(self, fit: str, file: str, failing: int = 0) -> None:
        self._fit, self._file, self._failing = fit, Path(file), failing

    def on_epoch(self, epoch: int, figures: Figures) -> None:
        if epoch == self._failing:
            raise KeyError("told")
        self._note("epoch", epoch, figures)

    def on_validation(self, epoch: int, figures: Figures) -> None:
        self._note("validation", epoch, figures)

    def _note(self, what: str, epoch: int, figures: Figures) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps([self._fit, what, epoch, dict(figures)]) + "\n")
