"""Steam: reviews and games as the University of California San Diego publishes them, lines of Python literals.

Source: https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.data import ColumnsConfig
from hnlm_ray.data.files import UsualNames
from hnlm_ray.data.json_lines import fields, read_objects
from hnlm_ray.data.lines import Chunk
from hnlm_ray.data.lists import names
from hnlm_ray.data.raw import RAW_INTERACTIONS, RAW_ITEMS
from hnlm_ray.data.values import first_text, moments

__all__ = ["NAMES", "parse_interactions", "parse_items"]

NAMES = UsualNames(
    interactions=("steam_reviews.json.gz", "steam_reviews.json"),
    items=("steam_games.json.gz", "steam_games.json"),
    shares="folder",
)

_REVIEWS = fields(("username", "product_id", "date", "text"))
_GAMES = fields(("id", "title", "app_name", "developer"), texts=("genres", "tags"))


def parse_interactions(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw interactions without ratings; a date that cannot be read makes a bad row."""
    rows = read_objects(chunk, _REVIEWS)
    found = rows.columns
    when = moments(found["date"], "date")
    return rows.to_raw(
        RAW_INTERACTIONS,
        user_id=found["username"],
        item_id=found["product_id"],
        review=found["text"],
        **when._asdict(),
    )


def parse_items(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw items: the developer is the brand, and tags stand in for genres where there are none."""
    rows = read_objects(chunk, _GAMES)
    found = rows.columns
    genres = names(found["genres"])
    has_genres = pc.greater(pc.fill_null(pc.list_value_length(genres), 0), 0)
    return rows.to_raw(
        RAW_ITEMS,
        item_id=found["id"],
        title=first_text(found["title"], found["app_name"]),
        brand=found["developer"],
        categories=pc.if_else(has_genres, genres, names(found["tags"])),
    )
