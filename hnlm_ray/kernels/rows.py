"""Gathers rows of tables with sparse gradients.

A batch reads a few thousand rows of tables with millions. The ordinary gradient of a gather is a table of zeros with
these rows in it, one table per gather; here it is the rows and their numbers. :func:`dense_gradient` turns it into a
dense table once, where an operator below needs one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

__all__ = ["dense_gradient", "inner_products", "laid_out", "on_device", "rows_of", "widened"]


def on_device(array: npt.NDArray[Any] | torch.Tensor, device: torch.device) -> torch.Tensor:
    """An array or tensor of the CPU as a tensor on the device, without waiting for what the device computes."""
    tensor = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
    if device.type == "cpu":
        return tensor
    # From ordinary memory, PyTorch copies in step with the host, which then prepares nothing ahead.
    return tensor.pin_memory().to(device, non_blocking=True)


def rows_of(table: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Rows (..., d) of a table (n, d) by int64 numbers of any shape (...); the gradient of the table is sparse."""
    return functional.embedding(numbers, table, sparse=True)


def inner_products(vectors: torch.Tensor, user: torch.Tensor) -> torch.Tensor:
    """Inner products (B, K) of the vectors (B, K, d) of each row with its user (B, d), at least in float32."""
    return widened(torch.bmm(vectors, user[:, :, None]).squeeze(2))


def widened(product: torch.Tensor) -> torch.Tensor:
    """A product that mixed precision left in bfloat16 as float32, for sums and exponentials; any other as it is."""
    return product.float() if product.dtype == torch.bfloat16 else product


def dense_gradient(table: torch.Tensor) -> torch.Tensor:
    """The same table (n, d); what computed it receives a dense gradient, even if only some rows were gathered."""
    same: torch.Tensor = _DenseGradient.apply(table)  # type: ignore[no-untyped-call]
    return same


def laid_out(gradient: torch.Tensor) -> torch.Tensor:
    """A sparse gradient (n, d) as a dense table, rows that occur twice summed; a dense one is returned as it is."""
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
