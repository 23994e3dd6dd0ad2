"""The data of a run under the ids of the raw data: what other libraries are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.errors import StoreError
from hnlm_ray.run.record import RunRecord
from hnlm_ray.run.stage import StageKey
from hnlm_ray.run.store import Artifact, RunStore

__all__ = ["RunData", "read_run"]

_LISTED = {"ground": ("grounded", "written"), "encode": ("encoded", "tuned")}
"""Stages that give hard negatives: their tables, and what the negatives are called."""


@dataclass(frozen=True)
class RunData:
    """Tables with ids instead of numbers.

    Attributes:
        interactions: ``user_id``, ``item_id``, ``rating``, ``timestamp`` (seconds, null where there is none) and
            ``split``, in the order of the run: by user, then by time.
        items: ``item_id``, ``title``, ``brand``, ``categories``, ``description``.
        negatives: ``user_id``, ``item_id``, ``negative_id``: items that the user would plausibly like beside that one,
            and does not; ``source`` is ``written`` by the language model or emitted by the ``tuned`` encoder.
    """

    interactions: pa.Table
    items: pa.Table
    negatives: pa.Table


def read_run(run: str) -> RunData:
    """The data of a run.

    Args:
        run: its folder or address.

    Raises:
        StoreError: it is no run, its data is not prepared, or a table is damaged.
    """
    record = RunRecord.read(RunStore(run), run)
    prepare = record.artifacts.get(StageKey("prepare"))
    if prepare is None or not prepare.is_complete:
        raise StoreError(f"the data of the run {run} is not prepared yet", f"finish it with `hnlm run {run}`")
    users, items = prepare.read("users")["user_id"].combine_chunks(), prepare.read("items")
    ids = items["item_id"].combine_chunks()
    rows = prepare.read("interactions", ["user", "item", "rating", "timestamp", "split"])
    interactions = pa.table(
        {"user_id": users.take(rows["user"]), "item_id": ids.take(rows["item"])}
        | {name: rows[name] for name in ("rating", "timestamp", "split")}
    )
    pieces = [
        _negatives(artifact, *_LISTED[key.kind], users, ids)
        for key, artifact in record.artifacts.items()
        if key.kind in _LISTED and artifact.is_complete
    ]
    empty = pa.table(dict.fromkeys(("user_id", "item_id", "negative_id", "source"), pa.array([], pa.string())))
    return RunData(interactions, items.drop_columns("item"), pa.concat_tables([empty, *pieces]))


def _negatives(artifact: Artifact, table: str, source: str, users: pa.Array, items: pa.Array) -> pa.Table:
    """The negative of each pair that has one: that a written name was matched to, or the nearest unseen item."""
    if table == "grounded":
        rows = artifact.read(table, ["user", "item", "status", "negative"])
        rows = rows.filter(pc.equal(rows["status"], "matched"))
    else:
        rows = artifact.read(table, ["user", "item", "nearest"])
        first = [next((item for item in near if item >= 0), None) for near in rows["nearest"].to_pylist()]
        rows = rows.append_column("negative", pa.array(first, pa.int32()))
        rows = rows.filter(pc.is_valid(rows["negative"]))
    order = np.lexsort((rows["item"].to_numpy(), rows["user"].to_numpy()))
    rows = rows.take(pa.array(order))
    ids = {"user_id": users.take(rows["user"]), "item_id": items.take(rows["item"])}
    return pa.table({**ids, "negative_id": items.take(rows["negative"]), "source": pa.repeat(source, rows.num_rows)})
