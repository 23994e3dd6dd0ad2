"""The learning curve of a fit while it runs, as a small file that the driver reads."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hnlm_ray.errors import HnlmError
from hnlm_ray.run.places import Folder
from hnlm_ray.training.callbacks import Callback, Figures

__all__ = ["LiveCurve", "live_folder", "read_curve", "write_curve"]

_FILE = "curve.json"
_EVERY_S = 1.0
"""Seconds between two writings after an epoch, and likewise after a validation: a short epoch costs no file."""


def live_folder(output: Folder) -> Folder:
    """The folder of the curve of a stage; it is scratch, deleted when the stage is complete."""
    return output.folder("_live")


def write_curve(folder: Folder, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows so far; where that fails there is no file, and the fit goes on."""
    with contextlib.suppress(HnlmError, OSError):
        folder.create()
        folder.write_bytes(_FILE, json.dumps(rows).encode())


def read_curve(folder: Folder) -> list[dict[str, Any]]:
    """The rows so far; none where they cannot be read."""
    with contextlib.suppress(HnlmError, OSError, ValueError):
        if _FILE in folder.files():
            rows: list[dict[str, Any]] = json.loads(folder.read_bytes(_FILE))
            return rows
    return []


class LiveCurve(Callback):
    """Writes the epochs of this process.

    Args:
        folder: made where it does not exist.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._rows: list[dict[str, Any]] = []
        self._written = {"epoch": -_EVERY_S, "validation": -_EVERY_S}

    def on_epoch(self, epoch: int, figures: Figures) -> None:
        """Add a row."""
        self._rows.append({"epoch": epoch, **figures})
        self._write("epoch")

    def on_validation(self, epoch: int, figures: Figures) -> None:
        """Complete the row of the epoch."""
        self._rows[-1] |= {name: figures[name] for name in ("valid_ndcg", "valid_recall")}
        self._write("validation")

    def _write(self, after: str) -> None:
        if time.monotonic() - self._written[after] >= _EVERY_S:
            write_curve(self._folder, self._rows)
            self._written[after] = time.monotonic()
