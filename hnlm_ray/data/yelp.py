"""The Yelp Open Dataset: reviews and businesses, JSON lines.

Source: https://business.yelp.com/data/resources/open-dataset.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.json_lines import read_objects
from hnlm_ray.data.lines import Chunk
from hnlm_ray.data.raw import RAW_INTERACTIONS, RAW_ITEMS
from hnlm_ray.data.values import moments

__all__ = ["parse_businesses", "parse_reviews"]

_REVIEWS = pa.schema(
    {
        "user_id": pa.string(),
        "business_id": pa.string(),
        "stars": pa.float64(),
        "date": pa.string(),
        "text": pa.string(),
    }
)
_BUSINESSES = pa.schema({"business_id": pa.string(), "name": pa.string(), "categories": pa.string()})


def parse_reviews(chunk: Chunk) -> pa.Table:
    """Raw interactions; a date that is none makes a bad row."""
    rows = read_objects(chunk, _REVIEWS)
    found = rows.columns
    timestamp, problem = moments(found["date"], "date")
    columns = {
        "user_id": found["user_id"],
        "item_id": found["business_id"],
        "rating": found["stars"],
        "timestamp": timestamp,
        "review": found["text"],
    }
    return rows.to_raw(columns, RAW_INTERACTIONS, problem)


def parse_businesses(chunk: Chunk) -> pa.Table:
    """Raw items; there is neither brand nor description."""
    rows = read_objects(chunk, _BUSINESSES)
    found = rows.columns
    columns = {
        "item_id": found["business_id"],
        "title": found["name"],
        "categories": pc.split_pattern(found["categories"], ","),
    }
    return rows.to_raw(columns, RAW_ITEMS)
