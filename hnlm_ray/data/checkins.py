"""Check-ins of Gowalla and Brightkite: who was where and when, and nothing about the places.

Source: https://snap.stanford.edu/data/loc-gowalla.html.
"""

from __future__ import annotations

import pyarrow as pa

from hnlm_ray.config.data import ColumnsConfig
from hnlm_ray.data.delimited import read_rows
from hnlm_ray.data.files import UsualNames
from hnlm_ray.data.lines import Chunk
from hnlm_ray.data.raw import RAW_INTERACTIONS
from hnlm_ray.data.values import moments
from hnlm_ray.errors import DataError

__all__ = ["NAMES", "parse_interactions", "parse_items"]

NAMES = UsualNames(interactions=("loc-*_totalCheckins.txt.gz", "loc-*_totalCheckins.txt"), items=())

_FIELDS = ("user", "time", "latitude", "longitude", "place")


def parse_interactions(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw interactions, one per check-in; a time that cannot be read makes a bad row."""
    rows = read_rows(chunk, _FIELDS, "\t", quoted=False)
    when = moments(rows.columns["time"], "time")
    return rows.to_raw(RAW_INTERACTIONS, user_id=rows.columns["user"], item_id=rows.columns["place"], **when._asdict())


def parse_items(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Refuse a file of items.

    Raises:
        DataError: always.
    """
    raise DataError(f"{chunk.file} is named as a file of items, and check-ins have none", 'set data.items=""')
