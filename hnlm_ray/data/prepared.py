"""The interactions that the stage ``prepare`` wrote, by split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.tables import SPLITS

if TYPE_CHECKING:
    from hnlm_ray.run.store import Artifact

__all__ = ["Splits", "read_splits"]


@dataclass(frozen=True)
class Splits:
    """The three splits, of the same users and items.

    Attributes:
        train: what models are fitted on.
        valid: what options and epochs are chosen on.
        test: what is reported.
    """

    train: Interactions
    valid: Interactions
    test: Interactions

    @classmethod
    def of(cls, interactions: pa.Table, n_users: int, n_items: int) -> Splits:
        """From the columns ``user``, ``item`` and ``split`` of :data:`hnlm_ray.tables.INTERACTIONS`."""
        return cls(*(Interactions.from_table(interactions, n_users, n_items, (name,)) for name in SPLITS))

    @cached_property
    def seen(self) -> Interactions:
        """Train and valid together: the history of every user when the test split is ranked, and when serving."""
        users, items = (
            np.concatenate([getattr(self.train, name), getattr(self.valid, name)]) for name in ("users", "items")
        )
        return Interactions.from_pairs(users, items, self.train.n_users, self.train.n_items)


def read_splits(prepare: Artifact) -> Splits:
    """The interactions without their reviews and times.

    Args:
        prepare: the artifact of the stage.

    Raises:
        StoreError: a table is missing or damaged.
    """
    n_users, n_items = prepare.read("users", ["user"]).num_rows, prepare.read("items", ["item"]).num_rows
    table = prepare.read("interactions", ["user", "item", "split"])
    return Splits.of(table, n_users, n_items)
