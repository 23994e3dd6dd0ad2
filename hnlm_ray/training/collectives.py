"""Sums over the workers; with one worker, or without a process group, each is the identity.

Tensors that are equal on all workers (item rows, weights) follow one rule: on every worker, the gradient is the sum of
the gradients of all workers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from hnlm_ray.kernels.rows import laid_out

__all__ = ["divided", "gather_rows", "of_total", "rank", "replicate", "sum_over_workers", "world_size"]


def world_size() -> int:
    """How many workers train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this worker, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def sum_over_workers(tensor: torch.Tensor) -> torch.Tensor:
    """Replace ``tensor`` by its sum over the workers, in place; all workers must call it, in the same order."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def replicate(*tables: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Mark tables that are equal on all workers: the same values forward, the gradient summed over workers backward."""
    if world_size() == 1:
        return tables
    return tuple(_Replicate.apply(*tables))  # type: ignore[no-untyped-call]


def gather_rows(rows: torch.Tensor, positions: torch.Tensor, size: int) -> torch.Tensor:
    """Put each worker's rows into one table that all hold.

    Args:
        rows: (B, ...) of this worker.
        positions: (B,) int64, their places in the table; over all workers each place is taken once.
        size: rows of the table.
    """
    if world_size() == 1:
        return rows
    gathered: torch.Tensor = _Gather.apply(rows, positions, size)  # type: ignore[no-untyped-call]
    return gathered


def divided(weight: torch.Tensor) -> torch.Tensor:
    """The same values, with the gradient divided by the number of workers.

    For a weight in a computation that every worker repeats: the sum over workers then counts it once.
    """
    if world_size() == 1:
        return weight
    same: torch.Tensor = _Divide.apply(weight)  # type: ignore[no-untyped-call]
    return same


def of_total(part: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """This worker's share of ``function(sum of the parts of all workers)``, with the gradient of its own part.

    Args:
        part: a scalar.
        function: of a scalar, differentiable.
    """
    with torch.enable_grad():
        total = sum_over_workers(part.detach().clone()).requires_grad_()
        value = function(total)
        (slope,) = torch.autograd.grad(value, total)
    return value.detach() / world_size() + slope * (part - part.detach())


class _Replicate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tables: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(table.view_as(table) for table in tables)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gradients = tuple(laid_out(gradient) for gradient in gradients)
        flat = sum_over_workers(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        return tuple(part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, positions: torch.Tensor, size: int) -> torch.Tensor:
        ctx.save_for_backward(positions)
        table = rows.new_zeros((size, *rows.shape[1:]))
        return sum_over_workers(table.index_copy_(0, positions, rows))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (positions,) = ctx.saved_tensors
        return sum_over_workers(gradients[0].clone()).index_select(0, positions), None, None


class _Divide(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor) -> torch.Tensor:
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0] / world_size()
