"""Last.fm of HetRec 2011: how often users have listened to artists.

Source: the readme of hetrec2011-lastfm-2k, https://grouplens.org/datasets/hetrec-2011.
"""

from __future__ import annotations

import pyarrow as pa

from hnlm_ray.config.data import ColumnsConfig
from hnlm_ray.data.delimited import column_of, header_names, read_rows
from hnlm_ray.data.files import UsualNames
from hnlm_ray.data.lines import Chunk
from hnlm_ray.data.raw import RAW_INTERACTIONS, RAW_ITEMS
from hnlm_ray.data.rows import Rows
from hnlm_ray.data.values import numbers
from hnlm_ray.errors import DataError

__all__ = ["NAMES", "parse_interactions", "parse_items"]

NAMES = UsualNames(interactions=("user_artists.dat",), items=("artists.dat",), has_header=True, shares="folder")


def parse_interactions(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw interactions, whose rating is the number of times that the user has listened; they have no times.

    Raises:
        DataError: the file lacks a column.
    """
    rows = _rows(chunk, ("userID", "artistID", "weight"))
    listened, problem = numbers(rows.columns["weight"], "weight")
    return rows.to_raw(
        RAW_INTERACTIONS,
        user_id=rows.columns["userID"],
        item_id=rows.columns["artistID"],
        rating=listened,
        problem=problem,
    )


def parse_items(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw items: the artists by their names, in which a quote is a character.

    Raises:
        DataError: the file lacks a column.
    """
    rows = _rows(chunk, ("id", "name"))
    return rows.to_raw(RAW_ITEMS, item_id=rows.columns["id"], title=rows.columns["name"])


def _rows(chunk: Chunk, needed: tuple[str, ...]) -> Rows:
    header = header_names(chunk.header, "\t")
    missing = [name for name in needed if not column_of(header, name, chunk.file)]
    if missing:
        raise DataError(f"{chunk.file} lacks the column {missing[0]!r}", "give the files of HetRec 2011 as unpacked")
    return read_rows(chunk, header, "\t", quoted=False)
