"""Negatives: the pairs of the policy, train pairs only, each with an answer or the reason why not."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.stages.language_run import N_ITEMS, N_USERS, LanguageRun

pytestmark = pytest.mark.ray


def test_three_train_pairs_of_each_user(language_run: LanguageRun) -> None:
    rows = language_run.rows("negatives", "negatives")
    interactions = language_run.rows("prepare", "interactions")
    train = {(row["user"], row["item"]) for row in interactions if row["split"] == "train"}
    assert {(row["user"], row["item"]) for row in rows} <= train
    assert Counter(row["user"] for row in rows) == dict.fromkeys(range(N_USERS), 3)
    assert [row["pair"] for row in rows] == sorted(row["user"] * N_ITEMS + row["item"] for row in rows)
    counts = language_run.summaries["negatives"].counts
    assert counts["train_pairs"] == 4 * N_USERS
    assert (counts["items_without_profile"], counts["users_without_profile"]) == (1, 0)
    assert sum(counts[status] for status in ("ok", "invalid", "truncated", "failed")) == 3 * N_USERS
