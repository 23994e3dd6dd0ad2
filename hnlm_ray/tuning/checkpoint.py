"""Checkpoints of a tuning run in safetensors, which any number of workers at any ZeRO stage can continue from.

::

    state.safetensors    trained parameters, their Adam moments and the step; metadata: the progress as JSON
    best.safetensors     trained parameters of the best epoch
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hnlm_ray.run.places import Folder
from hnlm_ray.training.checkpoint import newest_progress, store_errors
from hnlm_ray.training.collectives import rank
from hnlm_ray.tuning.loop import TuningLoop, TuningProgress

__all__ = ["best_weights", "latest_progress", "restore", "save"]

_STATE, _BEST = "state.safetensors", "best.safetensors"


def save(loop: TuningLoop, folder: Path) -> None:
    """Write a checkpoint into an existing folder; all workers must call it, worker 0 writes."""
    tensors = loop.stepper.tensors()
    if rank() == 0:
        save_file(tensors, folder / _STATE, metadata={"progress": loop.progress.to_json()})
        save_file(loop.best, folder / _BEST)


def restore(loop: TuningLoop, folder: Path) -> None:
    """Continue from a checkpoint of the same run.

    Raises:
        StoreError: a file is missing or damaged, or belongs to another model.
    """
    best, progress = best_weights(folder)
    loop.stepper.load(_load(folder, _STATE))
    loop.best, loop.progress = best, progress


def best_weights(folder: Path) -> tuple[dict[str, torch.Tensor], TuningProgress]:
    """Trained parameters of the best epoch by name, and the progress.

    Raises:
        StoreError: a file is missing or damaged.
    """
    with store_errors(folder), safe_open(folder / _STATE, framework="pt") as file:
        progress = TuningProgress.from_json(file.metadata()["progress"])
    return _load(folder, _BEST), progress


def latest_progress(folder: Folder) -> TuningProgress | None:
    """The progress of the newest checkpoint below ``folder``, by reading headers alone; None before the first.

    Raises:
        OSError: a checkpoint vanished or cannot be read.
        ValueError: it is half-written.
    """
    return newest_progress(folder, _STATE, TuningProgress)


def _load(folder: Path, name: str) -> dict[str, torch.Tensor]:
    with store_errors(folder):
        tensors: dict[str, torch.Tensor] = load_file(folder / name)
        return tensors
