"""Which (user, item) pairs get a written negative: the choice that decides what a run costs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnlm_ray import seeds
from hnlm_ray.config.language import NegativesConfig
from hnlm_ray.errors import ConfigError
from hnlm_ray.kernels.runs import places_in_runs, runs_of

__all__ = ["choose_pairs"]


def choose_pairs(
    user: npt.NDArray[np.int32], item: npt.NDArray[np.int32], n_items: int, policy: NegativesConfig, seed: int
) -> npt.NDArray[np.int64]:
    """Choose train pairs by the policy of ``negatives``.

    ``all``: every pair. ``per_user``: so many of each user, or all if the user has fewer. ``budget``: so many in total,
    drawn uniformly. Each pair has a random rank of its own, derived from the seed and its number: the choice depends on
    neither order nor sharding, and a larger budget keeps what a smaller one chose.

    Args:
        user: (P,) int32, the users of the distinct train pairs.
        item: (P,) int32, their items.
        n_items: items of the catalogue.
        policy: the section ``negatives``.
        seed: of the run.

    Returns:
        (C,) int64 pair numbers ``user * n_items + item`` of the chosen pairs, ascending.

    Raises:
        ConfigError: there is no train pair.
    """
    if len(user) == 0:
        raise ConfigError("the train split has no pair to write a negative for", "look at data.split and the filters")
    pairs = np.sort(user.astype(np.int64) * n_items + item)
    if policy.policy == "all":
        return pairs
    rank = seeds.hash_counters(seeds.derive(seed, "pairs"), pairs)
    if policy.policy == "budget":
        return np.sort(pairs[np.argsort(rank, kind="stable")[: policy.budget]])
    owner = pairs // n_items
    order = np.lexsort((rank, owner))
    place = places_in_runs(runs_of(owner)[1])  # pairs are sorted by user, and so is `order`
    return np.sort(pairs[order[place < policy.per_user]])
