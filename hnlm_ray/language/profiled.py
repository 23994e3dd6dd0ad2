"""Which pairs, users and items the language model writes about, by ``negatives`` and ``profiles.scope``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.config.tree import Config
from hnlm_ray.language.pairs import choose_pairs
from hnlm_ray.language.requests import item_requests, shown_to_pairs, train_rows, user_requests

__all__ = ["items_to_profile", "pairs_to_ask", "users_to_profile"]


def pairs_to_ask(config: Config, interactions: pa.Table, n_items: int) -> npt.NDArray[np.int64]:
    """The train pairs that get a written negative.

    Args:
        config: the whole configuration.
        interactions: the columns ``user``, ``item`` and ``split`` of :data:`hnlm_ray.tables.INTERACTIONS`.
        n_items: items of the catalogue.

    Returns:
        (C,) int64, what :func:`hnlm_ray.language.pairs.choose_pairs` returns.

    Raises:
        ConfigError: there is no train pair.
    """
    train = train_rows(interactions.select(["user", "item", "split"]))
    return choose_pairs(train["user"].to_numpy(), train["item"].to_numpy(), n_items, config.negatives, config.seed)


def items_to_profile(config: Config, interactions: pa.Table, n_items: int) -> pa.Table:
    """The rows of :func:`hnlm_ray.language.requests.item_requests` in ``profiles.scope``.

    Args:
        config: the whole configuration.
        interactions: a table of :data:`hnlm_ray.tables.INTERACTIONS`.
        n_items: items of the catalogue.

    Raises:
        ConfigError: the scope is ``pairs`` and there is no train pair.
    """
    rows = item_requests(interactions, n_items, config.profiles)
    if config.profiles.scope == "all":
        return rows
    by_user = user_requests(interactions, config.profiles)
    _, items = shown_to_pairs(by_user, pairs_to_ask(config, interactions, n_items), n_items)
    return rows.take(pa.array(items))


def users_to_profile(config: Config, interactions: pa.Table, n_items: int) -> pa.Table:
    """The rows of :func:`hnlm_ray.language.requests.user_requests` in ``profiles.scope``.

    Arguments and errors are those of :func:`items_to_profile`.
    """
    rows = user_requests(interactions, config.profiles)
    if config.profiles.scope == "all":
        return rows
    users, _ = shown_to_pairs(rows, pairs_to_ask(config, interactions, n_items), n_items)
    return rows.filter(pa.array(users))
