"""Smooths the embeddings of items over the graph of their nearest items.

The graph is that of LATTICE (Zhang et al., MM 2021) and FREEDOM (Zhou and Shen, MM 2023): each item takes from its k
nearest by cosine, the weights are the cosines, normalised symmetrically, ``S = D^-1/2 A D^-1/2`` with ``D`` the sums of
the rows of ``A``. It is frozen. There it stands beside the graph of interactions; placed before it, ``E + S E`` are the
embeddings that the backbone starts from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from hnlm_ray.config.graphs import ItemGraphOptions
from hnlm_ray.errors import DataError
from hnlm_ray.kernels.products import SparseBlock
from hnlm_ray.kernels.rows import laid_out
from hnlm_ray.kernels.runs import places_in_runs, runs_of

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["ItemGraph", "normalised_neighbours"]


def normalised_neighbours(neighbours: pa.Table, n_items: int, count: int) -> csr_array[np.float32, tuple[int, int]]:
    """The matrix ``S`` of the module, (n_items, n_items) float32; a row without neighbours is 0.

    Args:
        neighbours: the table ``neighbours``, sorted by item, the nearest first.
        n_items: size of the catalogue.
        count: neighbours that an item takes from.

    Raises:
        DataError: the table names an item that the catalogue lacks.
    """
    from scipy.sparse import csr_array

    items, others = neighbours["item"].to_numpy(), neighbours["neighbour"].to_numpy()
    if len(items) and max(items.max(), others.max()) >= n_items:
        found = max(items.max(), others.max())
        raise DataError(f"the table neighbours names item {found} of {n_items}", "run the stage neighbours again")
    kept = places_in_runs(runs_of(items)[1]) < count
    weights = neighbours["similarity"].to_numpy()[kept]
    matrix = csr_array((weights, (items[kept], others[kept])), shape=(n_items, n_items))
    scale = _inverse_roots(np.asarray(matrix.sum(axis=1), dtype=np.float64))
    entries = matrix.tocoo()
    rows, columns = entries.coords
    values = (entries.data * scale[rows] * scale[columns]).astype(np.float32)
    return csr_array((values, (rows, columns)), shape=matrix.shape)


def _inverse_roots(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    roots = np.sqrt(np.maximum(sums, 0.0))
    found: npt.NDArray[np.float64] = np.divide(1.0, roots, out=np.zeros_like(roots), where=roots > 0.0)
    return found


class ItemGraph:
    """``sum over l from 0 to L of S^l E`` for item tables E; differentiable, without parameters.

    Attributes:
        place: where a model applies it, see :class:`hnlm_ray.config.graphs.ItemGraphOptions`.
    """

    def __init__(
        self, matrix: csr_array[np.float32, tuple[int, int]], options: ItemGraphOptions, device: torch.device
    ) -> None:
        """Lay the matrix and its transpose out, which the backward pass multiplies with."""
        from scipy.sparse import csr_array

        self.place = options.place
        self._layers = options.layers
        self._blocks = SparseBlock(matrix, device), SparseBlock(csr_array(matrix.T), device)

    def smooth(self, items: torch.Tensor) -> torch.Tensor:
        """Tables (I, d) of items to smoothed ones of the same shape."""
        smoothed: torch.Tensor = _Smooth.apply(self, items)  # type: ignore[no-untyped-call]
        return smoothed

    def sum_of_powers(self, items: torch.Tensor, *, transposed: bool = False) -> torch.Tensor:
        """The sum without a gradient, by Horner's rule; with S transposed, the operator of the backward pass."""
        block, rows = self._blocks[int(transposed)], items
        for _ in range(self._layers):
            rows = block.multiply(rows, 1.0, items, 1.0)
        return rows


class _Smooth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: ItemGraph, items: torch.Tensor) -> torch.Tensor:
        ctx.graph = graph
        return graph.sum_of_powers(items)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, ctx.graph.sum_of_powers(laid_out(gradients[0]), transposed=True)
