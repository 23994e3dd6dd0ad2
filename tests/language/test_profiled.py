"""Who gets a profile: all that a prompt can show, and nobody else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.config.tree import Config
from hnlm_ray.language.pairs import choose_pairs
from hnlm_ray.language.profiled import items_to_profile, users_to_profile
from hnlm_ray.run.rows import PartsOf, as_parts
from hnlm_ray.tables import INTERACTIONS
from hnlm_ray.testing.worlds import random_world

N_USERS, N_ITEMS = 30, 40


def interactions() -> pa.Table:
    train, valid = random_world(N_USERS, N_ITEMS, 0.2, 1)
    rows = [
        {"user": user, "item": item, "rating": None, "timestamp": None, "review": "", "split": split}
        for split, part in (("train", train), ("valid", valid))
        for user, item in zip(part.users.tolist(), part.items.tolist(), strict=True)
    ]
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["user"]), schema=INTERACTIONS)


def in_parts(table: pa.Table) -> PartsOf:
    """Four users at a time, as an artifact is read by user."""
    users = table["user"].to_numpy()
    parts = [table.filter(pa.array(users // 4 == number)) for number in range(N_USERS // 4 + 1)]
    return lambda columns: [part if columns is None else part.select(columns) for part in parts]


def config(scope: str, **negatives: object) -> Config:
    return Config.model_validate({"profiles": {"scope": scope, "max_history": 3}, "negatives": negatives})


@given(budget=st.integers(1, 60))
def test_a_budget_profiles_its_pairs_and_what_their_users_bought_lately(budget: int) -> None:
    table, options = interactions(), config("pairs", policy="budget", budget=budget)
    found_items, found_users = (
        choose(options, in_parts(table), N_ITEMS).table() for choose in (items_to_profile, users_to_profile)
    )
    train = [row for row in table.to_pylist() if row["split"] == "train"]
    users, items = (np.asarray([row[name] for row in train], np.int32) for name in ("user", "item"))
    pairs = choose_pairs([users.astype(np.int64) * N_ITEMS + items], N_ITEMS, options.negatives, options.seed)
    owners = sorted(set((pairs // N_ITEMS).tolist()))
    assert found_users["id"].to_pylist() == owners
    shown = {row["item"] for owner in owners for row in [row for row in train if row["user"] == owner][-3:]}
    assert found_items["id"].to_pylist() == sorted(shown | set((pairs % N_ITEMS).tolist()))
    everybody = users_to_profile(config("all"), as_parts(table), N_ITEMS).table()
    assert found_users.to_pylist() == [row for row in everybody.to_pylist() if row["id"] in owners]


@pytest.mark.parametrize("policy", ["all", "per_user"])
def test_without_a_budget_every_user_has_a_profile(policy: str) -> None:
    table = interactions()
    assert items_to_profile(config("all"), in_parts(table), N_ITEMS).ids.tolist() == list(range(N_ITEMS))
    found, everybody = (
        users_to_profile(options, parts, N_ITEMS).table()
        for options, parts in ((config("pairs", policy=policy), in_parts(table)), (config("all"), as_parts(table)))
    )
    assert found.equals(everybody)
