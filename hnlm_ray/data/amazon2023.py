"""Amazon Reviews, the release of 2023: JSON lines.

Source: https://amazon-reviews-2023.github.io.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.data import ColumnsConfig
from hnlm_ray.data.files import UsualNames
from hnlm_ray.data.json_lines import fields, read_objects
from hnlm_ray.data.lines import Chunk
from hnlm_ray.data.lists import names, paragraphs
from hnlm_ray.data.raw import RAW_INTERACTIONS, RAW_ITEMS
from hnlm_ray.data.values import first_text

__all__ = ["NAMES", "parse_interactions", "parse_items"]

NAMES = UsualNames(
    interactions=("*.jsonl.gz", "*.jsonl"),
    items=("meta_*.jsonl.gz", "meta_*.jsonl"),
    not_interactions=("meta_*",),
)

_REVIEWS = fields(("user_id", "parent_asin", "title", "text"), ("rating", "timestamp"))
_ITEMS = fields(("parent_asin", "title", "store", "main_category"), texts=("categories", "description"))


def parse_interactions(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw interactions with the parent product, which is what the item files describe."""
    rows = read_objects(chunk, _REVIEWS)
    found = rows.columns
    return rows.to_raw(
        RAW_INTERACTIONS,
        user_id=found["user_id"],
        item_id=found["parent_asin"],
        rating=found["rating"],
        timestamp=found["timestamp"],
        review=first_text(found["text"], found["title"]),
    )


def parse_items(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw items; the store is the brand, and the main category stands in for an empty category path."""
    rows = read_objects(chunk, _ITEMS)
    found = rows.columns
    paths = names(found["categories"])
    has_path = pc.greater(pc.fill_null(pc.list_value_length(paths), 0), 0)
    main = names(found["main_category"])
    return rows.to_raw(
        RAW_ITEMS,
        item_id=found["parent_asin"],
        title=found["title"],
        brand=found["store"],
        categories=pc.if_else(has_path, paths, main),
        description=paragraphs(found["description"]),
    )
