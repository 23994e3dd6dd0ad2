"""Parquet tables with the columns that RecTools' ``Dataset.construct`` takes.

::

    train.parquet, valid.parquet, test.parquet    user_id, item_id, weight, datetime
    items.parquet            item_id, title, brand, categories, description
    item_features.parquet    id, feature, value: a row per category of an item and per brand
    negatives.parquet        user_id, item_id, negative_id, source; where there are negatives

Source: https://rectools.readthedocs.io.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnlm_ray.errors import DataError
from hnlm_ray.exchange.run_data import RunData
from hnlm_ray.kernels.runs import places_in_runs, runs_of
from hnlm_ray.tables import SPLITS

__all__ = ["write"]

_MOMENT = pa.timestamp("us")  # what pandas and Parquet both have


def write(data: RunData, folder: Path, name: str) -> list[str]:
    """Write the files.

    Args:
        data: of a run.
        folder: exists and is empty.
        name: of the data set; no file has it.

    Returns:
        Sentences for the user.

    Raises:
        DataError: some interactions have a time and others do not.
    """
    moments, said = _moments(data.interactions)
    rows = pa.table(
        {
            "user_id": data.interactions["user_id"],
            "item_id": data.interactions["item_id"],
            "weight": pc.fill_null(data.interactions["rating"], 1.0),
            "datetime": moments,
        }
    )
    for split in SPLITS:
        pq.write_table(rows.filter(pc.equal(data.interactions["split"], split)), folder / f"{split}.parquet")
    pq.write_table(data.items, folder / "items.parquet")
    pq.write_table(_features(data.items), folder / "item_features.parquet")
    if data.negatives.num_rows:
        pq.write_table(data.negatives, folder / "negatives.parquet")
    return said


def _moments(interactions: pa.Table) -> tuple[pa.ChunkedArray, list[str]]:
    """The time of each interaction, and what there is to say about it."""
    times = interactions["timestamp"]
    if 0 < times.null_count < len(times):
        what = f"{times.null_count:,} of {len(times):,} interactions have no time, and RecTools needs one for each"
        raise DataError(what, "use --format recbole")
    if not times.null_count:
        return pc.multiply(times, 1_000_000).cast(_MOMENT), []
    users = pc.dictionary_encode(interactions["user_id"]).combine_chunks().indices.to_numpy()
    place = places_in_runs(runs_of(users)[1])
    said = "the data has no times: datetime counts the interactions of a user, as seconds from 1970"
    return pa.chunked_array([pa.array(place * 1_000_000, pa.int64()).cast(_MOMENT)]), [said]


def _features(items: pa.Table) -> pa.Table:
    """A row per category of an item, and per brand."""
    of = pc.list_parent_indices(items["categories"].combine_chunks())
    categories = {"id": items["item_id"].combine_chunks().take(of), "value": pc.list_flatten(items["categories"])}
    named = items.filter(pc.not_equal(items["brand"], ""))
    brands = {"id": named["item_id"], "value": named["brand"]}
    tables = [
        pa.table({"id": columns["id"], "feature": pa.repeat(feature, len(columns["id"])), "value": columns["value"]})
        for feature, columns in (("category", categories), ("brand", brands))
    ]
    return pa.concat_tables(tables)
