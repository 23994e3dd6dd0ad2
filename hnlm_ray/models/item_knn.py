"""ItemKNN: an item is scored by its nearest neighbours in the user's history."""

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
from hnlm_ray.kernels.runs import places_in_runs

__all__ = ["fit_item_knn", "item_knn"]

_ITEM_BLOCK = 1024
"""Items whose neighbours are computed at a time, which bounds memory."""


def item_knn(options: ItemKNNOptions, train: Interactions) -> dict[str, npt.NDArray[Any]]:
    """See :func:`hnlm_ray.models.closed_form.closed_form`."""
    return fit_item_knn(train, options.neighbours, options.shrink).tensors()


def fit_item_knn(train: Interactions, neighbours: int = 100, shrink: float = 10.0) -> ItemItem:
    """Cosine between the sets of users of two items, cut to the nearest neighbours (Sarwar et al., WWW 2001).

    With ``n_i`` the number of users of item i and ``n_ij`` that of users of both,
    ``weights[i, j] = n_ij / (sqrt(n_i * n_j) + shrink)`` where i is among the ``neighbours`` items nearest to j, else 0
    (the shrink term as in Ferrari Dacrema et al., RecSys 2019, section 3.2). An item is not its own neighbour. Of
    equally near items the smaller number is kept.

    Args:
        train: all train interactions.
        neighbours: kept per scored item.
        shrink: lowers the similarity of items with few users in common.

    Returns:
        Sparse weights, at most ``neighbours`` in a column.
    """
    from scipy.sparse import vstack

    users = incidence(train)
    by_item = users.T.tocsr()
    norms = np.sqrt(train.item_popularity)
    blocks = []
    for start in range(0, train.n_items, _ITEM_BLOCK):
        common = (by_item[start : start + _ITEM_BLOCK] @ users).tocoo()
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
    """The ``count`` largest values of each row."""
    from scipy.sparse import csr_array

    order = np.lexsort((columns, -values, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    sizes = np.bincount(rows, minlength=shape[0])
    rank = places_in_runs(sizes)
    kept = rank < count
    return csr_array((values[kept].astype(np.float32), (rows[kept], columns[kept])), shape=shape)
