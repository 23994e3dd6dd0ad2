"""Looks up vectors of the language model's hard negatives by (user, item) pair.

A pair whose answer did not match the catalogue has no vector and is never given another one: :meth:`PairVectors.lookup`
returns -1, and the training loop leaves such a pair to the sampler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray import seeds
from hnlm_ray.data.vectors import vector_matrix
from hnlm_ray.errors import DataError
from hnlm_ray.tables import pair_id

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions

__all__ = ["PairVectors"]


@dataclass(frozen=True)
class PairVectors:
    """A vector for some pairs; pairs may share one.

    Attributes:
        pairs: (P,) int64, sorted and distinct; ``user * n_items + item``.
        rows: (P,) int32, the row of ``vectors`` of each pair.
        vectors: (V, D) float16 or float32.
        n_items: size of the catalogue, which the pair numbers depend on.
        items: (V, M) int32, the items that each vector represents, the nearest first, -1 past the end; None if
            vectors represent no items. None of them is in the history of a user of the vector.

    Raises:
        DataError: the arrays contradict each other, or hold values that are not finite.
    """

    pairs: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.floating]
    n_items: int
    items: npt.NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.pairs) != len(self.rows):
            raise DataError(
                f"pair vectors have {len(self.pairs)} pairs, {len(self.rows)} rows, vectors {self.vectors.shape}",
                "give one row per pair and a matrix of vectors",
            )
        if len(self.pairs) and not (np.diff(self.pairs) > 0).all():
            raise DataError("pair vectors are not sorted or have a pair twice", "write each pair once")
        if len(self.rows) and (self.rows.min() < 0 or self.rows.max() >= len(self.vectors)):
            raise DataError(
                f"pair vectors point at row {self.rows.max()} of {len(self.vectors)}", "write them from one table"
            )
        if not np.isfinite(self.vectors).all():
            raise DataError("pair vectors hold values that are not finite", "compute the vectors again")

    @classmethod
    def from_tables(cls, grounded: pa.Table, item_vectors: pa.Table, n_items: int) -> PairVectors:
        """Give each matched pair the text vector of the catalogue item it was matched to.

        Args:
            grounded: table ``grounded``; only rows with status ``matched`` count.
            item_vectors: table ``item_vectors``.
            n_items: size of the catalogue.

        Raises:
            DataError: a matched item has no vector, vectors differ in length, or a pair occurs twice.
        """
        matched = grounded.filter(pc.equal(grounded.column("status"), "matched"))
        users = matched.column("user").to_numpy().astype(np.int64)
        pairs = pair_id(users, matched.column("item").to_numpy().astype(np.int64), n_items)
        order = np.argsort(pairs, kind="stable")
        row_of_item = np.full(n_items, -1, dtype=np.int32)
        items = item_vectors.column("item").to_numpy()
        row_of_item[items] = np.arange(item_vectors.num_rows, dtype=np.int32)
        negatives = matched.column("negative").to_numpy()
        rows = row_of_item[negatives.astype(np.int64)]
        if (rows < 0).any():
            raise DataError(
                f"table item_vectors has no vector of item {negatives[rows < 0][0]}, which table grounded names",
                "run the stages vectors and ground on the same catalogue",
            )
        return cls(pairs[order], rows[order], _vectors(item_vectors, "item_vectors"), n_items, items[:, None])

    @classmethod
    def from_encoded(cls, encoded: pa.Table, n_items: int, *, nearest: bool) -> PairVectors:
        """Give each pair the vector that the tuned encoder emits for it.

        Args:
            encoded: table ``encoded``.
            n_items: size of the catalogue.
            nearest: whether to read the items nearest to each vector; pairs without any are then left out.

        Raises:
            DataError: vectors differ in length, or a pair occurs twice.
        """
        rows = encoded.sort_by("pair")
        places = np.arange(len(rows), dtype=np.int32)
        own = cls(rows["pair"].to_numpy(), places, _vectors(rows, "encoded"), n_items)
        if not nearest:
            return own
        items = rows["nearest"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
        return own._with(own.vectors, items)

    def shuffled(self, train: Interactions, seed: int) -> PairVectors:
        """A control: the same vectors assigned to other pairs; items that the new user has seen are left out.

        Args:
            train: the histories.
            seed: of the permutation.
        """
        rows = seeds.generator(seed, "control", "shuffled").permutation(self.rows)
        if self.items is None:
            return PairVectors(self.pairs, rows, self.vectors, self.n_items)
        items = self.items[rows]
        seen = train.contains((self.pairs // self.n_items)[:, None], np.maximum(items, 0))
        return self._with(self.vectors[rows], np.where(seen, np.int32(-1), items))

    def random(self, train: Interactions, seed: int) -> PairVectors:
        """A control: vectors of the same lengths in random directions, and random items that the user has not seen.

        Args:
            train: the histories.
            seed: of the draws.
        """
        generator = seeds.generator(seed, "control", "random")
        noise = generator.normal(size=(len(self.pairs), self.dim)).astype(np.float32)
        noise *= (np.linalg.norm(self.vectors[self.rows], axis=1) / np.linalg.norm(noise, axis=1))[:, None]
        if self.items is None:
            return PairVectors(self.pairs, np.arange(len(noise), dtype=np.int32), noise, self.n_items)
        items = generator.integers(self.n_items, size=(len(self.pairs), self.items.shape[1])).astype(np.int32)
        seen = train.contains((self.pairs // self.n_items)[:, None], items)
        return self._with(noise, np.where(seen, np.int32(-1), items))

    def _with(self, vectors: npt.NDArray[np.floating], items: npt.NDArray[np.int32]) -> PairVectors:
        """The same pairs with other vectors (P, D) and items (P, M); pairs whose items are all -1 are left out."""
        ordered = np.take_along_axis(items, np.argsort(items < 0, axis=1, kind="stable"), axis=1)
        kept = np.flatnonzero(ordered[:, 0] >= 0)
        places = np.arange(len(kept), dtype=np.int32)
        return PairVectors(self.pairs[kept], places, vectors[kept], self.n_items, ordered[kept])

    @property
    def dim(self) -> int:
        """D."""
        return int(self.vectors.shape[1])

    def lookup(self, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Rows of ``vectors``, int32 of the shape of ``pairs``; -1 for a pair without a vector."""
        if not len(self.pairs):
            return np.full(pairs.shape, -1, dtype=np.int32)
        places = np.minimum(np.searchsorted(self.pairs, pairs), len(self.pairs) - 1)
        return np.where(self.pairs[places] == pairs, self.rows[places], np.int32(-1))

    def slice_users(self, first: int, last: int) -> PairVectors:
        """The pairs of users ``first`` to ``last - 1`` with the vectors that they use; pair numbers do not change."""
        start, stop = np.searchsorted(self.pairs, np.array([first, last], dtype=np.int64) * self.n_items)
        used, rows = np.unique(self.rows[start:stop], return_inverse=True)
        items = None if self.items is None else self.items[used]
        return PairVectors(self.pairs[start:stop], rows.astype(np.int32), self.vectors[used], self.n_items, items)


def _vectors(table: pa.Table, name: str) -> npt.NDArray[np.floating]:
    try:
        return vector_matrix(table["vector"])
    except ValueError as error:
        raise DataError(f"table {name}: {error}", "run the stage that writes it again") from error
