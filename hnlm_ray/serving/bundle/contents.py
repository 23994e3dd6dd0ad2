"""The contents of a bundle that every recommender needs: vectors, ids, histories, popularity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.errors import BundleError
from hnlm_ray.kernels.incidence import PairRows
from hnlm_ray.kernels.runs import places_in_runs
from hnlm_ray.tables import ITEMS, USERS, conform

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Contents"]

_ACTION = "build the bundle from the outputs of one run"


@dataclass(frozen=True)
class Contents:
    """The required parts of a bundle, checked against each other on construction.

    Attributes:
        user_vectors: (U, d) float32, finite.
        item_vectors: (I, d) float32, finite.
        seen_offsets: (U + 1,) int64; the items of user ``u`` are at ``seen_offsets[u]:seen_offsets[u + 1]``.
        seen_items: (nnz,) int32: train and valid interactions, each user's ascending and distinct.
        popularity: (I,) int64, interactions of each item; recommendations for unknown users are ordered by it.
        users: U rows of :data:`hnlm_ray.tables.USERS`, in the order of ``user``.
        items: I rows of :data:`hnlm_ray.tables.ITEMS`, in the order of ``item``.
        lists: (I, I) float32, sparse, what each item of a history votes for; None where vectors alone score.

    Raises:
        BundleError: two parts do not fit each other, or a value cannot be served.
        DataError: a table lacks a column.
    """

    user_vectors: npt.NDArray[np.float32]
    item_vectors: npt.NDArray[np.float32]
    seen_offsets: npt.NDArray[np.int64]
    seen_items: npt.NDArray[np.int32]
    popularity: npt.NDArray[np.int64]
    users: pa.Table
    items: pa.Table
    lists: csr_array[np.float32, tuple[int, int]] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "users", conform(self.users, USERS, "users of the bundle"))
        object.__setattr__(self, "items", conform(self.items, ITEMS, "items of the bundle"))
        self._check_arrays()
        self._check_numbering()
        self._check_seen()
        self._check_lists()

    @property
    def n_users(self) -> int:
        """Number of users, U."""
        return int(self.users.num_rows)

    @property
    def n_items(self) -> int:
        """Number of items, I."""
        return int(self.items.num_rows)

    def histories(self, rows: npt.NDArray[np.int64]) -> PairRows:
        """The items of users by number (B,)."""
        starts, lengths = self.seen_offsets[rows], self.seen_offsets[rows + 1] - self.seen_offsets[rows]
        places = np.repeat(starts, lengths) + places_in_runs(lengths)
        return PairRows(np.r_[0, np.cumsum(lengths)], self.seen_items[places], self.n_items)

    def history_of(self, items: npt.NDArray[np.integer]) -> PairRows:
        """One history of given items."""
        return PairRows(np.array([0, len(items)]), items.astype(np.int32), self.n_items)

    def _check_arrays(self) -> None:
        if self.n_items == 0:
            raise BundleError("the bundle has no items", _ACTION)
        dim = self.item_vectors.shape[-1]
        expected = {
            "user_vectors": (np.float32, (self.n_users, dim)),
            "item_vectors": (np.float32, (self.n_items, dim)),
            "seen_offsets": (np.int64, (self.n_users + 1,)),
            "seen_items": (np.int32, (self.seen_items.size,)),
            "popularity": (np.int64, (self.n_items,)),
        }
        for name, (dtype, shape) in expected.items():
            found = getattr(self, name)
            if found.dtype != dtype:
                raise BundleError(f"{name} is {found.dtype}, expected {np.dtype(dtype)}", _ACTION)
            if found.shape != shape:
                raise BundleError(f"{name} has shape {found.shape}, expected {shape}", _ACTION)
            if dtype is np.float32 and not np.isfinite(found).all():
                raise BundleError(f"{name} holds values that are not finite", "train again with a lower learning rate")

    def _check_numbering(self) -> None:
        for name, table, length in (("user", self.users, self.n_users), ("item", self.items, self.n_items)):
            if not np.array_equal(table.column(name).to_numpy(), np.arange(length)):
                raise BundleError(f"{name}s are not numbered 0 to {length - 1} in order", _ACTION)

    def _check_lists(self) -> None:
        if self.lists is None:
            return
        if self.lists.shape != (self.n_items, self.n_items) or not np.isfinite(self.lists.data).all():
            raise BundleError(f"lists are not finite weights between {self.n_items} items", _ACTION)
        if self.lists.nnz and not 0 <= self.lists.indices.min() <= self.lists.indices.max() < self.n_items:
            raise BundleError(f"lists name an item outside 0 to {self.n_items - 1}", _ACTION)

    def _check_seen(self) -> None:
        lengths = np.diff(self.seen_offsets)
        if self.seen_offsets[0] != 0 or self.seen_offsets[-1] != len(self.seen_items) or (lengths < 0).any():
            raise BundleError(f"seen_offsets do not divide the {len(self.seen_items)} seen items", _ACTION)
        if not len(self.seen_items):
            return
        if self.seen_items.min() < 0 or self.seen_items.max() >= self.n_items:
            raise BundleError(f"seen_items holds an item outside 0 to {self.n_items - 1}", _ACTION)
        rising = np.diff(self.seen_items) > 0
        starts = self.seen_offsets[1:-1]
        rising[starts[(starts > 0) & (starts < len(self.seen_items))] - 1] = True  # where the next user begins
        if not rising.all():
            raise BundleError("seen_items of a user are not ascending and distinct", _ACTION)
