"""The false-negative rate of samplers: how often the user would like their negatives, on generated data.

On generated data the probability that a user likes an item is known. The false-negative rate of a sampler is the mean
of this probability over its negatives for the train pairs, each by its weight. For samplers whose distribution is known
it is the exact expectation; for the others one epoch is drawn with the sampler itself. Samplers see train interactions
only, so a held-out item is a candidate like any other.

A guarded negative counts by its trust, as it does in the loss: the rate is the sum of ``trust * probability`` over the
sum of ``trust``. Rates are means over a matrix of users by items, so this is one of two such means by the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.config.samplers import DNSOptions, InBatchOptions, PopularitySamplerOptions, Sampler, UniformOptions

if TYPE_CHECKING:
    import torch

    from hnlm_ray.data.interactions import Interactions
    from hnlm_ray.samplers.guard import Guard
    from hnlm_ray.samplers.protocol import Scene

__all__ = [
    "STATIC",
    "Draws",
    "dns_at_hardness",
    "dns_rate",
    "drawn_rate",
    "nearest_items",
    "pairs_rate",
    "scored_rate",
    "static_rate",
    "weighted_rate",
]

Truth = npt.NDArray[np.float32]
Floats = npt.NDArray[Any]

Vectors = tuple[Floats, Floats]
"""User vectors (n_users, d) and item vectors (n_items, d) of a model."""

STATIC = UniformOptions | PopularitySamplerOptions | InBatchOptions
"""Samplers whose distribution does not depend on the model in training."""

_PAIRS = 1024
"""Pairs whose negatives are drawn at a time, which bounds the memory of their candidates' vectors."""


def static_rate(truth: Truth, train: Interactions, sampler: STATIC) -> float:
    """The exact rate of a sampler that does not depend on a model.

    Args:
        truth: as in :func:`weighted_rate`.
        train: as in :func:`weighted_rate`.
        sampler: its options. Corrected in-batch negatives have one over their popularity as weights, so that all items
            with a train interaction count equally.
    """
    from hnlm_ray.samplers.popularity import popularity_weights

    degrees = train.item_popularity
    match sampler:
        case UniformOptions(rejection="none"):
            return _mean(truth.mean(axis=1, dtype=np.float64), train.degree)
        case UniformOptions():
            return weighted_rate(truth, train, np.ones(train.n_items))
        case PopularitySamplerOptions(exponent=exponent):
            return weighted_rate(truth, train, popularity_weights(degrees, exponent))
        case InBatchOptions(correct=correct):
            return weighted_rate(truth, train, (degrees > 0).astype(float) if correct else degrees)


@dataclass(frozen=True)
class Draws:
    """How a fit draws its negatives.

    Attributes:
        sampler: its options.
        seed: of the fit; used where negatives are drawn.
        epoch: from 1; used where negatives are drawn.
        guard: of all users; None guards nothing.
    """

    sampler: Sampler
    seed: int = 0
    epoch: int = 1
    guard: Guard | None = None


def scored_rate(truth: Truth, train: Interactions, draws: Draws, vectors: Vectors) -> float:
    """The rate of any sampler under a trained model: exact where its distribution is known, else measured.

    Args:
        truth: as in :func:`weighted_rate`.
        train: as in :func:`weighted_rate`.
        draws: the sampler and its guard.
        vectors: as the sampler sees them in training.

    Returns:
        The rate; NaN where no negative has any trust.
    """
    if draws.guard is None:
        return _unguarded(truth, train, draws, vectors)
    trust = draws.guard.matrix(train.n_users)
    total = _unguarded(trust, train, draws, vectors)
    return _unguarded(truth * trust, train, draws, vectors) / total if total else float("nan")


def _unguarded(values: Truth, train: Interactions, draws: Draws, vectors: Vectors) -> float:
    """The mean of values (n_users, n_items) over the negatives; of the guard, only exclusions play a part."""
    sampler = draws.sampler
    if isinstance(sampler, STATIC):
        return static_rate(values, train, sampler)
    if isinstance(sampler, DNSOptions):
        return dns_rate(values, train, vectors, sampler.candidates, sampler.top, draws.guard)
    return drawn_rate(values, train, draws, vectors)


def weighted_rate(truth: Truth, train: Interactions, weights: Floats) -> float:
    """The exact rate of negatives drawn from a user's unseen items in proportion to ``weights``.

    Args:
        truth: (n_users, n_items), the probability that the user likes the item.
        train: the items that are not drawn; a user's weight is the number of their pairs.
        weights: (n_items,) at least 0: ones for the uniform sampler, train counts for sampling by popularity.

    Returns:
        The rate; NaN when no user has an unseen item with a weight.
    """
    total = truth @ weights - _sum_per_user(train, weights[train.items] * truth[train.users, train.items])
    mass = weights.sum() - _sum_per_user(train, weights[train.items])
    # The mass is a difference of sums, so rounding can leave a little of it where every item is seen.
    drawable = mass > 1e-9 * weights.sum()
    rates = np.divide(total, mass, out=np.zeros(train.n_users), where=drawable)
    return _mean(rates, train.degree * drawable)


def dns_rate(
    truth: Truth, train: Interactions, vectors: Vectors, candidates: int, top: int = 1, guard: Guard | None = None
) -> float:
    """The exact rate of DNS(M, N): uniformly one of the M best-scored of N candidates; DNS for M = 1.

    With n unseen items in ascending order of score and candidates drawn with replacement, the k-th best candidate is
    among the first r items if more than N - k candidates are; their number is binomial with probability ``r / n``.

    Args:
        truth: as in :func:`weighted_rate`.
        train: as in :func:`weighted_rate`.
        vectors: of the model that scores.
        candidates: N.
        top: M.
        guard: items that it excludes come after all others; its weights play no part here.

    Returns:
        The rate; NaN when no user has an unseen item.
    """
    from scipy.stats import binom

    scores = vectors[0] @ vectors[1].T
    if guard is not None:
        scores.ravel()[guard.keys[guard.trust == 0.0]] = np.finfo(scores.dtype).min
    scores[train.users, train.items] = -np.inf
    seen = train.degree
    unseen = train.n_items - seen
    order = np.argsort(scores, axis=1, kind="stable")  # seen items come first
    sizes, row = np.unique(unseen, return_inverse=True)
    first = np.arange(train.n_items + 1) - (train.n_items - sizes)[:, None]
    share = np.clip(first, 0, None) / np.maximum(sizes, 1)[:, None]
    below = np.mean([binom.sf(candidates - k, candidates, share) for k in range(1, top + 1)], axis=0)
    chance = np.diff(below, axis=1)[row]
    rates = (chance * np.take_along_axis(truth, order, axis=1)).sum(axis=1)
    return _mean(rates, seen * (unseen > 0))


def dns_at_hardness(truth: Truth, train: Interactions, vectors: Vectors, hardness: float) -> tuple[float, float]:
    """How many candidates give DNS a certain hardness, and its rate with so many; interpolated linearly.

    Args:
        truth: as in :func:`weighted_rate`.
        train: as in :func:`weighted_rate`.
        vectors: of the model that scores.
        hardness: mean score of the negatives.

    Returns:
        Candidates and rate; of the nearest number of candidates where DNS is always harder or always easier.
    """
    scores = vectors[0] @ vectors[1].T

    def point(candidates: int) -> tuple[float, float]:
        return tuple(dns_rate(matrix, train, vectors, candidates) for matrix in (scores, truth))  # type: ignore[return-value]

    low, high = 1, 2
    (easy, low_rate), (hard, high_rate) = point(low), point(high)
    if hardness <= easy:
        return 1.0, low_rate
    while hard < hardness and high < train.n_items:
        low, easy, low_rate = high, hard, high_rate
        high *= 2
        hard, high_rate = point(high)
    while high - low > 1:
        middle = (low + high) // 2
        found, rate = point(middle)
        if found < hardness:
            low, easy, low_rate = middle, found, rate
        else:
            high, hard, high_rate = middle, found, rate
    share = min(1.0, (hardness - easy) / max(hard - easy, 1e-12))
    return low + share * (high - low), low_rate + share * (high_rate - low_rate)


def drawn_rate(truth: Truth, train: Interactions, draws: Draws, vectors: Vectors) -> float:
    """The rate of the negatives that a sampler gives to the train pairs in one epoch, measured.

    Layers and the gates that a sampler learns are not kept after training: a sampler that chooses on each layer sees
    the final vectors as the only layer, and gates are as before training.

    Args:
        truth: as in :func:`weighted_rate`.
        train: as in :func:`weighted_rate`.
        draws: the sampler, and which negatives; of its guard, only exclusions play a part.
        vectors: of the model.

    Returns:
        The rate; NaN when no user has an unseen item.
    """
    import torch

    from hnlm_ray.samplers.build import build_sampler
    from hnlm_ray.samplers.guard import GuardLookup
    from hnlm_ray.samplers.protocol import Setting

    device = torch.device("cpu")
    tables = torch.from_numpy(vectors[0]).float(), torch.from_numpy(vectors[1]).float()
    setting = Setting(train, train.item_popularity, vectors[1].shape[1], draws.seed, device)
    choose = build_sampler(draws.sampler, setting)
    guard = None if draws.guard is None else GuardLookup(draws.guard, device)
    pairs = np.flatnonzero(train.degree[train.users] < train.n_items)
    rates = []
    for start in range(0, len(pairs), _PAIRS):
        scene = replace(_scene(train, pairs[start : start + _PAIRS], tables, draws.epoch), guard=guard)
        with torch.no_grad():
            negatives = choose(scene)
        assert negatives.items is not None
        liked = truth[scene.users.numpy()[:, None], negatives.items.numpy()]
        weights = np.ones_like(liked) if negatives.log_weights is None else negatives.log_weights.exp().numpy()
        rates.append((weights * liked).sum(axis=1) / weights.sum(axis=1))
    return float(np.concatenate(rates).mean(dtype=np.float64)) if rates else float("nan")


def nearest_items(train: Interactions, item_vectors: Floats) -> npt.NDArray[np.int32]:
    """For each train pair, the item nearest in text to its item among those that the user has not seen.

    Args:
        train: the pairs, and the items that are not chosen.
        item_vectors: (n_items, d) of unit length.

    Returns:
        (pairs,) int32 in the order of ``train.items``; -1 where the user has seen every item. Of equally near items the
        smallest number.
    """
    vectors = item_vectors.astype(np.float32)
    nearest = np.full(len(train.items), -1, dtype=np.int32)
    for start, stop in zip(train.offsets[:-1], train.offsets[1:], strict=True):
        items = train.items[start:stop]
        similarity = vectors[items] @ vectors.T
        similarity[:, items] = -np.inf
        if len(items) < train.n_items:
            nearest[start:stop] = similarity.argmax(axis=1) if len(items) else []
    return nearest


def pairs_rate(truth: Truth, users: npt.NDArray[np.integer], negatives: npt.NDArray[np.integer]) -> float:
    """The rate of given negatives (P,) for users (P,); NaN without any."""
    return float(truth[users, negatives].mean(dtype=np.float64)) if len(users) else float("nan")


def _scene(
    train: Interactions, pairs: npt.NDArray[np.intp], tables: tuple[torch.Tensor, torch.Tensor], epoch: int
) -> Scene:
    """The train pairs of these numbers as a batch, with the final vectors as the only layer."""
    import torch

    from hnlm_ray.samplers.protocol import Scene

    users, items = (torch.from_numpy(part[pairs].astype(np.int64)) for part in (train.users, train.items))
    user, positive = tables[0].index_select(0, users), tables[1].index_select(0, items)
    return Scene(
        users=users,
        items=items,
        places=torch.from_numpy(pairs.astype(np.int64)),
        epoch=epoch,
        step=0,
        user=user,
        positive=positive,
        table=tables[1],
        user_layers=[user],
        positive_layers=[positive],
        table_layers=[tables[1]],
    )


def _sum_per_user(train: Interactions, values: Floats) -> npt.NDArray[np.float64]:
    return np.bincount(train.users, weights=values, minlength=train.n_users).astype(np.float64)


def _mean(values: Floats, weights: Floats) -> float:
    total = weights.sum()
    return float((values * weights).sum() / total) if total else float("nan")
