"""What the encoder is tuned on, as arrays: supervised pairs, the teacher's vectors, and the tokens of the texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray import seeds
from hnlm_ray.errors import DataError
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.tables import pair_id
from hnlm_ray.tuning.supervision import OK
from hnlm_ray.tuning.tokens import TokenRows

__all__ = ["Material", "Supervised", "Teacher"]

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Teacher:
    """The vectors of the CF teacher.

    Attributes:
        users: (U, d) float32.
        items: (I, d) float32.
    """

    users: Floats
    items: Floats

    @property
    def item_units(self) -> Floats:
        """(I, d), each of unit length."""
        return unit_rows(self.items)


@dataclass(frozen=True)
class Supervised:
    """Pairs with a supervising negative.

    Attributes:
        users: (P,) int64.
        items: (P,) int64, what the user has met.
        negatives: (P,) int64, the supervising item; -1 where the target is a mean of items.
        keys: (P,) int64, equal for pairs with one target.
        targets: (P, d) float32 of unit length.
    """

    users: Numbers
    items: Numbers
    negatives: Numbers
    keys: Numbers
    targets: Floats

    @classmethod
    def from_table(cls, supervision: pa.Table, n_items: int) -> Supervised:
        """The rows of the table ``supervision`` whose status is ``ok``, in its order.

        Raises:
            DataError: there is none, or a target has no length.
        """
        rows = supervision.filter(pc.equal(supervision["status"], OK))
        if not rows.num_rows:
            raise DataError("no pair has a supervising negative", "widen tune.supervision or lower its guard")
        vectors = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        targets = vectors.reshape(rows.num_rows, -1).astype(np.float32)
        if not (np.linalg.norm(targets, axis=1) > 0).all():
            raise DataError("a supervising vector has no length", "train the teacher again")
        users, items = (rows[name].to_numpy().astype(np.int64) for name in ("user", "item"))
        negatives = pc.fill_null(rows["negative"], -1).to_numpy().astype(np.int64)
        # A mean is one and the same for all pairs of a user.
        keys = np.where(negatives >= 0, negatives, n_items + users)
        return cls(users, items, negatives, keys, unit_rows(targets))

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: npt.NDArray[np.integer]) -> Supervised:
        """Some of the pairs, in that order."""
        parts = (self.users, self.items, self.negatives, self.keys, self.targets)
        return Supervised(*(part[rows] for part in parts))

    def budget(self, pairs: int | None, n_items: int, seed: int) -> Supervised:
        """At most so many, drawn evenly; the order stays."""
        if pairs is None or pairs >= len(self):
            return self
        rank = seeds.hash_counters(seeds.derive(seed, "tune", "pairs"), pair_id(self.users, self.items, n_items))
        return self.take(np.sort(np.argsort(rank, kind="stable")[:pairs]))

    def split(self, valid: float, seed: int) -> tuple[Supervised, Supervised]:
        """Pairs to tune on, and those of a share of the users.

        Raises:
            DataError: one of the two is empty.
        """
        words = seeds.hash_counters(seeds.derive(seed, "tune", "valid"), self.users)
        held = words < np.uint64(min(valid * 2.0**64, 2.0**64 - 2048))
        if held.all() or not held.any():
            raise DataError(f"tune.valid={valid:g} leaves no pair on one side", "give more pairs or another share")
        return self.take(np.flatnonzero(~held)), self.take(np.flatnonzero(held))


@dataclass(frozen=True)
class Material:
    """All of it.

    Attributes:
        pairs: to tune on.
        valid: of other users.
        teacher: the vectors.
        user_tokens: tokens of every user's text.
        item_tokens: tokens of every item's text.
    """

    pairs: Supervised
    valid: Supervised
    teacher: Teacher
    user_tokens: TokenRows
    item_tokens: TokenRows

    @property
    def width(self) -> int:
        """Longest sequence that a pair can have."""
        return int(self.user_tokens.lengths.max(initial=0) + self.item_tokens.lengths.max(initial=0)) + 2
