"""The categories of items as a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["category_matrix"]


def category_matrix(categories: pa.ChunkedArray) -> csr_array[np.float32, tuple[int, int]]:
    """Rows of unit length, so that the product of two is the cosine of their sets of categories.

    Args:
        categories: lists of names, one per item; a name that an item has twice counts once.

    Returns:
        (items, distinct names) float32; the row of an item without categories is 0.
    """
    from scipy.sparse import csr_array

    lists = categories.combine_chunks()
    rows = lists.value_parent_indices().to_numpy()
    names = pc.dictionary_encode(lists.flatten())
    keys = np.unique(rows * max(len(names.dictionary), 1) + names.indices.to_numpy())
    items, columns = np.divmod(keys, max(len(names.dictionary), 1))
    counts = np.bincount(items, minlength=len(lists))
    values = (1.0 / np.sqrt(counts[items])).astype(np.float32)
    return csr_array((values, (items, columns)), shape=(len(lists), max(len(names.dictionary), 1)))
