"""Columns of vectors as matrices, and matrices as columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.errors import StageError
from hnlm_ray.run.store import Artifact

__all__ = ["read_item_vectors", "vector_column", "vector_matrix"]


def vector_matrix(column: pa.ChunkedArray) -> npt.NDArray[np.floating]:
    """A column of vectors as a matrix (rows, d) of the same dtype.

    Args:
        column: lists of float16 or float32, without nulls.

    Raises:
        ValueError: the vectors have different lengths, or there is none.
    """
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) != 1:
        raise ValueError(f"vectors of the lengths {sorted(lengths)}, expected one length")
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    matrix: npt.NDArray[np.floating] = values.reshape(len(column), lengths[0])
    return matrix


def vector_column(matrix: npt.NDArray[np.generic]) -> pa.ListArray:
    """The rows of a matrix (n, d) as a column of lists of the same dtype."""
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(matrix.ravel()))


def read_item_vectors(vectors: Artifact, n_items: int, name: str = "item_vectors") -> npt.NDArray[np.float16]:
    """A table of a vector per item as a matrix (n_items, d) float16.

    Args:
        vectors: artifact of the stage that wrote it, such as ``vectors``.
        n_items: size of the catalogue.
        name: of the table.

    Raises:
        StageError: an item is missing or occurs twice, or the vectors have different lengths.
    """
    table = vectors.read(name).sort_by("item")
    action = f"run the stage {vectors.stage} again"
    if not np.array_equal(table["item"].to_numpy(), np.arange(n_items)):
        raise StageError(f"{vectors.path_of(name)} does not hold one vector per item", action)
    try:
        matrix: npt.NDArray[np.float16] = vector_matrix(table["vector"])
    except ValueError as error:
        raise StageError(f"{vectors.path_of(name)}: {error}", action) from error
    return matrix
