"""User profiles: one per user, from train interactions and usable item profiles."""

from __future__ import annotations

import json

import pytest

from tests.stages.language_run import N_USERS, LanguageRun, title

pytestmark = pytest.mark.ray


def test_one_row_per_user(language_run: LanguageRun) -> None:
    rows = language_run.rows("user_profiles", "user_profiles")
    assert [row["user"] for row in rows] == list(range(N_USERS))
    assert {row["status"] for row in rows} == {"ok"}
    assert language_run.summaries["user_profiles"].counts["items_without_profile"] == 1


def test_prompts_show_train_interactions_in_their_order_with_profiles(language_run: LanguageRun) -> None:
    train: dict[int, list[int]] = {}
    for row in language_run.rows("prepare", "interactions"):
        if row["split"] == "train":
            train.setdefault(row["user"], []).append(row["item"])
    shown = [prompt["user"].splitlines() for prompt in language_run.prompts if prompt["task"] == "user_profile"]
    purchases = [[json.loads(line) for line in lines] for lines in shown]
    expected = sorted([title(item) for item in items] for items in train.values())
    assert sorted([entry["title"] for entry in lines] for lines in purchases) == expected
    for lines in purchases:
        for entry in lines:
            assert ("profile" in entry) == (entry["title"] != title(5))  # that one was rejected
