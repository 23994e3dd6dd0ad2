from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.data.cleaning import Events, clean_items, events_of, latest_of_pair
from hnlm_ray.data.raw import RAW_INTERACTIONS, RAW_ITEMS, positions, raw_table


def raw_items(**columns: list[object]) -> pa.Table:
    arrays = {name: pa.array(values, RAW_ITEMS.field(name).type) for name, values in columns.items()}
    return raw_table(RAW_ITEMS, positions(0, np.arange(len(columns["item_id"]))), **arrays)


def test_ids_are_numbered_in_sorted_order_and_nan_is_no_rating() -> None:
    columns = {
        "user_id": pa.array(["b", "a", "b"]),
        "item_id": pa.array(["y", "é", "x"]),
        "rating": pa.array([1.0, float("nan"), None]),
    }
    events, users, items, _, counts = events_of(raw_table(RAW_INTERACTIONS, positions(0, np.arange(3)), **columns))
    assert users.to_pylist() == ["a", "b"]
    assert items.to_pylist() == ["x", "y", "é"]
    assert (events.users.tolist(), events.items.tolist()) == ([1, 0, 1], [1, 2, 0])
    assert np.isnan(events.rating).tolist() == [False, True, True]
    assert counts["ratings_not_finite"] == 1


EVENT = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5) | st.none())


@settings(max_examples=50)
@given(st.lists(EVENT, max_size=30))
def test_the_latest_of_each_pair_is_kept(rows: list[tuple[int, int, int | None]]) -> None:
    users, items = (np.array([row[part] for row in rows], np.int64) for part in (0, 1))
    present = np.array([row[2] is not None for row in rows], bool)
    time = np.array([row[2] or 0 for row in rows], np.float64)
    events = Events(users, items, np.zeros(len(rows), np.float32), time, present, np.arange(len(rows)))
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for number, (user, item, when) in enumerate(rows):
        best[user, item] = max(best.get((user, item), (-2, -1)), (-1 if when is None else when, number))
    assert np.flatnonzero(latest_of_pair(events)).tolist() == sorted(number for _, number in best.values())


def test_items_are_completed_cleaned_and_cut_to_those_met() -> None:
    raw = raw_items(
        item_id=["c", "a", "c", "unused"],
        title=["Cup &amp; saucer", " ", "Other", "U"],
        brand=["<b>N</b>", None, "x", "x"],
        categories=[["Home", " ", None, "Kitchen &gt; Cups"], None, [], ["x"]],
        description=[None, "line\none", "x", "x"],
    )
    items, counts = clean_items(raw, pa.array(["a", "b", "c"]))
    assert items.to_pylist() == [
        {"item_id": "a", "title": "a", "brand": "", "description": "line one", "categories": []},
        {"item_id": "b", "title": "b", "brand": "", "description": "", "categories": []},
        {
            "item_id": "c",
            "title": "Cup & saucer",
            "brand": "N",
            "description": "",
            "categories": ["Home", "Kitchen > Cups"],
        },
    ]
    assert {name: count for name, count in counts.items() if not name.startswith("texts_")} == {
        "items_repeated": 1,
        "items_without_interactions": 1,
        "items_unknown": 1,
        "titles_empty": 1,
        "titles_with_scripts": 0,
        "brands_with_scripts": 0,
    }
    assert counts["texts_with_html"] == 3


def test_the_script_of_a_page_is_no_title() -> None:
    titles = [
        "var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();",
        "nan",
        "Function (Band) Shirt",
        "P.when('A').execute(function(A){});",
    ]
    brands = ["<style>.a {b: c;}</style>", "None", "N", "N"]
    items, counts = clean_items(raw_items(item_id=list("abcd"), title=titles, brand=brands), pa.array(list("abcd")))
    assert items["title"].to_pylist() == ["a", "b", "Function (Band) Shirt", "d"]
    assert items["brand"].to_pylist() == ["", "", "N", "N"]
    assert (counts["titles_with_scripts"], counts["brands_with_scripts"]) == (2, 1)
    assert (counts["titles_empty"], counts["texts_missing"]) == (3, 2)


def test_items_without_an_item_table() -> None:
    items, counts = clean_items(RAW_ITEMS.empty_table(), pa.array(["a"]))
    assert items["title"].to_pylist() == ["a"]
    assert counts["items_unknown"] == 1
