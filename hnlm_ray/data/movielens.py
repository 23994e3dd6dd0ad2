"""MovieLens: 100k (``u.data``), 1M and 10M (``ratings.dat``), 20M and later (``ratings.csv``).

Source: the README of each release at https://grouplens.org/datasets/movielens.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.data import ColumnsConfig
from hnlm_ray.data.delimited import column_of, csv_delimiter, header_names, read_rows
from hnlm_ray.data.files import UsualNames, has_extension
from hnlm_ray.data.lines import Chunk
from hnlm_ray.data.lists import names
from hnlm_ray.data.raw import RAW_INTERACTIONS, RAW_ITEMS
from hnlm_ray.data.rows import Rows
from hnlm_ray.data.values import moments, numbers
from hnlm_ray.errors import DataError

__all__ = ["NAMES", "parse_interactions", "parse_items"]

NAMES = UsualNames(
    interactions=("u.data", "ratings.dat", "ratings.csv", "ratings.csv.gz"),
    items=("u.item", "movies.dat", "movies.csv"),
    shares="folder",
)

# In the order of the flags of u.item; the first flag, "unknown", names no genre.
_GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_RATING_FIELDS = ["userId", "movieId", "rating", "timestamp"]
_MOVIE_FIELDS = ["movieId", "title", "genres"]
_U_ITEM_FIELDS = ["movieId", "title", "released", "video", "url", "unknown", *_GENRES]


def parse_interactions(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw interactions; a rating or timestamp that is not a number makes a bad row.

    Raises:
        DataError: a CSV file lacks a column.
    """
    rows = _rows(chunk, _RATING_FIELDS, "\t" if has_extension(chunk.file, "data") else "::")
    found = rows.columns
    rating, wrong_rating = numbers(found["rating"], "rating")
    when = moments(found["timestamp"], "timestamp")
    return rows.to_raw(
        RAW_INTERACTIONS,
        user_id=found["userId"],
        item_id=found["movieId"],
        rating=rating,
        timestamp=when.timestamp,
        moment=when.moment,
        problem=pc.coalesce(wrong_rating, when.problem),
    )


def parse_items(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw items, with the genres as categories.

    Raises:
        DataError: a CSV file lacks a column.
    """
    is_100k = not chunk.header and has_extension(chunk.file, "item")
    rows = _rows(chunk, _U_ITEM_FIELDS if is_100k else _MOVIE_FIELDS, "|" if is_100k else "::")
    found = rows.columns
    genres = _flagged(found) if is_100k else names(pc.replace_substring(found["genres"], "(no genres listed)", ""))
    return rows.to_raw(RAW_ITEMS, item_id=found["movieId"], title=found["title"], categories=genres)


def _rows(chunk: Chunk, fields: list[str], delimiter: str) -> Rows:
    if not chunk.header:
        return read_rows(chunk, fields, delimiter, quoted=False)
    mark = csv_delimiter(chunk.header)
    header = header_names(chunk.header, mark)
    missing = [name for name in fields if not column_of(header, name, chunk.file)]
    if missing:
        raise DataError(f"{chunk.file} lacks the column {missing[0]!r}", "give a MovieLens file or use format=table")
    return read_rows(chunk, header, mark, quoted=True)


def _flagged(found: pa.Table) -> pa.Array:
    """Genres from one 0/1 column each."""
    flags = np.stack([pc.equal(found[name], "1").to_numpy() for name in _GENRES], axis=1).astype(np.bool_)
    offsets = np.concatenate([[0], np.cumsum(flags.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(_GENRES).take(pa.array(np.nonzero(flags)[1])))
