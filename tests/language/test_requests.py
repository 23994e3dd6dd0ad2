"""Request rows: the train split only, the latest of it, and profiles only where they are usable."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hnlm_ray.config.language import NegativesConfig, ProfilesConfig
from hnlm_ray.language.requests import (
    ItemRenderer,
    NegativeRenderer,
    UserRenderer,
    item_requests,
    negative_requests,
    profile_texts,
    user_requests,
)
from hnlm_ray.tables import INTERACTIONS, ITEM_PROFILES, ITEMS, conform

MARKER = "zzmarkerzz"


def interactions(rows: list[tuple[int, int, int | None, str, str]]) -> pa.Table:
    user, item, timestamp, review, split = map(list, zip(*rows, strict=True))
    table = pa.table(
        {
            "user": user,
            "item": item,
            "rating": [5.0] * len(rows),
            "timestamp": pa.array(timestamp, pa.int64()),
            "review": review,
            "split": split,
        }
    )
    return conform(table, INTERACTIONS, "test")


def items(n: int) -> pa.Table:
    return conform(
        pa.table(
            {
                "item": list(range(n)),
                "item_id": [f"i{k}" for k in range(n)],
                "title": [f"Title {k}" for k in range(n)],
                "brand": [f"Brand {k}" for k in range(n)],
                "categories": [["Wide", f"Narrow {k}"] for k in range(n)],
                "description": [f"Description {k}" for k in range(n)],
            }
        ),
        ITEMS,
        "test",
    )


def test_item_rows_hold_the_newest_reviews_first_and_every_item() -> None:
    table = interactions(
        [
            (0, 1, 10, "old", "train"),
            (1, 1, 30, "new", "train"),
            (2, 1, 20, "middle", "train"),
            (3, 1, 40, "  ", "train"),
            (4, 1, 50, "held out", "test"),
            (5, 2, None, "first", "train"),
            (6, 2, None, "second", "train"),
        ]
    )
    rows = item_requests([table.slice(0, 3), table.slice(3)], 4, ProfilesConfig(max_feedback=2))
    assert rows.to_pydict() == {"id": [0, 1, 2, 3], "reviews": [[], ["new", "middle"], ["second", "first"], []]}


def test_user_rows_hold_the_latest_train_interactions_oldest_first() -> None:
    table = interactions(
        [(0, k, k, f"r{k}", "train" if k < 4 else "valid") for k in range(6)] + [(2, 1, 0, "", "train")]
    )
    rows = user_requests(table, ProfilesConfig(max_history=3))
    assert rows["id"].to_pylist() == [0, 2]  # user 1 has nothing in train
    assert rows["items"].to_pylist() == [[1, 2, 3], [1]]
    assert rows["reviews"].to_pylist() == [["r1", "r2", "r3"], [""]]


def test_nothing_in_train_gives_no_row_and_no_error() -> None:
    table = interactions([(0, 0, 0, "x", "test")])
    assert user_requests(table, ProfilesConfig()).num_rows == 0
    assert item_requests([table], 1, ProfilesConfig())["reviews"].to_pylist() == [[]]


def test_no_held_out_review_is_in_any_prompt() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for user in range(30):
        for place, item in enumerate(rng.choice(12, 8, replace=False).tolist()):
            held_out = place in (3, 6)
            text = f"{MARKER} {user} {item}" if held_out else f"fine {user} {item}"
            rows.append((user, item, place, text, ("valid", "test")[place // 4] if held_out else "train"))
    table, catalogue, limits = interactions(rows), items(12), ProfilesConfig(max_feedback=50, max_history=50)
    none = pa.array([""] * 30)
    prompts = [
        *ItemRenderer(catalogue, limits).prompts(item_requests([table], 12, limits)),
        *UserRenderer(catalogue, none, limits).prompts(user_requests(table, limits)),
        *NegativeRenderer(catalogue, none, NegativesConfig()).prompts(
            negative_requests(np.arange(360), 12, pa.array([""] * 360))
        ),
    ]
    texts = [prompt_of(None).user for prompt_of in prompts]
    assert len(texts) == 12 + 30 + 360
    assert not [text for text in texts if MARKER in text]
    # The test can fail: what is in train is shown, and with the split ignored the marker would be.
    assert sum(text.count("fine ") for text in texts) == 2 * 30 * 6
    leaked = table.set_column(5, "split", pa.array(["train"] * table.num_rows))
    shown = [
        prompt_of(None).user
        for prompt_of in ItemRenderer(catalogue, limits).prompts(item_requests([leaked], 12, limits))
    ]
    assert any(MARKER in text for text in shown)


def test_prompts_show_the_item_they_are_about() -> None:
    catalogue, limits = items(5), ProfilesConfig()
    profiles = pa.array([f"profile {k}" for k in range(5)])
    table = interactions([(0, 4, 0, "", "train"), (0, 2, 1, "good", "train"), (1, 3, 2, "", "train")])
    first, second = (
        p(None).user for p in UserRenderer(catalogue, profiles, limits).prompts(user_requests(table, limits))
    )
    assert [first.index(text) for text in ("Title 4", "profile 4", "Title 2", "good", "profile 2")] == sorted(
        first.index(text) for text in ("Title 4", "profile 4", "Title 2", "good", "profile 2")
    )
    assert "Title 3" in second
    assert "Title 2" not in second
    renderer = NegativeRenderer(catalogue, profiles, NegativesConfig())
    rows = negative_requests(np.array([1 * 5 + 3]), 5, pa.array(["taste 1"]))
    (text,) = (p(None).user for p in renderer.prompts(rows))
    assert all(part in text for part in ("taste 1", "Title 3", "profile 3"))


def test_a_profile_that_is_not_ok_is_left_out_and_counted() -> None:
    profiles = pa.table(
        {
            "item": [0, 2],
            "summary": ["usable", "half wr"],
            "status": ["ok", "truncated"],
        }
    )
    assert ITEM_PROFILES.field("status").type == pa.string()
    texts, without = profile_texts(profiles, "item", 4)
    assert texts.to_pylist() == ["usable", "", "", ""]
    assert without == 1  # of two that were asked for
