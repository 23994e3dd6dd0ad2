"""The product of a sparse matrix with a dense table, the inner loop of every backbone with a graph.

On a CPU a compiled kernel computes it: the width of the rows is a constant to the compiler, so that a row's sum stays
in registers, and threads get equal shares of the work, not of the rows. This is faster than PyTorch's CSR product
(``benchmarks/cf_epoch.py`` measures both) and adds a multiple of another table in the same pass. On other devices it is
PyTorch's CSR product with int32 indices.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from hnlm_ray.kernels.compiled import compiled

__all__ = ["SparseBlock"]

_CHUNKS = 64
"""Shares of the work that the threads take one after the other."""


class SparseBlock:
    """A sparse matrix (R, C) of float32 with int32 indices, laid out once and multiplied often."""

    def __init__(self, matrix: sparse.csr_array, device: torch.device) -> None:
        """Copy the matrix to the device.

        Args:
            matrix: (R, C), fewer than 2**31 values.
            device: where products are computed.
        """
        rows, columns = matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32)
        values = matrix.data.astype(np.float32)
        self._n_rows = int(matrix.shape[0])
        self._csr: torch.Tensor | None = None
        if device.type == "cpu":
            self._layout = _even_shares(rows), rows, columns, values
        else:
            starts, places, data = (torch.from_numpy(part) for part in (rows, columns, values))
            # scipy made the layout, so PyTorch need not check it; its warning that CSR is in beta says nothing new.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support", category=UserWarning)
                self._csr = torch.sparse_csr_tensor(
                    starts, places, data, size=matrix.shape, device=device, check_invariants=False
                )

    def multiply(
        self,
        table: torch.Tensor,
        scale: float = 1.0,
        added: torch.Tensor | None = None,
        share: float = 0.0,
        *,
        reads: torch.Tensor | None = None,
        only: torch.Tensor | None = None,
        spare: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """``scale * M @ table + share * added``, for the matrix ``M``; autograd does not see it.

        Args:
            table: (C, d) float32.
            scale: of the product.
            added: (R, d) float32; None adds nothing.
            share: factor of ``added``.
            reads: int64 numbers of the rows of ``table`` that are not 0; others are then not read. None for all.
            only: int64 numbers of the rows of the result that are needed; others may hold anything. None for all.
            spare: (R, d) float32, contiguous, that is not needed any more: on a CPU the result takes its memory.

        Returns:
            (R, d) float32.
        """
        if self._csr is not None:
            with torch.autocast(table.device.type, enabled=False):  # mixed precision would round the factors
                if added is None:
                    return (self._csr @ table).mul_(scale)
                return torch.addmm(added, self._csr, table, beta=share, alpha=scale)
        import numba

        numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
        out = torch.empty(self._n_rows, table.shape[1]) if spare is None else spare
        dense = table.detach().contiguous().numpy()
        other = out.numpy() if added is None else added.detach().contiguous().numpy()
        # Checking whether to read a row pays off only where most rows need not be read.
        skips = reads is not None and len(reads) < len(table) // 2
        is_read, is_wanted = _marks(reads if skips else None, len(table)), _marks(only, self._n_rows)
        kernel = _kernel(table.shape[1], skips)
        cuts, *matrix = self._layout
        kernel(cuts, *matrix, is_read, is_wanted, dense, np.float32(scale), other, np.float32(share), out.numpy())
        return out


def _marks(numbers: torch.Tensor | None, size: int) -> npt.NDArray[np.bool_]:
    """(size,) bool, True at the numbers, or everywhere without numbers."""
    if numbers is None:
        return np.ones(size, dtype=np.bool_)
    marks = np.zeros(size, dtype=np.bool_)
    marks[numbers.numpy()] = True
    return marks


@functools.cache
def _kernel(width: int, skips: bool) -> Callable[..., None]:  # noqa: C901 - one loop nest, inlined by the compiler
    """The compiled product for rows of one width; kept on disk for the next process where that can be.

    Args:
        width: d.
        skips: whether rows of the table are skipped that are not marked as read.
    """
    import numba

    def multiply(
        cuts: Any,
        rows: Any,
        columns: Any,
        values: Any,
        is_read: Any,
        is_wanted: Any,
        table: Any,
        scale: Any,
        added: Any,
        share: Any,
        out: Any,
    ) -> None:
        for chunk in numba.prange(len(cuts) - 1):
            for row in range(cuts[chunk], cuts[chunk + 1]):
                if not is_wanted[row]:
                    continue
                total = np.zeros(width, np.float32)
                for place in range(rows[row], rows[row + 1]):
                    column = columns[place]
                    if skips and not is_read[column]:
                        continue
                    value = values[place]
                    for k in range(width):
                        total[k] += value * table[column, k]
                if share == 0.0:
                    for k in range(width):
                        out[row, k] = scale * total[k]
                else:
                    for k in range(width):
                        out[row, k] = scale * total[k] + share * added[row, k]

    return compiled(multiply, parallel=True, fastmath=True)


def _even_shares(rows: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """First rows of shares of about equal work, that is values and rows together: (at most _CHUNKS + 1,) int64."""
    work = rows.astype(np.int64) + np.arange(len(rows))
    cuts = np.searchsorted(work, np.linspace(0, work[-1], _CHUNKS + 1))
    return np.unique(cuts.clip(0, len(rows) - 1)).astype(np.int64)
