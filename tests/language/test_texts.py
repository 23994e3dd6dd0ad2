"""The texts in front of an encoder."""

from __future__ import annotations

import pyarrow as pa

from hnlm_ray.data.item_texts import item_texts
from hnlm_ray.language.texts import described_items, described_users

ITEMS = pa.table(
    {
        "item_id": ["i0", "i1", "i2"],
        "title": ["Red Kettle", " ", ""],
        "categories": [["Home", "Kettles"], ["Toys"], []],
        "description": ["Boils.", "", "A thing."],
    }
)


def test_an_item_is_its_title_and_categories_or_its_id() -> None:
    assert item_texts(ITEMS) == ["Red Kettle. Home, Kettles", "Toys", "i2"]


def test_a_profile_takes_the_place_of_the_description() -> None:
    written = pa.array(["For tea drinkers.", "", ""])
    assert described_items(ITEMS, written) == ["Red Kettle. Home, Kettles. For tea drinkers.", "Toys", "i2. A thing."]
    assert described_items(ITEMS, None) == ["Red Kettle. Home, Kettles. Boils.", "Toys", "i2. A thing."]


def test_a_user_is_the_profile_or_the_latest_purchases() -> None:
    by_user = pa.table({"id": [0, 2], "items": pa.array([[0, 1], [1]], pa.list_(pa.int32()))})
    titles = pa.array(["Kettle", "Lantern"])
    assert described_users(by_user, titles, 3, None) == (["Lantern; Kettle", "customer", "Lantern"], 3)
    texts, from_purchases = described_users(by_user, titles, 3, pa.array(["Likes tea.", "", ""]))
    assert texts == ["Likes tea.", "customer", "Lantern"]
    assert from_purchases == 2
