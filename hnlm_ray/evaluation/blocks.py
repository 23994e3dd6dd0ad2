"""Evaluation block by block of users: what one worker computes, and how the blocks come together again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from hnlm_ray.evaluation.metrics import METRICS, coverage
from hnlm_ray.evaluation.ranking import rank_block, rank_scores
from hnlm_ray.models.popularity import popularity_vectors
from hnlm_ray.seeds import derive, hash_counters

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions
    from hnlm_ray.models.item_item import ItemItem

__all__ = [
    "BlockResult",
    "Evaluation",
    "HeldOut",
    "ItemItemRanker",
    "RandomRanker",
    "Ranker",
    "VectorRanker",
    "evaluate",
    "evaluate_block",
    "merge",
    "popularity_ranker",
]


@dataclass(frozen=True)
class HeldOut:
    """One split to evaluate on.

    Attributes:
        name: ``valid`` or ``test``.
        seen: items masked for each user: train for ``valid``, train and valid for ``test``.
        relevant: the held-out items of each user.
    """

    name: str
    seen: Interactions
    relevant: Interactions


class Ranker(Protocol):
    """Anything that ranks items for a range of users."""

    def top(self, start: int, stop: int, seen: Interactions, k: int) -> npt.NDArray[np.int32]:
        """(stop - start, k) int32 as :func:`hnlm_ray.evaluation.ranking.rank_block`; ``seen`` has the block's rows."""


@dataclass(frozen=True)
class VectorRanker:
    """Ranks by inner product.

    Attributes:
        user_vectors: (n_users, d) float32.
        item_vectors: (n_items, d) float32.
    """

    user_vectors: npt.NDArray[np.float32]
    item_vectors: npt.NDArray[np.float32]

    def top(self, start: int, stop: int, seen: Interactions, k: int) -> npt.NDArray[np.int32]:
        """See :class:`Ranker`."""
        return rank_block(self.user_vectors[start:stop], self.item_vectors, seen, k)


@dataclass(frozen=True)
class ItemItemRanker:
    """Ranks by the votes of the train items.

    Attributes:
        model: weights between items.
        train: all train interactions; what else a user has seen is masked, and does not vote.
    """

    model: ItemItem
    train: Interactions

    def top(self, start: int, stop: int, seen: Interactions, k: int) -> npt.NDArray[np.int32]:
        """See :class:`Ranker`."""
        return rank_scores(self.model.scores(self.train.slice_users(start, stop)), seen, k)


@dataclass(frozen=True)
class RandomRanker:
    """Ranks by chance; the order of a user does not depend on the block it is in.

    Attributes:
        seed: of the whole run.
    """

    seed: int

    def top(self, start: int, stop: int, seen: Interactions, k: int) -> npt.NDArray[np.int32]:
        """See :class:`Ranker`."""
        pairs = np.arange(start, stop)[:, None] * seen.n_items + np.arange(seen.n_items)
        words = hash_counters(derive(self.seed, "evaluation", "random"), pairs)
        return rank_scores((words >> np.uint64(11)).astype(np.float64), seen, k)


def popularity_ranker(train: Interactions) -> VectorRanker:
    """Ranks every user's unseen items by their number of train interactions."""
    return VectorRanker(*popularity_vectors(train))


@dataclass(frozen=True)
class BlockResult:
    """The users of one block that have held-out items.

    Attributes:
        users: (n,) int32, ascending.
        values: (n, metrics * cutoffs) float64, metric-major in the order of ``METRICS``.
        top: (n, deepest cut-off) int32 item numbers.
    """

    users: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    top: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Evaluation:
    """One ranker on one split.

    Attributes:
        users: (n,) int32, ascending: those with held-out items.
        per_user: (n,) float64 by metric and cut-off.
        coverage: share of the catalogue recommended to these users, by cut-off.
    """

    users: npt.NDArray[np.int32]
    per_user: dict[tuple[str, int], npt.NDArray[np.float64]]
    coverage: dict[int, float]

    def mean(self, metric: str, k: int) -> float:
        """Mean over users; NaN when none has held-out items."""
        values = self.per_user[metric, k]
        return float(values.mean()) if len(values) else float("nan")


def evaluate_block(ranker: Ranker, held_out: HeldOut, start: int, stop: int, cutoffs: Sequence[int]) -> BlockResult:
    """Rank and measure the users from ``start`` to ``stop`` (excluded)."""
    relevant = held_out.relevant.slice_users(start, stop)
    with_items = relevant.degree > 0
    top = ranker.top(start, stop, held_out.seen.slice_users(start, stop), max(cutoffs))
    columns = [function(top, relevant, k)[with_items] for function in METRICS.values() for k in cutoffs]
    users = np.flatnonzero(with_items).astype(np.int32) + np.int32(start)
    return BlockResult(users, np.stack(columns, axis=1), top[with_items])


def merge(blocks: Iterable[BlockResult], held_out: HeldOut, cutoffs: Sequence[int]) -> Evaluation:
    """Put blocks together, in whatever order they come.

    Raises:
        ValueError: a user with held-out items is missing or stands in two blocks.
    """
    ordered = sorted((block for block in blocks if len(block.users)), key=lambda block: int(block.users[0]))
    width = len(METRICS) * len(cutoffs)
    users = np.concatenate([np.empty(0, dtype=np.int32), *(block.users for block in ordered)])
    values = np.concatenate([np.empty((0, width)), *(block.values for block in ordered)])
    top = np.concatenate([np.empty((0, max(cutoffs)), dtype=np.int32), *(block.top for block in ordered)])
    expected = np.flatnonzero(held_out.relevant.degree)
    if not np.array_equal(users, expected):
        raise ValueError(f"{held_out.name}: evaluated {len(users)} users, expected {len(expected)}, each once")
    names = [(metric, k) for metric in METRICS for k in cutoffs]
    per_user = {name: values[:, column] for column, name in enumerate(names)}
    return Evaluation(users, per_user, {k: coverage(top, held_out.relevant.n_items, k) for k in cutoffs})


def evaluate(ranker: Ranker, held_out: HeldOut, cutoffs: Sequence[int], user_block: int = 1024) -> Evaluation:
    """Evaluate in this process, ``user_block`` users at a time."""
    n_users = held_out.relevant.n_users
    starts = range(0, n_users, user_block)
    blocks = (evaluate_block(ranker, held_out, start, min(start + user_block, n_users), cutoffs) for start in starts)
    return merge(blocks, held_out, cutoffs)
