"""Clean, filter, number and split raw rows into the tables of a run; equal input gives equal tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data.cleaning import Events, clean_items, events_of, latest_of_pair
from hnlm_ray.data.filters import k_core, keep_dated, keep_latest, keep_rated
from hnlm_ray.data.findings import findings
from hnlm_ray.data.ids import Meeting, clean_ids, meeting, with_ids
from hnlm_ray.data.raw import Column, RawData, gather
from hnlm_ray.data.splits import pairs_in_two_splits, split, thinned
from hnlm_ray.data.text import clean_text
from hnlm_ray.data.times import Times
from hnlm_ray.errors import DataError
from hnlm_ray.tables import INTERACTIONS, ITEMS, SPLITS, TRUTH, USERS

__all__ = ["Prepared", "prepare_tables", "renumber_truth"]

_Rule = Callable[[Events], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Prepared:
    """The tables of a run.

    Attributes:
        users, items, interactions: as :mod:`hnlm_ray.tables` says.
        counts: rows of each table and split, and how many rows each rule touched.
        notes: lines that say how the data was read.
        warnings: sentences about what may spoil a result.
    """

    users: pa.Table
    items: pa.Table
    interactions: pa.Table
    counts: dict[str, int]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def prepare_tables(raw: RawData, config: DataConfig, seed: int) -> Prepared:
    """Clean, filter, number and split a data set, in this order.

    Users and items are numbered from 0 in the sorted order of their ids; interactions are sorted by user, then by time.

    Args:
        raw: what the readers gave.
        config: the section ``data``: filters and split.
        seed: of the run; a random split is drawn from it.

    Returns:
        the tables ``users``, ``items`` and ``interactions``, and what was counted.

    Raises:
        DataError: no interaction is left, most times are unusable, ids of interactions and items do not meet, or the
            split is impossible.
    """
    counts = Counter(raw.counts)
    interactions, catalogue = _identified(raw, counts)
    events, user_ids, item_ids, times, event_counts = events_of(interactions)
    # A column of nulls means that the data has no such column.
    labelled = None if interactions["split"].null_count == len(interactions) else interactions["split"]
    counts["pairs_in_two_splits"] = pairs_in_two_splits(events.users, events.items, labelled)
    events = _filtered(events, config, counts)
    known = _meeting(events, item_ids, catalogue, config)
    events = events.select(np.lexsort((events.order, events.users)))
    user_numbers, users = np.unique(events.users, return_inverse=True)
    item_numbers, items = np.unique(events.items, return_inverse=True)
    user_ids, item_ids = user_ids.take(pa.array(user_numbers)), item_ids.take(pa.array(item_numbers))
    written = gather(interactions.select(["review", "split"]), events.row)
    own = None if labelled is None else written["split"].to_numpy()
    names = user_ids.to_numpy(zero_copy_only=False)
    labels = split(config.split, seed, users, names, events.timestamp, events.present, own)
    if config.split.train_share < 1.0:
        stays = thinned(config.split.train_share, seed, users, names, labels)
        counts["dropped_by_train_share"] = int((~stays).sum())
        users, items, labels, events = users[stays], items[stays], labels[stays], events.select(stays)
        written = written.filter(pa.array(stays))
    reviews, review_counts = clean_text(written["review"])
    described, item_counts = clean_items(catalogue, item_ids)
    described = described.append_column("item", pa.array(np.arange(len(item_ids))))
    for found in (event_counts, review_counts, item_counts):
        counts.update(found)
    sizes = {"users": len(user_ids), "items": len(item_ids), "interactions": len(events)}
    shares = {name: int((labels == number).sum()) for number, name in enumerate(SPLITS)}
    counted = {**sizes, **shares, **counts}
    return Prepared(
        users=pa.table([pa.array(np.arange(len(user_ids)), pa.int32()), user_ids], schema=USERS),
        items=described.select(ITEMS.names).cast(ITEMS),
        interactions=_interaction_table(users, items, events, reviews, labels),
        counts=counted,
        notes=tuple(_notes(times, config)),
        warnings=(*raw.warnings, *findings(counted, len(interactions), len(catalogue), times, known)),
    )


def renumber_truth(truth: pa.Table, users: pa.Table, items: pa.Table) -> pa.Table:
    """Replace the ids in the truth of a generated world by the numbers of the users and items that were kept.

    Args:
        truth: ``user_id, item_id, probability``.
        users: the table of the run.
        items: likewise.

    Returns:
        the table ``truth``.
    """
    user = pc.index_in(truth["user_id"], value_set=users["user_id"].combine_chunks())
    item = pc.index_in(truth["item_id"], value_set=items["item_id"].combine_chunks())
    table = pa.table([user, item, truth["probability"]], schema=TRUTH)
    return table.filter(pc.and_(pc.is_valid(user), pc.is_valid(item))).sort_by(
        [("user", "ascending"), ("item", "ascending")]
    )


def _notes(times: Times, config: DataConfig) -> Iterator[str]:
    """How times were read."""
    if times.note:
        yield times.note
    if config.split.strategy == "leave_last_two" and not times.present.any():
        yield "there are no timestamps; the order of the rows stands in for time"


def _identified(raw: RawData, counts: Counter[str]) -> tuple[pa.Table, pa.Table]:
    """The raw interactions and items with clean ids, without the rows that lack one."""
    (user_ids,) = clean_ids(raw.interactions["user_id"])
    item_ids, own_ids = clean_ids(raw.interactions["item_id"], raw.items["item_id"])
    interactions, counts["interactions_without_id"] = with_ids(raw.interactions, user_id=user_ids, item_id=item_ids)
    catalogue, counts["items_without_id"] = with_ids(raw.items, item_id=own_ids)
    if interactions.num_rows == 0:
        raise DataError("the data has no interaction with a user id and an item id", "check data.path and data.columns")
    return interactions, catalogue


def _meeting(events: Events, item_ids: pa.Array, catalogue: pa.Table, config: DataConfig) -> Meeting | None:
    """How the items of the interactions that are left are found; None where the data has no file of items.

    Raises:
        DataError: more of them are unknown than ``data.max_unknown_items`` allows.
    """
    if config.items == "":
        return None
    found = meeting(events.items, item_ids, catalogue["item_id"])
    if found.share > config.max_unknown_items:
        raise DataError(
            found.sentence(f", more than data.max_unknown_items={config.max_unknown_items:g}"),
            'write the ids of both files alike, raise the limit, or set data.items="" to go without items',
        )
    return found


def _filtered(events: Events, config: DataConfig, counts: Counter[str]) -> Events:
    """Apply the filters in their order, and count what each drops.

    Histories are cut before the k-core is taken, so that every user and item ends up with ``k_core`` interactions.
    """
    first, last = config.date_from, config.date_to
    minimum = -np.inf if config.min_rating is None else config.min_rating
    rules: tuple[tuple[str, str, _Rule], ...] = (
        ("pairs_repeated", "", latest_of_pair),
        ("dropped_by_min_rating", f"data.min_rating={config.min_rating}", lambda e: keep_rated(e.rating, minimum)),
        (
            "dropped_by_date",
            f"data.date_from={first}, data.date_to={last}",
            lambda e: keep_dated(e.timestamp, e.present, first, last),
        ),
        (
            "dropped_by_max_history",
            f"data.max_history={config.max_history}",
            lambda e: keep_latest(e.users, e.order, config.max_history or len(e)),
        ),
        ("dropped_by_k_core", f"data.k_core={config.k_core}", lambda e: k_core(e.users, e.items, config.k_core)),
    )
    for name, option, rule in rules:
        left = events.select(rule(events))
        if len(left) == 0:
            raise DataError(f"{option} leaves none of {len(events):,} interactions", "loosen it, or check the raw data")
        counts[name] = len(events) - len(left)
        events = left
    return events


def _interaction_table(
    users: npt.NDArray[np.int64],
    items: npt.NDArray[np.int64],
    events: Events,
    reviews: Column,
    labels: npt.NDArray[np.int8],
) -> pa.Table:
    columns = [
        pa.array(users, pa.int32()),
        pa.array(items, pa.int32()),
        pa.array(events.rating, mask=np.isnan(events.rating)),
        pa.array(np.floor(events.timestamp).astype(np.int64), mask=~events.present),
        reviews.cast(pa.string()),
        pa.array(SPLITS).take(pa.array(labels)),
    ]
    return pa.table(columns, schema=INTERACTIONS)
