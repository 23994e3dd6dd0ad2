"""Rows of tables whose gradient holds those rows alone.

A batch reads a few thousand rows of tables with millions. The ordinary gradient of a gather is a table of zeros with
these rows in it, one table per gather; here it is the rows and their numbers, and only :func:`dense_gradient`, or an
operator that knows how, lays them out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

__all__ = ["dense_gradient", "inner_products", "laid_out", "rows_of"]


def rows_of(table: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Rows (..., d) of a table (n, d) for int64 numbers of any shape; the table's gradient is sparse."""
    return functional.embedding(numbers, table, sparse=True)


def inner_products(vectors: torch.Tensor, user: torch.Tensor) -> torch.Tensor:
    """Scores (B, K) of vectors (B, K, d) for users (B, d)."""
    return torch.bmm(vectors, user[:, :, None]).squeeze(2)


def dense_gradient(table: torch.Tensor) -> torch.Tensor:
    """The same values; whatever computed them gets a dense gradient."""
    same: torch.Tensor = _DenseGradient.apply(table)  # type: ignore[no-untyped-call]
    return same


def laid_out(gradient: torch.Tensor) -> torch.Tensor:
    """A gradient as a dense table; rows that come twice are added."""
    if not gradient.is_sparse:
        return gradient
    dense = torch.zeros(gradient.shape, dtype=gradient.dtype, device=gradient.device)
    return dense.index_add_(0, gradient._indices()[0], gradient._values())


class _DenseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: torch.Tensor) -> torch.Tensor:
        return table.view_as(table)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return laid_out(gradients[0])
