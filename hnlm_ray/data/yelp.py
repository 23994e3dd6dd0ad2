"""The Yelp Open Dataset: reviews and businesses, JSON lines.

Source: https://business.yelp.com/data/resources/open-dataset.
"""

from __future__ import annotations

import pyarrow as pa

from hnlm_ray.config.data import ColumnsConfig
from hnlm_ray.data.files import UsualNames
from hnlm_ray.data.json_lines import fields, read_objects
from hnlm_ray.data.lines import Chunk
from hnlm_ray.data.lists import names
from hnlm_ray.data.raw import RAW_INTERACTIONS, RAW_ITEMS
from hnlm_ray.data.values import moments

__all__ = ["NAMES", "parse_interactions", "parse_items"]

NAMES = UsualNames(
    interactions=("yelp_academic_dataset_review.json", "*review*.json", "*review*.json.gz"),
    items=("yelp_academic_dataset_business.json", "*business*.json", "*business*.json.gz"),
)

_REVIEWS = fields(("user_id", "business_id", "date", "text"), ("stars",))
# Early releases have lists, later ones text such as "Restaurants, Mexican".
_BUSINESSES = fields(("business_id", "name"), either=("categories",))


def parse_interactions(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw interactions; a date that cannot be read makes a bad row."""
    rows = read_objects(chunk, _REVIEWS)
    found = rows.columns
    when = moments(found["date"], "date")
    return rows.to_raw(
        RAW_INTERACTIONS,
        user_id=found["user_id"],
        item_id=found["business_id"],
        rating=found["stars"],
        review=found["text"],
        **when._asdict(),
    )


def parse_items(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw items, without brands and descriptions."""
    rows = read_objects(chunk, _BUSINESSES)
    found = rows.columns
    return rows.to_raw(
        RAW_ITEMS,
        item_id=found["business_id"],
        title=found["name"],
        categories=names(found["categories"], ","),
    )
