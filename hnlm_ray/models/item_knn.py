"""ItemKNN: an item is scored by its nearest neighbours among the items that the user met."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.incidence import incidence
from hnlm_ray.models.item_item import ItemItem

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from hnlm_ray.config.backbones import ItemKNNOptions
    from hnlm_ray.data.interactions import Interactions

__all__ = ["fit_item_knn", "item_knn"]

_ITEM_BLOCK = 1024
"""Items whose neighbours are sought at once; bounds memory to the block's common users."""


def item_knn(options: ItemKNNOptions, train: Interactions) -> dict[str, npt.NDArray[Any]]:
    """See :func:`hnlm_ray.models.closed_form.closed_form`."""
    return fit_item_knn(train, options.neighbours, options.shrink).tensors()


def fit_item_knn(train: Interactions, neighbours: int = 100, shrink: float = 10.0) -> ItemItem:
    """Cosine of who met the items, each item's best neighbours kept (Sarwar et al., WWW 2001).

    With ``n_i`` the users who met item i and ``n_ij`` those who met both,
    ``weights[i, j] = n_ij / (sqrt(n_i * n_j) + shrink)`` where i is among the ``neighbours`` items nearest to j, else 0
    (the shrink term as in Ferrari Dacrema et al., RecSys 2019, section 3.2). An item is no neighbour of itself. Of
    equally near items the smaller number is kept.

    Args:
        train: all train interactions.
        neighbours: kept per scored item.
        shrink: what few common users are weighed down with.

    Returns:
        Sparse weights, at most ``neighbours`` in a column.
    """
    from scipy.sparse import vstack

    met = incidence(train)
    by_item = met.T.tocsr()
    norms = np.sqrt(train.item_popularity)
    blocks = []
    for start in range(0, train.n_items, _ITEM_BLOCK):
        common = (by_item[start : start + _ITEM_BLOCK] @ met).tocoo()
        rows, columns = common.coords
        items = rows + start
        similarity = common.data / (norms[items] * norms[columns] + shrink)
        keep = items != columns
        blocks.append(_nearest(rows[keep], columns[keep], similarity[keep], common.shape, neighbours))
    return ItemItem(vstack(blocks, format="csr").T.tocsr())


def _nearest(
    rows: npt.NDArray[np.integer],
    columns: npt.NDArray[np.integer],
    values: npt.NDArray[np.floating],
    shape: tuple[int, int],
    count: int,
) -> csr_array[np.float32, tuple[int, int]]:
    """The ``count`` greatest values of each row."""
    from scipy.sparse import csr_array

    order = np.lexsort((columns, -values, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    sizes = np.bincount(rows, minlength=shape[0])
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = rank < count
    return csr_array((values[kept].astype(np.float32), (rows[kept], columns[kept])), shape=shape)
