"""Sums over the workers; with one worker, or without a process group, each is the identity."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

__all__ = ["rank", "replicate", "sum_over_workers", "world_size"]


def world_size() -> int:
    """How many workers train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this worker, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def sum_over_workers(tensor: torch.Tensor) -> torch.Tensor:
    """Replace ``tensor`` by its sum over the workers, in place; every worker must call it equally often."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def replicate(*tables: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Mark tables that every worker holds alike: the same values forward, one summed gradient backward.

    Args:
        tables: tensors of one shape.
    """
    if world_size() == 1:
        return tables
    return tuple(_Replicate.apply(*tables))  # type: ignore[no-untyped-call]


class _Replicate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tables: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(table.view_as(table) for table in tables)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(sum_over_workers(torch.stack(gradients)).unbind())
