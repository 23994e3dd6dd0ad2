"""What an earlier run gives to one with more users and items: their vectors, and the pairs that it encoded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.vectors import vector_column
from hnlm_ray.kernels.incidence import incidence
from hnlm_ray.kernels.vectors import unit_rows

__all__ = ["carried_over", "fold_in", "numbers_before"]

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


def numbers_before(ids: pa.ChunkedArray, earlier: pa.ChunkedArray) -> Numbers:
    """The number of each id in an earlier run: (n,) int64, -1 for a new id.

    Args:
        ids: (n,) ids in the order of their numbers.
        earlier: those of the earlier run, likewise.
    """
    places = pc.index_in(ids, value_set=earlier.combine_chunks())
    before: Numbers = pc.fill_null(places, -1).to_numpy().astype(np.int64)
    return before


def fold_in(train: Interactions, users: tuple[Floats, Numbers], items: tuple[Floats, Numbers]) -> tuple[Floats, Floats]:
    """Vectors (U, d) and (I, d) of all users and items; those of the earlier run keep theirs.

    A new item gets the sum of the vectors of the earlier users in its interactions, then a new user the sum of the
    vectors of their items, each scaled to the median length of the earlier vectors: one hop over the graph, like that
    of a teacher that smooths over it. Without such interactions, the vector is zero.

    Args:
        train: train interactions of this run.
        users: vectors of the earlier run, and the earlier number of each user, -1 for a new one.
        items: the same for items.
    """
    matrix = incidence(train)
    user_vectors, item_vectors = _kept(*users), _kept(*items)
    is_new = items[1] < 0
    item_vectors[is_new] = _scaled((matrix.T @ user_vectors)[is_new], like=items[0])
    is_new = users[1] < 0
    user_vectors[is_new] = _scaled((matrix @ item_vectors)[is_new], like=users[0])
    return user_vectors, item_vectors


def carried_over(
    encoded: pa.Table, users: Numbers, items: Numbers, train: Interactions, pairs: Numbers, k: int
) -> pa.Table:
    """The rows of pairs that an earlier run has encoded, in the numbers of this run.

    Args:
        encoded: the table of the earlier run.
        users: the number in this run of each user of the earlier one, -1 for one who left.
        items: the same for items.
        train: train interactions of this run; an item that the user has seen since is left out of ``nearest``.
        pairs: (P,) int64, the pairs that this run encodes.
        k: length of ``nearest``; -1 stands past the end.

    Returns:
        ``pair``, ``vector`` and ``nearest``, a row per pair that both runs have; there may be none.
    """
    user, item = users[encoded["user"].to_numpy()], items[encoded["item"].to_numpy()]
    pair = np.where((user >= 0) & (item >= 0), user * train.n_items + item, -1)
    rows = np.flatnonzero(np.isin(pair, pairs))
    encoded, user, pair = encoded.take(rows), user[rows], pair[rows]
    lists = encoded["nearest"].combine_chunks()
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    near = np.full((len(rows), max(k, int(lengths.max(initial=0)))), -1, np.int64)
    near[np.arange(near.shape[1]) < lengths[:, None]] = lists.flatten().to_numpy()
    near = np.where(near >= 0, items[near], -1)[:, :k]
    seen = train.contains(user[:, None], np.maximum(near, 0))
    nearest = np.where(seen, -1, near).astype(np.int32)
    return pa.table({"pair": pair, "vector": encoded["vector"], "nearest": vector_column(nearest)})


def _kept(vectors: Floats, before: Numbers) -> Floats:
    kept: Floats = np.where(before[:, None] >= 0, vectors[np.maximum(before, 0)], np.float32(0.0))
    return kept


def _scaled(sums: Floats, like: Floats) -> Floats:
    scaled: Floats = unit_rows(sums) * np.median(np.linalg.norm(like, axis=1))
    return scaled
