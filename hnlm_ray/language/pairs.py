"""Which (user, item) pairs get a written negative: the choice that decides what a run costs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from hnlm_ray import seeds
from hnlm_ray.config.language import NegativesConfig
from hnlm_ray.errors import ConfigError
from hnlm_ray.kernels.runs import places_in_runs, runs_of

__all__ = ["choose_pairs"]


def choose_pairs(
    parts: Iterable[npt.NDArray[np.int64]], n_items: int, policy: NegativesConfig, seed: int
) -> npt.NDArray[np.int64]:
    """Choose train pairs by the policy of ``negatives``.

    ``all``: every pair. ``per_user``: so many of each user, or all if the user has fewer. ``budget``: so many in total,
    drawn uniformly. Each pair has a random rank of its own, derived from the seed and its number: the choice depends on
    neither order nor sharding, and a larger budget keeps what a smaller one chose.

    Args:
        parts: the numbers ``user * n_items + item`` of the distinct train pairs, int64: all pairs of some users at a
            time.
        n_items: items of the catalogue.
        policy: the section ``negatives``.
        seed: of the run.

    Returns:
        (C,) int64 numbers of the chosen pairs, ascending.

    Raises:
        ConfigError: there is no train pair.
    """
    key = seeds.derive(seed, "pairs")
    chosen, best = [np.zeros(0, np.int64)], np.zeros(0, np.int64)
    for part in parts:
        pairs = np.sort(part)
        if policy.policy == "budget":
            best = np.sort(_lowest(np.concatenate([best, pairs]), key, policy.budget))
        elif policy.policy == "per_user":
            chosen.append(_of_each_user(pairs, n_items, key, policy.per_user))
        else:
            chosen.append(pairs)
    found = np.sort(np.concatenate([*chosen, best]))
    if found.size == 0:
        raise ConfigError("the train split has no pair to write a negative for", "look at data.split and the filters")
    return found


def _lowest(pairs: npt.NDArray[np.int64], key: int, count: int) -> npt.NDArray[np.int64]:
    """Those of the lowest ranks."""
    return pairs[np.argsort(seeds.hash_counters(key, pairs), kind="stable")[:count]]


def _of_each_user(pairs: npt.NDArray[np.int64], n_items: int, key: int, count: int) -> npt.NDArray[np.int64]:
    """Those of the lowest ranks of each user; the pairs are ascending."""
    owner = pairs // n_items
    order = np.lexsort((seeds.hash_counters(key, pairs), owner))
    place = places_in_runs(runs_of(owner)[1])  # pairs are sorted by user, and so is `order`
    return np.asarray(pairs[order[place < count]])
