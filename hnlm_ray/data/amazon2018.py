"""Amazon Reviews, the release of 2018 and the one before it: JSON lines.

Source: https://nijianmo.github.io/amazon.
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
    interactions=("reviews_*.json.gz", "reviews_*.json", "*.json.gz", "*.json"),
    items=("meta_*.json.gz", "meta_*.json"),
    not_interactions=("meta*",),
)

_REVIEWS = fields(("reviewerID", "asin", "reviewText", "summary"), ("overall", "unixReviewTime"))
# Before 2018, the path of categories stood in "categories".
_ITEMS = fields(("asin", "title", "brand"), texts=("category", "categories", "description"))


def parse_interactions(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw interactions; the summary stands in for an empty review."""
    rows = read_objects(chunk, _REVIEWS)
    found = rows.columns
    return rows.to_raw(
        RAW_INTERACTIONS,
        user_id=found["reviewerID"],
        item_id=found["asin"],
        rating=found["overall"],
        timestamp=found["unixReviewTime"],
        review=first_text(found["reviewText"], found["summary"]),
    )


def parse_items(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw items."""
    rows = read_objects(chunk, _ITEMS)
    found = rows.columns
    return rows.to_raw(
        RAW_ITEMS,
        item_id=found["asin"],
        title=found["title"],
        brand=found["brand"],
        categories=names(pc.coalesce(found["category"], found["categories"])),
        description=paragraphs(found["description"]),
    )
