"""Feedback that a service has stored, as further raw interactions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data.raw import RAW_INTERACTIONS, RawData, positions, raw_table
from hnlm_ray.run.feedback import event_files, read_events

__all__ = ["with_feedback"]

_BEHIND_ALL_FILES = 1 << 20
"""The number by which feedback counts among the files: more than any data set has."""


def with_feedback(raw: RawData, config: DataConfig) -> RawData:
    """Add the events of ``data.feedback`` behind the interactions of the files, where the option is set.

    A client that got no answer sends its events again. Of events with the same id the one that was received first
    counts; those without an id all do.

    Args:
        raw: the data as it was read.
        config: the section ``data``.

    Returns:
        the same with more interactions, and with the counts ``feedback_events`` and ``feedback_repeated``.

    Raises:
        DataError: there is no such folder, or a file in it is damaged.
    """
    if config.feedback is None:
        return raw
    events = read_events(config.feedback, event_files(config.feedback, config.feedback_until))
    events = events.sort_by([("received", "ascending")])
    first = events.filter(_is_first(events["id"]))
    rows = raw_table(
        RAW_INTERACTIONS,
        positions(_BEHIND_ALL_FILES, np.arange(1, len(first) + 1)),
        user_id=first["user_id"],
        item_id=first["item_id"],
        rating=first["rating"],
        moment=first["time"],
    )
    counts = {"feedback_events": len(events), "feedback_repeated": len(events) - len(first)}
    return replace(raw, interactions=pa.concat_tables([raw.interactions, rows]), counts={**raw.counts, **counts})


def _is_first(ids: pa.ChunkedArray) -> pa.Array:
    """Boolean mask (n,) of the rows whose id has not come before, and of those without one."""
    codes = pc.index_in(ids, value_set=pc.unique(ids)).to_numpy()
    is_first = pc.is_null(ids).to_numpy().copy()
    is_first[np.unique(codes, return_index=True)[1]] = True
    return pa.array(is_first)
