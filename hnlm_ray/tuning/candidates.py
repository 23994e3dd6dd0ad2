"""Candidates of a user's hard negatives, and which of them are nearest to a vector.

The candidates are the items in a window of ranks of a CF teacher's list, among the items that the user has not seen. A
guard removes those that teacher and texts both take for false negatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.config.tuning import SupervisionConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import DataError
from hnlm_ray.kernels.incidence import incidence
from hnlm_ray.kernels.ranking import ranked_block
from hnlm_ray.kernels.vectors import unit_rows

__all__ = [
    "BLOCK",
    "Knowledge",
    "Window",
    "likely_positives",
    "nearest_candidates",
    "nearest_unseen",
    "products",
    "teacher_window",
    "text_sums",
]

Floats = npt.NDArray[Any]

BLOCK = 1024
"""Users or pairs whose candidates are scored at once, which bounds the memory."""


@dataclass(frozen=True)
class Knowledge:
    """What candidates and supervising negatives are chosen from.

    Attributes:
        train: train interactions; a user's own items are never chosen.
        users: (U, d) float32, the teacher's user vectors.
        items: (I, d) float32, the teacher's item vectors.
        texts: (I, D), unit text vectors of the items.
    """

    train: Interactions
    users: Floats
    items: Floats
    texts: Floats

    def __post_init__(self) -> None:
        expected = {"users": self.train.n_users, "items": self.train.n_items, "texts": self.train.n_items}
        for name, rows in expected.items():
            if len(getattr(self, name)) != rows:
                raise DataError(
                    f"the teacher's {name} have {len(getattr(self, name))} rows, expected {rows}",
                    "take teacher, vectors and interactions from one run",
                )


@dataclass(frozen=True)
class Window:
    """The candidates of every user.

    Attributes:
        items: (U, L) int32, the teacher's ranks ``first`` to ``last`` among unseen items, best first; -1 past the end.
        likely: (U, L) bool, candidates that the guard takes for false negatives.
    """

    items: npt.NDArray[np.int32]
    likely: npt.NDArray[np.bool_]

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """(U, L): candidates that exist and pass the guard."""
        return (self.items >= 0) & ~self.likely


def teacher_window(knowledge: Knowledge, options: SupervisionConfig) -> Window:
    """The candidates of every user by the teacher's ranks, and which of them the guard removes.

    Args:
        knowledge: of the run.
        options: the window and the guard.
    """
    ranked = ranked_block(knowledge.users, knowledge.items, knowledge.train, options.last).items
    items = ranked[:, options.first - 1 :]
    if options.guard is None:
        return Window(items, np.zeros(items.shape, np.bool_))
    return Window(items, likely_positives(knowledge, items, options.guard))


def likely_positives(knowledge: Knowledge, candidates: npt.NDArray[np.int32], quantile: float) -> npt.NDArray[np.bool_]:
    """Candidates that look like the user's history, to the teacher and in text: (U, L) bool.

    A user's own train items set both thresholds: the ``quantile`` of the teacher's scores of them, and that of the
    cosine of each of them with the mean text of the others. For a user with one item there is no second threshold, and
    nothing is removed.

    Args:
        knowledge: of the run.
        candidates: (U, L) items, -1 for none.
        quantile: in [0, 1]; the lower, the more is removed.
    """
    train = knowledge.train
    texts = knowledge.texts.astype(np.float32)
    sums = text_sums(train, texts)
    others = sums[train.users] - texts[train.items]
    own_closeness = np.einsum("pd,pd->p", unit_rows(others), texts[train.items])
    own_scores = np.einsum("pd,pd->p", knowledge.users[train.users], knowledge.items[train.items])
    has_others = (train.degree > 1)[:, None]
    score_bar = _quantile_per_user(own_scores, train, quantile)[:, None]
    text_bar = _quantile_per_user(own_closeness, train, quantile)[:, None]
    likely = np.zeros(candidates.shape, np.bool_)
    means = unit_rows(sums)
    for start in range(0, train.n_users, BLOCK):
        rows = slice(start, start + BLOCK)
        chosen = np.maximum(candidates[rows], 0)
        scores = products(knowledge.users[rows], knowledge.items, chosen)
        closeness = products(means[rows], texts, chosen)
        likely[rows] = (scores >= score_bar[rows]) & (closeness >= text_bar[rows]) & has_others[rows]
    return likely & (candidates >= 0)


def nearest_candidates(
    vectors: npt.NDArray[np.floating[Any]],
    candidates: npt.NDArray[np.int32],
    items: npt.NDArray[np.floating[Any]],
    k: int,
) -> npt.NDArray[np.int32]:
    """The ``k`` candidates nearest to each vector by cosine: (P, k) int32, -1 past the end.

    Args:
        vectors: (P, d).
        candidates: (P, L) items, -1 for none; equally near ones keep their order.
        items: (I, d) vectors of the items.
        k: how many.
    """
    units = unit_rows(items)
    nearest = np.full((len(vectors), k), -1, np.int32)
    for start in range(0, len(vectors), BLOCK):
        rows = slice(start, start + BLOCK)
        own = candidates[rows]
        closeness = np.where(own >= 0, products(vectors[rows].astype(np.float32), units, np.maximum(own, 0)), -np.inf)
        order = np.argsort(-closeness, axis=1, kind="stable")[:, :k]
        chosen = np.take_along_axis(own, order, axis=1)
        nearest[rows, : chosen.shape[1]] = chosen
    return nearest


def nearest_unseen(
    vectors: npt.NDArray[np.floating[Any]],
    users: npt.NDArray[np.integer],
    items: npt.NDArray[np.floating[Any]],
    train: Interactions,
    k: int,
) -> npt.NDArray[np.int32]:
    """The ``k`` items nearest to each vector by cosine that its user has not seen: (P, k) int32, -1 past the end.

    Args:
        vectors: (P, d).
        users: (P,) the user of each vector, in any order; users may repeat.
        items: (I, d) vectors of the items.
        train: what users have seen.
        k: how many.
    """
    units = unit_rows(items)
    nearest = np.full((len(vectors), k), -1, np.int32)
    for start in range(0, len(vectors), BLOCK):
        rows = slice(start, start + BLOCK)
        # One row per vector: a user who comes twice is ranked twice.
        histories = [train.row(int(user)) for user in users[rows]]
        owners = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
        seen = Interactions.from_pairs(owners, np.concatenate(histories), len(histories), train.n_items)
        nearest[rows] = ranked_block(vectors[rows].astype(np.float32), units, seen, k).items
    return nearest


def products(rows: Floats, table: Floats, chosen: npt.NDArray[np.integer]) -> Floats:
    """Inner products (B, L) of each row (B, d) with the rows of ``table`` (n, d) that ``chosen`` (B, L) names."""
    found: Floats = np.einsum("bd,bld->bl", rows, table[chosen])
    return found


def text_sums(train: Interactions, texts: Floats) -> Floats:
    """The sum of the text vectors of each user's train items: (U, D)."""
    sums: Floats = incidence(train) @ texts
    return sums


def _quantile_per_user(values: Floats, train: Interactions, quantile: float) -> Floats:
    """The ``quantile`` of each user's values, rounded down to one of them; infinite for a user without any: (U,)."""
    order = np.lexsort((values, train.users))  # users are ascending already: sorts the values of each
    place = train.offsets[:-1] + np.floor(quantile * np.maximum(train.degree - 1, 0)).astype(np.int64)
    bars = np.full(train.n_users, np.inf)
    some = train.degree > 0
    bars[some] = values[order][place[some]]
    return bars
