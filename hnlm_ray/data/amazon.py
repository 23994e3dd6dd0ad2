"""Amazon Reviews: the 2018 release (and the one before it) and the 2023 release, both JSON lines.

Sources: https://nijianmo.github.io/amazon and https://amazon-reviews-2023.github.io.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.json_lines import read_objects
from hnlm_ray.data.lines import Chunk
from hnlm_ray.data.raw import RAW_INTERACTIONS, RAW_ITEMS, Column

__all__ = ["parse_items_2018", "parse_items_2023", "parse_reviews_2018", "parse_reviews_2023"]

_TEXTS = pa.list_(pa.string())
_REVIEWS_2018 = pa.schema(
    {
        "reviewerID": pa.string(),
        "asin": pa.string(),
        "overall": pa.float64(),
        "unixReviewTime": pa.float64(),
        "reviewText": pa.string(),
        "summary": pa.string(),
    }
)
_ITEMS_2018 = pa.schema(
    {
        "asin": pa.string(),
        "title": pa.string(),
        "brand": pa.string(),
        "category": _TEXTS,
        "categories": _TEXTS,  # the release before 2018
        "description": _TEXTS,
    }
)
_REVIEWS_2023 = pa.schema(
    {
        "user_id": pa.string(),
        "parent_asin": pa.string(),
        "rating": pa.float64(),
        "timestamp": pa.float64(),  # milliseconds
        "title": pa.string(),
        "text": pa.string(),
    }
)
_ITEMS_2023 = pa.schema(
    {
        "parent_asin": pa.string(),
        "title": pa.string(),
        "store": pa.string(),
        "main_category": pa.string(),
        "categories": _TEXTS,
        "description": _TEXTS,
    }
)


def parse_reviews_2018(chunk: Chunk) -> pa.Table:
    """Raw interactions; the summary stands in for an empty review."""
    rows = read_objects(chunk, _REVIEWS_2018)
    found = rows.columns
    columns = {
        "user_id": found["reviewerID"],
        "item_id": found["asin"],
        "rating": found["overall"],
        "timestamp": found["unixReviewTime"],
        "review": _first_text(found["reviewText"], found["summary"]),
    }
    return rows.to_raw(columns, RAW_INTERACTIONS)


def parse_items_2018(chunk: Chunk) -> pa.Table:
    """Raw items."""
    rows = read_objects(chunk, _ITEMS_2018)
    found = rows.columns
    columns = {
        "item_id": found["asin"],
        "title": found["title"],
        "brand": found["brand"],
        "categories": pc.coalesce(found["category"], found["categories"]),
        "description": _joined(found["description"]),
    }
    return rows.to_raw(columns, RAW_ITEMS)


def parse_reviews_2023(chunk: Chunk) -> pa.Table:
    """Raw interactions with the parent product, which is what the item files describe."""
    rows = read_objects(chunk, _REVIEWS_2023)
    found = rows.columns
    columns = {
        "user_id": found["user_id"],
        "item_id": found["parent_asin"],
        "rating": found["rating"],
        "timestamp": found["timestamp"],
        "review": _first_text(found["text"], found["title"]),
    }
    return rows.to_raw(columns, RAW_INTERACTIONS)


def parse_items_2023(chunk: Chunk) -> pa.Table:
    """Raw items; the store is the brand, and the main category stands in for an empty path."""
    rows = read_objects(chunk, _ITEMS_2023)
    found = rows.columns
    has_path = pc.greater(pc.fill_null(pc.list_value_length(found["categories"]), 0), 0)
    main = pc.split_pattern(found["main_category"], "|")
    columns = {
        "item_id": found["parent_asin"],
        "title": found["title"],
        "brand": found["store"],
        "categories": pc.if_else(has_path, found["categories"], main),
        "description": _joined(found["description"]),
    }
    return rows.to_raw(columns, RAW_ITEMS)


def _first_text(text: Column, other: Column) -> Column:
    """The first of two texts that is not empty."""
    is_empty = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(text, "")), "")
    return pc.if_else(is_empty, other, text)


def _joined(texts: Column) -> Column:
    """The paragraphs of each row as one text."""
    lists = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    filled = pc.fill_null(pc.list_flatten(lists), "")
    sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array([0, *sizes.cumsum().tolist()], pa.int32())
    return pc.binary_join(pa.ListArray.from_arrays(offsets, filled), " ")
