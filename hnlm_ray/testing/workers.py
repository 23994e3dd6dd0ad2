"""Runs a function in a group of processes that are connected by gloo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import multiprocessing

__all__ = ["run_workers"]


def run_workers(world_size: int, body: Callable[[int, Path], None], folder: Path) -> None:
    """Call ``body(rank, folder)`` in each of ``world_size`` processes.

    Args:
        world_size: how many processes.
        body: a function at module level, since it is sent to other processes.
        folder: a folder in which they can leave results.

    Raises:
        torch.multiprocessing.ProcessRaisedException: an exception in one of the processes.
    """
    arguments = world_size, body, folder
    multiprocessing.spawn(_enter, arguments, nprocs=world_size)  # type: ignore[attr-defined, no-untyped-call]


def _enter(rank: int, world_size: int, body: Callable[[int, Path], None], folder: Path) -> None:
    torch.set_num_threads(1)
    address = f"file://{folder / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)
    try:
        body(rank, folder)
    finally:
        dist.destroy_process_group()
