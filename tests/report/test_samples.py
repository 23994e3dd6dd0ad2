from __future__ import annotations

import pyarrow as pa
import pytest

from hnlm_ray.report.samples import Catalogue, item_samples, negative_samples, user_samples
from hnlm_ray.tables import GROUNDED, ITEM_PROFILES, ITEMS, USER_PROFILES, USERS


def table(schema: pa.Schema, rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


@pytest.fixture
def catalogue() -> Catalogue:
    users = table(USERS, [{"user": user, "user_id": f"u{user}"} for user in range(3)])
    items = [{"item": item, "title": f"title {item}", "categories": ["all", f"c{item}"]} for item in range(9)]
    items[8] |= {"title": "", "categories": None}
    rows = [(0, item, "train") for item in range(8)] + [(0, 8, "test"), (1, 8, "train")]
    interactions = pa.table(dict(zip(("user", "item", "split"), map(list, zip(*rows, strict=True)), strict=True)))
    return Catalogue(users, table(ITEMS, items), interactions)


def test_items_come_with_their_words(catalogue: Catalogue) -> None:
    profiles = table(ITEM_PROFILES, [{"item": item, "summary": f"s{item}", "status": "ok"} for item in range(9)])
    samples = item_samples(profiles, catalogue, seed=0, count=3)
    assert len(samples) == 3
    for sample in samples:
        number = sample.summary[1:]
        assert sample.title == (f"title {number}" if number != "8" else "item 8")
        assert sample.categories == (("all", f"c{number}") if number != "8" else ())


def test_users_show_their_latest_train_items_only(catalogue: Catalogue) -> None:
    (sample,) = user_samples(table(USER_PROFILES, [{"user": 0, "summary": "s", "status": "ok"}]), catalogue, 0, 5)
    assert sample.user_id == "u0"
    assert sample.chose == tuple(f"title {item}" for item in (7, 6, 5, 4, 3))
    assert sample.more == 3


def test_negatives_come_with_profile_and_match(catalogue: Catalogue) -> None:
    grounded = table(
        GROUNDED,
        [
            {
                "user": 0,
                "item": 1,
                "answer": "x",
                "status": "matched",
                "step": "fuzzy",
                "similarity": 0.9,
                "negative": 4,
            },
            {"user": 2, "item": 2, "answer": "", "status": "none", "step": ""},
        ],
    )
    profiles = table(USER_PROFILES, [{"user": 0, "summary": "likes tea"}, {"user": 1, "summary": "likes rain"}])
    first, second = negative_samples(grounded, profiles, catalogue, seed=0, count=5)
    assert (first.profile, first.chose, first.answer, first.matched) == ("likes tea", "title 1", "x", "title 4")
    assert (second.profile, second.status, second.matched, second.similarity) == ("", "none", "", None)
    assert negative_samples(grounded, None, catalogue, seed=0, count=1)[0].profile == ""


def test_the_seed_decides_the_draw(catalogue: Catalogue) -> None:
    profiles = table(ITEM_PROFILES, [{"item": item, "summary": str(item), "status": "ok"} for item in range(9)])
    draws = {tuple(sample.summary for sample in item_samples(profiles, catalogue, seed, 3)) for seed in range(5)}
    assert len(draws) > 1
    assert item_samples(profiles, catalogue, 0, 3) == item_samples(profiles, catalogue, 0, 3)
