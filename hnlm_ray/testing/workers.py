"""Runs a function in a group of gloo processes on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import multiprocessing

__all__ = ["run_workers"]


def run_workers(world_size: int, body: Callable[[int, Path], None], folder: Path) -> None:
    """Call ``body(rank, folder)`` in each process; an exception in one is raised here."""
    arguments = world_size, body, folder
    multiprocessing.spawn(_enter, arguments, nprocs=world_size)  # type: ignore[attr-defined, no-untyped-call]


def _enter(rank: int, world_size: int, body: Callable[[int, Path], None], folder: Path) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world_size)
    try:
        body(rank, folder)
    finally:
        dist.destroy_process_group()
