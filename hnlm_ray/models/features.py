"""Numeric and categorical features of items and users as vectors of embeddings, through one trained linear map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from scipy.sparse import coo_array, csr_array
from torch import nn
from torch.nn import functional

__all__ = ["MOST_NAMES", "FeatureMap", "feature_rows"]

MOST_NAMES = 1000
"""Names of a categorical feature that have a column of their own, the most frequent; the others share one."""

Rows = csr_array[np.float32, tuple[int, int]]


def feature_rows(table: pa.Table, n_rows: int) -> Rows:
    """Features as a sparse matrix (n_rows, columns) float32.

    A numeric feature is standardised over those that have it; where it is missing it is 0, the mean, and a second
    column says so. A categorical feature has a column per name; a row with m names has 1/m in each of these.

    Args:
        table: of :data:`hnlm_ray.tables.ITEM_FEATURES` or ``USER_FEATURES``.
        n_rows: items or users of the run.

    Returns:
        The columns of each feature one after another, in the order of the names of features.
    """
    key = table.column_names[0]
    entries: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]] = []
    width = 0
    for feature in sorted(pc.unique(table["feature"]).to_pylist()):
        part = table.filter(pc.equal(table["feature"], feature))
        numbers = part[key].to_numpy().astype(np.int64)
        is_numeric = part["names"].null_count == len(part)
        encode = _numeric if is_numeric else _categorical
        rows, columns, values, size = encode(part["value" if is_numeric else "names"], numbers, n_rows)
        entries.append((rows, columns + width, values))
        width += size
    rows, columns, values = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    matrix: Rows = coo_array((values.astype(np.float32), (rows, columns)), shape=(n_rows, width)).tocsr()
    return matrix


class FeatureMap(nn.Module):
    """Adds up the trained vectors of the features of each row.

    Attributes:
        weight: (columns, d) parameter, which starts at 0, so that training starts as without features.
    """

    def __init__(self, rows: Rows, dim: int, device: torch.device) -> None:
        """Lay the features out.

        Args:
            rows: (n, columns) of :func:`feature_rows`.
            dim: d.
            device: where the parameters are.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows.shape[1], dim))
        # No buffers: they derive from the data and are not part of a checkpoint.
        self._layout = tuple(
            torch.from_numpy(part).to(device)
            for part in (rows.indices.astype(np.int64), rows.indptr.astype(np.int64), rows.data)
        )

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The vectors (n, d) of all rows by some weights (columns, d), which are its own or stand for them."""
        columns, offsets, values = self._layout
        return functional.embedding_bag(
            columns, weight, offsets, mode="sum", per_sample_weights=values.to(weight.dtype), include_last_offset=True
        )


_Entries = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64], int]
"""Rows, columns from 0, values, and how many columns there are."""


def _numeric(column: pa.ChunkedArray, numbers: npt.NDArray[np.int64], n_rows: int) -> _Entries:
    values = column.to_numpy().astype(np.float64)
    spread = values.std()
    standard = (values - values.mean()) / (spread if spread > 0.0 else 1.0)
    missing = np.setdiff1d(np.arange(n_rows), numbers)
    columns = np.concatenate([np.zeros(len(numbers), np.int64), np.ones(len(missing), np.int64)])
    return np.concatenate([numbers, missing]), columns, np.concatenate([standard, np.ones(len(missing))]), 2


def _categorical(column: pa.ChunkedArray, numbers: npt.NDArray[np.int64], n_rows: int) -> _Entries:
    lists = column.combine_chunks()
    names = pc.list_flatten(lists)
    counts = pc.value_counts(names)
    order = np.lexsort((counts.field("values").to_pylist(), -counts.field("counts").to_numpy()))
    vocabulary = counts.field("values").take(pa.array(order[:MOST_NAMES]))
    columns = pc.fill_null(pc.index_in(names, value_set=vocabulary), len(vocabulary)).to_numpy().astype(np.int64)
    lengths = pc.list_value_length(lists).to_numpy()
    rows = np.repeat(numbers, lengths)
    return rows, columns, np.repeat(1.0 / lengths, lengths), len(vocabulary) + 1
