"""Vectors for users and items that join an earlier run, in the space of its teacher."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.kernels.incidence import incidence
from hnlm_ray.kernels.vectors import unit_rows

__all__ = ["fold_in", "numbers_before"]

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


def numbers_before(ids: pa.ChunkedArray, earlier: pa.ChunkedArray) -> Numbers:
    """The earlier number of each id, -1 for one that is new: (n,) int64.

    Args:
        ids: (n,) strings, by number.
        earlier: strings, by earlier number.
    """
    places = pc.index_in(ids, value_set=earlier.combine_chunks())
    before: Numbers = pc.fill_null(places, -1).to_numpy().astype(np.int64)
    return before


def fold_in(train: Interactions, users: tuple[Floats, Numbers], items: tuple[Floats, Numbers]) -> tuple[Floats, Floats]:
    """Vectors (U, d) and (I, d) of everybody: those who were there keep theirs.

    A new item gets the sum of the vectors of the earlier users who met it, then a new user the sum of the vectors of
    the items that they met, each brought to the median length of the earlier ones: one hop over the graph, as a
    teacher that smooths over it would make. Who met nothing, or was met by nobody, gets zeros.

    Args:
        train: of everybody, in their present numbers.
        users: earlier vectors, and the earlier number of each present user, -1 for a new one.
        items: the same for items.
    """
    met = incidence(train)
    user_vectors, item_vectors = _kept(*users), _kept(*items)
    is_new = items[1] < 0
    item_vectors[is_new] = _scaled((met.T @ user_vectors)[is_new], like=items[0])
    is_new = users[1] < 0
    user_vectors[is_new] = _scaled((met @ item_vectors)[is_new], like=users[0])
    return user_vectors, item_vectors


def _kept(vectors: Floats, before: Numbers) -> Floats:
    kept: Floats = np.where(before[:, None] >= 0, vectors[np.maximum(before, 0)], np.float32(0.0))
    return kept


def _scaled(sums: Floats, like: Floats) -> Floats:
    scaled: Floats = unit_rows(sums) * np.median(np.linalg.norm(like, axis=1))
    return scaled
