"""Reads the text vectors of the items."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnlm_ray.errors import StageError
from hnlm_ray.run.store import Artifact

__all__ = ["read_text_vectors"]


def read_text_vectors(vectors: Artifact, n_items: int) -> npt.NDArray[np.float16]:
    """The table ``item_vectors`` as a matrix (n_items, d) float16.

    Raises:
        StageError: an item is missing or stands twice, or the vectors have different lengths.
    """
    table = vectors.read("item_vectors").sort_by("item")
    values = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    lengths = np.unique(table["vector"].combine_chunks().value_lengths())
    if not np.array_equal(table["item"].to_numpy(), np.arange(n_items)) or len(lengths) > 1:
        where = vectors.path_of("item_vectors")
        raise StageError(f"{where} does not hold one vector of one length per item", "run the stage vectors again")
    matrix: npt.NDArray[np.float16] = values.reshape(n_items, -1)
    return matrix
