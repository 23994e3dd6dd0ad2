"""Evaluation of one block of users at a time, and the merging of blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hnlm_ray.evaluation.beyond import Reference, beyond_accuracy, coverage, exposure, gini, tie_rate
from hnlm_ray.evaluation.metrics import METRICS, accuracy
from hnlm_ray.models.rankers import Ranker

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions

__all__ = [
    "BlockResult",
    "Evaluation",
    "HeldOut",
    "evaluate",
    "evaluate_block",
    "measures",
    "merge",
]


@dataclass(frozen=True)
class HeldOut:
    """One split to evaluate on.

    Attributes:
        name: ``valid`` or ``test``.
        seen: the items that are masked for each user: train for ``valid``, train and valid for ``test``.
        relevant: the held-out items of each user.
    """

    name: str
    seen: Interactions
    relevant: Interactions


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
        """Mean over the users that have a value; NaN if none has."""
        values = self.per_user[measure, k]
        values = values[~np.isnan(values)]
        return float(values.mean()) if len(values) else float("nan")

    def means(self) -> dict[tuple[str, int], float]:
        """Every figure by measure and cut-off, including those of the catalogue."""
        figures = {name: self.mean(*name) for name in self.per_user}
        figures |= {("coverage", k): value for k, value in self.coverage.items()}
        return figures | {("gini", k): value for k, value in self.gini.items()}


def measures(reference: Reference | None) -> tuple[str, ...]:
    """Names of all measures that have a value per user."""
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
    """Rank and measure the users from ``start`` to ``stop - 1``.

    Args:
        ranker: what is evaluated.
        held_out: the split.
        start: first user.
        stop: the one after the last user.
        cutoffs: where to measure.
        reference: of all users and items, for the measures beyond accuracy; None leaves them out.
        depth: number of items to rank, if more than the deepest cut-off.

    Raises:
        ValueError: the ranker does not belong to these users and items, or gives a user an item twice.
    """
    relevant = held_out.relevant.slice_users(start, stop)
    with_items = relevant.degree > 0
    ranked = ranker.rank(start, stop, held_out.seen.slice_users(start, stop), max(*cutoffs, depth))
    columns = list(accuracy(ranked.items, relevant, cutoffs).values())
    columns += [tie_rate(ranked, k) for k in cutoffs]
    columns += beyond_accuracy(ranked.items, reference, cutoffs) if reference else []
    users = np.flatnonzero(with_items).astype(np.int32) + np.int32(start)
    return BlockResult(users, np.stack(columns, axis=1)[with_items], ranked.items[with_items])


def merge(
    blocks: Iterable[BlockResult], held_out: HeldOut, cutoffs: Sequence[int], reference: Reference | None = None
) -> Evaluation:
    """Merge blocks in any order; every figure is the same as from a single block.

    Args:
        blocks: of one ranker on one split.
        held_out: the split.
        cutoffs: those that the blocks were measured at.
        reference: the one that they were measured with.

    Raises:
        ValueError: a user with held-out items is missing or in two blocks.
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
    exposures = {k: exposure(top, held_out.relevant.n_items, k) for k in cutoffs}
    return Evaluation(
        users,
        {name: values[:, column] for column, name in enumerate(names)},
        top,
        coverage={k: coverage(counts) for k, counts in exposures.items()},
        gini={k: gini(counts) for k, counts in exposures.items()},
    )


def evaluate(
    ranker: Ranker,
    held_out: HeldOut,
    cutoffs: Sequence[int],
    user_block: int = 1024,
    reference: Reference | None = None,
) -> Evaluation:
    """Evaluate in this process, ``user_block`` users at a time; otherwise as :func:`evaluate_block`."""
    n_users = held_out.relevant.n_users
    starts = range(0, n_users, user_block)
    blocks = (
        evaluate_block(ranker, held_out, start, min(start + user_block, n_users), cutoffs, reference)
        for start in starts
    )
    return merge(blocks, held_out, cutoffs, reference)
