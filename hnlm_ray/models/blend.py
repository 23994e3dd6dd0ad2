"""A blend of teachers: the items that several models together rank first for each user.

The scores of every teacher are brought to one scale for each user, over all items, and added; those of teachers that
have vectors by :class:`hnlm_ray.models.joined.JoinedVectors`. Only a block of users by all items ever exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.kernels.incidence import incidence
from hnlm_ray.kernels.ranking import ranked_scores, users_at_once
from hnlm_ray.models.joined import FLATTEST, JoinedVectors
from hnlm_ray.models.rankers import ItemItemRanker, Ranker, VectorRanker

__all__ = ["Blend", "Teacher", "guarding_weights"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Teacher:
    """One part of a blend.

    Attributes:
        ranker: by vectors or by weights between items.
        weight: factor of its scores on the common scale.
    """

    ranker: Ranker
    weight: float = 1.0


@dataclass(frozen=True)
class Blend:
    """Teachers, and how their scores are combined.

    Attributes:
        teachers: at least one.
        train: the train interactions, whose items are never ranked.
        combine: see :class:`hnlm_ray.config.guards.GuardConfig`.
        doubted: pairs that count as disliked, whose scores fall by ``doubt`` standard deviations; None for none.
        doubt: see ``doubted``.
    """

    teachers: Sequence[Teacher]
    train: Interactions
    combine: Literal["zscores", "ranks"] = "zscores"
    doubted: Interactions | None = None
    doubt: float = 1.0

    def first(self, start: int, stop: int, count: int) -> npt.NDArray[np.int32]:
        """The items (B, count) that users ``start`` to ``stop - 1`` would most probably like, -1 past the end.

        Never more than :func:`hnlm_ray.kernels.ranking.users_at_once` rows of scores exist for each teacher.
        """
        step = users_at_once(self.train.n_items)
        found = [
            ranked_scores(
                self.scores(low, high := min(low + step, stop)), self.train.slice_users(low, high), count
            ).items
            for low in range(start, stop, step)
        ]
        return np.concatenate([np.empty((0, count), np.int32), *found])

    def scores(self, start: int, stop: int) -> Floats:
        """Scores (B, n_items) float32 of a few users; differences between items of one user mean something."""
        if self.combine == "zscores":
            total = self._joined(start, stop)
            for teacher in self.teachers:
                if not isinstance(teacher.ranker, VectorRanker):
                    total += teacher.weight * _zscores(self._raw(teacher, start, stop))
        else:
            total = np.zeros((stop - start, self.train.n_items), dtype=np.float32)
            for teacher in self.teachers:
                total -= teacher.weight * np.log(_ranks(self._raw(teacher, start, stop)))
        if self.doubted is not None:
            total -= self.doubt * incidence(self.doubted.slice_users(start, stop)).toarray()
        return total

    def _joined(self, start: int, stop: int) -> Floats:
        """The z-scores of all teachers that have vectors, each without a constant per user."""
        if not self._vectors.parts:
            return np.zeros((stop - start, self.train.n_items), dtype=np.float32)
        product: Floats = self._vectors.users(start, stop) @ self._vectors.items.T
        return product

    @cached_property
    def _vectors(self) -> JoinedVectors:
        """The teachers that have vectors."""
        return JoinedVectors(
            [(one.ranker, one.weight) for one in self.teachers if isinstance(one.ranker, VectorRanker)]
        )

    def _raw(self, teacher: Teacher, start: int, stop: int) -> Floats:
        ranker = teacher.ranker
        if isinstance(ranker, VectorRanker):
            product: Floats = ranker.user_vectors[start:stop] @ ranker.item_vectors.T
            return product
        assert isinstance(ranker, ItemItemRanker)
        return ranker.model.scores(self.train.slice_users(start, stop))


def guarding_weights(ranks: npt.NDArray[np.integer], decay: float) -> Floats:
    """``1 - exp(-rank / decay)`` for ranks from 1: how far an item of that rank may serve as a negative."""
    weights: Floats = (-np.expm1(-ranks.astype(np.float64) / decay)).astype(np.float32)
    return weights


def _zscores(scores: Floats) -> Floats:
    spread = scores.std(axis=1, keepdims=True)
    found: Floats = (scores - scores.mean(axis=1, keepdims=True)) / np.maximum(spread, FLATTEST)
    return found


def _ranks(scores: Floats) -> Floats:
    """The rank of every item, from 1, of equal scores the smaller item first."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.empty_like(scores)
    np.put_along_axis(ranks, order, np.arange(1, scores.shape[1] + 1, dtype=np.float32)[None, :], axis=1)
    return ranks
