"""Which pairs, users and items the language model writes about, by ``negatives`` and ``profiles.scope``."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.config.tree import Config
from hnlm_ray.language.candidates import Nearest, candidates_of
from hnlm_ray.language.pairs import choose_pairs
from hnlm_ray.language.requests import (
    item_requests,
    negative_requests,
    profile_texts,
    shown_items,
    train_rows,
    user_requests,
)
from hnlm_ray.run.rows import PartsOf, Rows

__all__ = ["items_to_profile", "negatives_to_ask", "pairs_to_ask", "users_to_profile"]

_IDS = ["user", "item", "split"]


def pairs_to_ask(config: Config, interactions: PartsOf, n_items: int) -> npt.NDArray[np.int64]:
    """The train pairs that get a written negative.

    Args:
        config: the whole configuration.
        interactions: reads the columns ``user``, ``item`` and ``split`` of :data:`hnlm_ray.tables.INTERACTIONS`, all
            rows of a user in one part.
        n_items: items of the catalogue.

    Returns:
        (C,) int64, what :func:`hnlm_ray.language.pairs.choose_pairs` returns.

    Raises:
        ConfigError: there is no train pair.
    """
    pairs = (_pairs(part, n_items) for part in interactions(_IDS))
    return choose_pairs(pairs, n_items, config.negatives, config.seed)


def items_to_profile(config: Config, interactions: PartsOf, n_items: int) -> Rows:
    """The rows of :func:`hnlm_ray.language.requests.item_requests` in ``profiles.scope``.

    Args:
        config: the whole configuration.
        interactions: reads a table of :data:`hnlm_ray.tables.INTERACTIONS`, by user, all rows of one in one part.
        n_items: items of the catalogue.

    Raises:
        ConfigError: the scope is ``pairs`` and there is no train pair.
    """
    rows = Rows.of(item_requests(interactions(None), n_items, config.profiles))
    if config.profiles.scope == "all":
        return rows
    pairs = pairs_to_ask(config, interactions, n_items)
    users, is_shown = np.unique(pairs // n_items), np.zeros(n_items, bool)
    is_shown[pairs % n_items] = True
    for part in interactions(None):
        is_shown[shown_items(user_requests(part, config.profiles), users)] = True
    return rows.only(np.flatnonzero(is_shown))


def users_to_profile(config: Config, interactions: PartsOf, n_items: int) -> Rows:
    """The rows of :func:`hnlm_ray.language.requests.user_requests` in ``profiles.scope``.

    Arguments and errors are those of :func:`items_to_profile`.
    """
    if config.profiles.scope == "pairs":
        users = pairs_to_ask(config, interactions, n_items) // n_items
    else:
        users = np.concatenate([np.zeros(0, np.int64), *(_users(part) for part in interactions(["user", "split"]))])
    return Rows(np.unique(users), lambda: (user_requests(part, config.profiles) for part in interactions(None)))


def negatives_to_ask(
    config: Config, interactions: PartsOf, user_profiles: PartsOf, n_items: int, neighbours: pa.Table | None
) -> Rows:
    """The rows of :func:`hnlm_ray.language.requests.negative_requests` of the pairs that are asked.

    Args:
        config: the whole configuration.
        interactions: as in :func:`pairs_to_ask`, by user.
        user_profiles: reads a table of :data:`hnlm_ray.tables.USER_PROFILES`, sorted by user.
        n_items: items of the catalogue.
        neighbours: a table of :data:`hnlm_ray.tables.NEIGHBOURS`, where the model chooses among candidates.

    Raises:
        ConfigError: there is no train pair.
    """
    pairs = pairs_to_ask(config, interactions, n_items)
    nearest = None if neighbours is None else Nearest.of(neighbours, n_items)
    rows_of = functools.partial(_negatives_of, config, pairs, n_items, nearest)

    def parts() -> Iterator[pa.Table]:
        profiles = _Profiles(user_profiles(["user", "summary", "status"]))
        for part in interactions(_IDS):
            if part.num_rows:
                yield rows_of(part, profiles)

    return Rows(pairs, parts)


class _Profiles:
    """Profiles of users, read on as far as they are asked for."""

    def __init__(self, parts: Iterable[pa.Table]) -> None:
        self._parts = iter(parts)
        self._held = next(self._parts, None)

    def texts(self, first: int, last: int) -> pa.Array:
        """The profiles of the users from one to another, "" where there is none; asked for in ascending order."""
        found = list[pa.Table]()
        while self._held is not None:
            here, beyond = np.searchsorted(self._held["user"].to_numpy(), [first, last + 1])
            found.append(self._held.slice(here, beyond - here))
            if beyond < self._held.num_rows:
                self._held = self._held.slice(beyond)
                break
            self._held = next(self._parts, None)
        if not found:
            return pa.array([""] * (last + 1 - first), pa.string())
        return profile_texts(pa.concat_tables(found), "user", last + 1 - first, first)[0]


def _negatives_of(
    config: Config, pairs: npt.NDArray[np.int64], n_items: int, nearest: Nearest | None, part: pa.Table,
    profiles: _Profiles,
) -> pa.Table:  # fmt: skip
    """The requests of the users in a part of the interactions."""
    first, last = part["user"][0].as_py(), part["user"][-1].as_py()
    begin, end = np.searchsorted(pairs, [first * n_items, (last + 1) * n_items])
    chosen, found = pairs[begin:end], None
    if nearest is not None:
        seen = np.sort(_pairs(part, n_items))
        found = candidates_of(chosen, seen, nearest, config.negatives.candidates, config.seed)
    customers = profiles.texts(first, last).take(pa.array(chosen // n_items - first))
    return negative_requests(chosen, n_items, customers, found)


def _users(part: pa.Table) -> npt.NDArray[np.int64]:
    return np.unique(train_rows(part)["user"].to_numpy()).astype(np.int64)


def _pairs(part: pa.Table, n_items: int) -> npt.NDArray[np.int64]:
    """The numbers of the train pairs."""
    train = train_rows(part)
    return np.asarray(train["user"].to_numpy().astype(np.int64) * n_items + train["item"].to_numpy())
