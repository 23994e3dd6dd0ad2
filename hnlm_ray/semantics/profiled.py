"""Who gets a profile: everybody, or only those whom a prompt for a chosen pair can show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hnlm_ray.config import Config
from hnlm_ray.semantics.pairs import choose_pairs
from hnlm_ray.semantics.requests import item_requests, shown_to_pairs, train_rows, user_requests

__all__ = ["Profiled", "profiled"]


@dataclass(frozen=True)
class Profiled:
    """Request rows of both profile stages.

    Attributes:
        items: rows of :func:`hnlm_ray.semantics.requests.item_requests`.
        users: rows of :func:`hnlm_ray.semantics.requests.user_requests`.
    """

    items: pa.Table
    users: pa.Table


def profiled(config: Config, interactions: pa.Table, n_items: int) -> Profiled:
    """The rows that ``profiles.scope`` asks for.

    Args:
        config: the whole configuration.
        interactions: a table of :data:`hnlm_ray.tables.INTERACTIONS`.
        n_items: items of the catalogue.

    Raises:
        ConfigError: the scope is ``pairs`` and there is no train pair.
    """
    by_item = item_requests(interactions, n_items, config.profiles)
    by_user = user_requests(interactions, config.profiles)
    if config.profiles.scope == "all":
        return Profiled(by_item, by_user)
    train = train_rows(interactions)
    pairs = choose_pairs(train["user"].to_numpy(), train["item"].to_numpy(), n_items, config.negatives, config.seed)
    users, items = shown_to_pairs(by_user, pairs, n_items)
    return Profiled(by_item.take(pa.array(items)), by_user.filter(pa.array(np.asarray(users))))
