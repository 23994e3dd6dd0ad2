"""The items among which a model chooses a hard negative: near in text to what the user has, and new to the user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray import seeds
from hnlm_ray.kernels.runs import places_in_runs, runs_of

__all__ = ["Nearest", "candidates_of"]


@dataclass(frozen=True)
class Nearest:
    """The neighbours of every item, best first: made once, and looked up for any number of pairs.

    Attributes:
        starts: (I + 1,) int64; the neighbours of item ``i`` are ``items[starts[i]:starts[i + 1]]``.
        items: (N,) int64.
    """

    starts: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]

    @classmethod
    def of(cls, neighbours: pa.Table, n_items: int) -> Nearest:
        """From a table of :data:`hnlm_ray.tables.NEIGHBOURS`."""
        order = pc.sort_indices(neighbours, [("item", "ascending"), ("similarity", "descending")])
        items, near = (neighbours[name].take(order).to_numpy().astype(np.int64) for name in ("item", "neighbour"))
        return cls(np.searchsorted(items, np.arange(n_items + 1)), near)


def candidates_of(
    pairs: npt.NDArray[np.int64], seen: npt.NDArray[np.int64], nearest: Nearest, count: int, seed: int
) -> pa.ListArray:
    """The nearest neighbours of each pair's item that its user has not seen, in random order.

    A weak model prefers whatever stands first, so the order says nothing; it is derived from the seed and the pair.

    Args:
        pairs: (P,) int64 numbers ``user * n_items + item``.
        seen: (T,) int64 such numbers of the train split, ascending.
        nearest: the neighbours of all items.
        count: the most candidates of a pair.
        seed: of the run.

    Returns:
        (P,) lists of int32 items; shorter ones where the user has seen most neighbours.
    """
    starts, near, n_items = nearest.starts, nearest.items, len(nearest.starts) - 1
    user, item = pairs // n_items, pairs % n_items
    lengths = starts[item + 1] - starts[item]
    owner = np.repeat(np.arange(len(pairs)), lengths)
    found = near[starts[item][owner] + places_in_runs(lengths)]
    is_new = ~np.isin(user[owner] * n_items + found, seen)
    owner, found = owner[is_new], found[is_new]
    kept = places_in_runs(runs_of(owner)[1]) < count
    owner, found = owner[kept], found[kept]
    rank = seeds.hash_counters(seeds.derive(seed, "candidates"), pairs[owner] * n_items + found)
    found = found[np.lexsort((rank, owner))].astype(np.int32)
    offsets = np.searchsorted(owner, np.arange(len(pairs) + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, found)
