"""The Yelp Open Dataset: reviews and businesses, JSON lines.

Source: https://business.yelp.com/data/resources/open-dataset.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.data import ColumnsConfig
from hnlm_ray.data.files import UsualNames
from hnlm_ray.data.json_lines import fields, read_objects
from hnlm_ray.data.lines import Chunk
from hnlm_ray.data.raw import RAW_INTERACTIONS, RAW_ITEMS
from hnlm_ray.data.values import moments

__all__ = ["NAMES", "parse_interactions", "parse_items"]

NAMES = UsualNames(
    interactions=("yelp_academic_dataset_review.json", "*review*.json", "*review*.json.gz"),
    items=("yelp_academic_dataset_business.json", "*business*.json", "*business*.json.gz"),
)

_REVIEWS = fields(("user_id", "business_id", "date", "text"), ("stars",))
_BUSINESSES = fields(("business_id", "name", "categories"))


def parse_interactions(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw interactions; a date that cannot be read makes a bad row."""
    rows = read_objects(chunk, _REVIEWS)
    found = rows.columns
    timestamp, problem = moments(found["date"], "date")
    return rows.to_raw(
        RAW_INTERACTIONS,
        user_id=found["user_id"],
        item_id=found["business_id"],
        rating=found["stars"],
        timestamp=timestamp,
        review=found["text"],
        problem=problem,
    )


def parse_items(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw items, without brands and descriptions."""
    rows = read_objects(chunk, _BUSINESSES)
    found = rows.columns
    return rows.to_raw(
        RAW_ITEMS,
        item_id=found["business_id"],
        title=found["name"],
        categories=pc.split_pattern(found["categories"], ","),
    )
