"""Evaluation block by block of users: what one worker computes, and how the blocks come together again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from hnlm_ray.evaluation.beyond import Reference, beyond_accuracy, gini, tie_rate
from hnlm_ray.evaluation.metrics import METRICS, coverage
from hnlm_ray.kernels.ranking import Ranked, ranked_block, ranked_scores
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
    "measures",
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

    def rank(self, start: int, stop: int, seen: Interactions, k: int) -> Ranked:
        """As :func:`hnlm_ray.kernels.ranking.ranked_block` for these users; ``seen`` has their rows."""


@dataclass(frozen=True)
class VectorRanker:
    """Ranks by inner product.

    Attributes:
        user_vectors: (n_users, d) float32.
        item_vectors: (n_items, d) float32.
    """

    user_vectors: npt.NDArray[np.float32]
    item_vectors: npt.NDArray[np.float32]

    def rank(self, start: int, stop: int, seen: Interactions, k: int) -> Ranked:
        """See :class:`Ranker`."""
        return ranked_block(self.user_vectors[start:stop], self.item_vectors, seen, k)


@dataclass(frozen=True)
class ItemItemRanker:
    """Ranks by the votes of the train items.

    Attributes:
        model: weights between items.
        train: all train interactions; what else a user has seen is masked, and does not vote.
    """

    model: ItemItem
    train: Interactions

    def rank(self, start: int, stop: int, seen: Interactions, k: int) -> Ranked:
        """See :class:`Ranker`."""
        return ranked_scores(self.model.scores(self.train.slice_users(start, stop)), seen, k)


@dataclass(frozen=True)
class RandomRanker:
    """Ranks by chance; the order of a user does not depend on the block it is in.

    A user walks through the catalogue from a random item in steps of a random length that has no divisor in common with
    the number of items, and so meets every item once. Each item is as likely as any other at each rank, and nothing
    has to be scored.

    Attributes:
        seed: of the whole run.
    """

    seed: int

    def rank(self, start: int, stop: int, seen: Interactions, k: int) -> Ranked:
        """See :class:`Ranker`; no two items are tied."""
        ranked = Ranked.nothing(stop - start, k)
        depth = min(k + int(seen.degree.max(initial=0)), seen.n_items)
        key, users = derive(self.seed, "evaluation", "random"), np.arange(start, stop)[:, None]
        first, step = (
            (hash_counters(key, 2 * users + part) % np.uint64(seen.n_items)).astype(np.int64) for part in (0, 1)
        )
        while (shared := np.gcd(step, seen.n_items) > 1).any():
            step[shared] += 1
        walk = (first + step * np.arange(depth)) % seen.n_items
        met = seen.contains(users - start, walk)
        order = np.argsort(met, axis=1, kind="stable")[:, :k]  # what the user has not met, in the order of the walk
        items = np.where(np.take_along_axis(met, order, axis=1), -1, np.take_along_axis(walk, order, axis=1))
        ranked.items[:, : items.shape[1]] = items
        return ranked


def popularity_ranker(train: Interactions) -> VectorRanker:
    """Ranks every user's unseen items by their number of train interactions."""
    return VectorRanker(*popularity_vectors(train))


@dataclass(frozen=True)
class BlockResult:
    """The users of one block that have held-out items.

    Attributes:
        users: (n,) int32, ascending.
        values: (n, measures * cutoffs) float64, measure-major in the order of :func:`measures`.
        top: (n, depth) int32 item numbers, at least as deep as the deepest cut-off.
    """

    users: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    top: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Evaluation:
    """One ranker on one split.

    Attributes:
        users: (n,) int32, ascending: those with held-out items.
        per_user: (n,) float64 by measure and cut-off.
        top: (n, deepest cut-off) int32 item numbers.
        coverage: share of the catalogue recommended to these users, by cut-off.
        gini: inequality of the exposure of items, by cut-off.
    """

    users: npt.NDArray[np.int32]
    per_user: dict[tuple[str, int], npt.NDArray[np.float64]]
    top: npt.NDArray[np.int32]
    coverage: dict[int, float]
    gini: dict[int, float]

    def mean(self, measure: str, k: int) -> float:
        """Mean over the users that have a value; NaN when none has."""
        values = self.per_user[measure, k]
        values = values[~np.isnan(values)]
        return float(values.mean()) if len(values) else float("nan")

    def means(self) -> dict[tuple[str, int], float]:
        """Every figure by measure and cut-off, those of the catalogue too."""
        figures = {name: self.mean(*name) for name in self.per_user}
        figures |= {("coverage", k): value for k, value in self.coverage.items()}
        return figures | {("gini", k): value for k, value in self.gini.items()}


def measures(reference: Reference | None) -> tuple[str, ...]:
    """Names of everything that is measured user by user."""
    return (*METRICS, "tie_rate", *(reference.measures if reference else ()))


def evaluate_block(
    ranker: Ranker,
    held_out: HeldOut,
    start: int,
    stop: int,
    cutoffs: Sequence[int],
    reference: Reference | None = None,
    depth: int = 0,
) -> BlockResult:
    """Rank and measure the users from ``start`` to ``stop`` (excluded).

    Args:
        ranker: what is evaluated.
        held_out: the split.
        start: first user.
        stop: behind the last user.
        cutoffs: where to measure.
        reference: of all users and items, for the measures beyond accuracy; None leaves them out.
        depth: items to rank, where that is more than the deepest cut-off.
    """
    relevant = held_out.relevant.slice_users(start, stop)
    with_items = relevant.degree > 0
    ranked = ranker.rank(start, stop, held_out.seen.slice_users(start, stop), max(*cutoffs, depth))
    columns = [function(ranked.items, relevant, k) for function in METRICS.values() for k in cutoffs]
    columns += [tie_rate(ranked, k) for k in cutoffs]
    columns += beyond_accuracy(ranked.items, reference, cutoffs) if reference else []
    users = np.flatnonzero(with_items).astype(np.int32) + np.int32(start)
    return BlockResult(users, np.stack(columns, axis=1)[with_items], ranked.items[with_items])


def merge(
    blocks: Iterable[BlockResult], held_out: HeldOut, cutoffs: Sequence[int], reference: Reference | None = None
) -> Evaluation:
    """Put blocks together, in whatever order they come; every figure is the one that a single block would give.

    Raises:
        ValueError: a user with held-out items is missing or stands in two blocks.
    """
    ordered = sorted((block for block in blocks if len(block.users)), key=lambda block: int(block.users[0]))
    names = [(measure, k) for measure in measures(reference) for k in cutoffs]
    users = np.concatenate([np.empty(0, dtype=np.int32), *(block.users for block in ordered)])
    values = np.concatenate([np.empty((0, len(names))), *(block.values for block in ordered)])
    deepest = max(cutoffs)
    top = np.concatenate([np.empty((0, deepest), dtype=np.int32), *(block.top[:, :deepest] for block in ordered)])
    expected = np.flatnonzero(held_out.relevant.degree)
    if not np.array_equal(users, expected):
        raise ValueError(f"{held_out.name}: evaluated {len(users)} users, expected {len(expected)}, each once")
    n_items = held_out.relevant.n_items
    return Evaluation(
        users,
        {name: values[:, column] for column, name in enumerate(names)},
        top,
        coverage={k: coverage(top, n_items, k) for k in cutoffs},
        gini={k: gini(top, n_items, k) for k in cutoffs},
    )


def evaluate(
    ranker: Ranker,
    held_out: HeldOut,
    cutoffs: Sequence[int],
    user_block: int = 1024,
    reference: Reference | None = None,
) -> Evaluation:
    """Evaluate in this process, ``user_block`` users at a time."""
    n_users = held_out.relevant.n_users
    starts = range(0, n_users, user_block)
    blocks = (
        evaluate_block(ranker, held_out, start, min(start + user_block, n_users), cutoffs, reference)
        for start in starts
    )
    return merge(blocks, held_out, cutoffs, reference)
