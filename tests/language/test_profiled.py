"""Who gets a profile: all that a prompt can show, and nobody else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.config.tree import Config
from hnlm_ray.language.pairs import choose_pairs
from hnlm_ray.language.profiled import items_to_profile, negatives_to_ask, pairs_to_ask, users_to_profile
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


@given(
    written=st.sets(st.integers(0, N_USERS - 1)),
    rejected=st.sets(st.integers(0, N_USERS - 1)),
    size=st.integers(1, 40),
    candidates=st.sampled_from([0, 4]),
)
def test_each_pair_is_asked_with_the_profile_of_its_user(
    written: set[int], rejected: set[int], size: int, candidates: int
) -> None:
    """However the two tables are cut into parts, and whoever has no profile."""
    users = sorted(written)
    profiles = pa.table(
        {
            "user": pa.array(users, pa.int32()),
            "summary": [f"taste of {user}" for user in users],
            "status": ["invalid" if user in rejected else "ok" for user in users],
        }
    )
    parts = [profiles.slice(first, size) for first in range(0, len(users), size)]
    options = config("all", policy="per_user", per_user=2, candidates=candidates)
    near = pa.table(
        {
            "item": pa.array(np.repeat(np.arange(N_ITEMS), 9), pa.int32()),
            "neighbour": pa.array((np.arange(9 * N_ITEMS) * 7 + 3) % N_ITEMS, pa.int32()),
            "similarity": pa.array(np.linspace(1, 0, 9 * N_ITEMS), pa.float32()),
        }
    )
    near = near if candidates else None
    table = interactions()
    asked = negatives_to_ask(options, in_parts(table), lambda columns: parts, N_ITEMS, near)
    rows = asked.table().to_pylist()
    assert asked.ids.tolist() == [row["id"] for row in rows] == pairs_to_ask(options, as_parts(table), N_ITEMS).tolist()
    for row in rows:
        user = row["id"] // N_ITEMS
        assert row["customer"] == (f"taste of {user}" if user in written - rejected else "")
        assert row["item"] == row["id"] % N_ITEMS
    whole = negatives_to_ask(options, as_parts(table), lambda columns: parts, N_ITEMS, near).table().to_pylist()
    assert whole == rows  # the candidates too
    assert all(len(row["candidates"]) <= candidates for row in rows)
    assert not candidates or any(row["candidates"] for row in rows)
