"""Item-item models, the common form of ItemKNN and EASE: the items of a user's history vote for others.

The score of item ``j`` for a user with history ``H`` is the sum of ``weights[i, j]`` over the ``i`` in ``H``. Nothing
is stored per user, and scores are computed for one block of users at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.kernels.incidence import incidence
from hnlm_ray.kernels.neighbours import nearest_by_scores
from hnlm_ray.kernels.ranking import users_at_once

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from hnlm_ray.data.interactions import Interactions

__all__ = ["ItemItem", "neighbour_votes"]

_DENSE = "item_weights"
_SPARSE = ("indptr", "indices", "values")


@dataclass(frozen=True)
class ItemItem:
    """Weights between items.

    Attributes:
        weights: (n_items, n_items) float32, dense or sparse; rows are items of the history, columns the items scored.
    """

    weights: npt.NDArray[np.float32] | csr_array[np.float32, tuple[int, int]]

    def scores(self, history: Interactions) -> npt.NDArray[np.float32]:
        """Scores (B, n_items) float32 of all items for the B users of ``history``."""
        product = incidence(history) @ self.weights
        dense: npt.NDArray[np.float32] = product if isinstance(product, np.ndarray) else product.toarray()
        return dense

    def strongest(self, count: int) -> ItemItem:
        """The same model with at most ``count`` items that an item votes for: those with the largest weights above 0.

        Made in blocks of rows, so that nothing dense of the size of items times items exists beside the model.
        """
        from scipy.sparse import csr_array

        n_items = self.weights.shape[0]
        step = users_at_once(n_items)
        found = []
        for start in range(0, n_items, step):
            block = self.weights[start : start + step]
            found.append(nearest_by_scores(block if isinstance(block, np.ndarray) else block.toarray(), start, count))
        values, rows, columns = (
            np.concatenate([getattr(part, name) for part in found]) for name in ("similarities", "rows", "neighbours")
        )
        return ItemItem(csr_array((values, (rows, columns)), shape=(n_items, n_items)))

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The tensors of a model file: ``item_weights``, or ``indptr``, ``indices`` and ``values`` if sparse."""
        if isinstance(self.weights, np.ndarray):
            return {_DENSE: self.weights}
        parts = self.weights.indptr.astype(np.int64), self.weights.indices.astype(np.int32), self.weights.data
        return dict(zip(_SPARSE, parts, strict=True))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], n_items: int) -> ItemItem | None:
        """The model of :meth:`tensors`; None if they are of another kind of model.

        Raises:
            ValueError: they are not weights between ``n_items`` items, or hold values that are not finite.
        """
        from scipy.sparse import csr_array

        if _DENSE in tensors:
            values = tensors[_DENSE]
            if values.shape != (n_items, n_items):
                raise ValueError(f"{_DENSE} has shape {values.shape}, expected {(n_items, n_items)}")
            model = cls(values)
        elif all(name in tensors for name in _SPARSE):
            indptr, indices, values = (tensors[name] for name in _SPARSE)
            model = cls(csr_array((values, indices, indptr), shape=(n_items, n_items)))  # checks the lengths
            if len(indices) and not 0 <= indices.min() <= indices.max() < n_items:
                raise ValueError(f"indices span {indices.min()} to {indices.max()}, expected 0 to {n_items - 1}")
        else:
            return None
        if not np.isfinite(values).all():
            raise ValueError("the weights hold values that are not finite")
        return model


def neighbour_votes(neighbours: pa.Table, n_items: int, power: float) -> ItemItem:
    """Every item of a history votes for its nearest items, with the similarity raised to a power.

    Args:
        neighbours: the table ``neighbours``.
        n_items: size of the catalogue.
        power: above 0; a high one lets the nearest items decide.
    """
    from scipy.sparse import csr_array

    votes = neighbours["similarity"].to_numpy() ** np.float32(power)
    places = neighbours["item"].to_numpy(), neighbours["neighbour"].to_numpy()
    return ItemItem(csr_array((votes, places), shape=(n_items, n_items)))
