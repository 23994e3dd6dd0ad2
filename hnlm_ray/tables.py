"""The contracts: the schema of every table that one stage writes and another reads.

Users and items are numbered from 0 inside a run; their own ids stand once, in ``users`` and ``items``. A reader calls
:func:`conform` on what it read and a writer on what it is about to write, so that a wrong column fails at the boundary
with the artefact and the column named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from hnlm_ray.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "AVAILABILITY",
    "ENCODED",
    "FALSE_NEGATIVES",
    "GROUNDED",
    "HISTORY",
    "INTERACTIONS",
    "ITEMS",
    "ITEM_PROFILES",
    "ITEM_TOKENS",
    "ITEM_VECTORS",
    "METRICS",
    "NEGATIVES",
    "RECOMMENDATIONS",
    "SEARCH_TRIALS",
    "SPLITS",
    "STRATA",
    "SUPERVISION",
    "TABLES",
    "TRUTH",
    "TUNING",
    "USERS",
    "USER_METRICS",
    "USER_PROFILES",
    "USER_TOKENS",
    "WRITTEN_NEGATIVES",
    "conform",
    "pair_id",
]

_Ids = TypeVar("_Ids", int, "npt.NDArray[np.int64]")

SPLITS = ("train", "valid", "test")


def _table(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=True) for name, kind in columns.items()])


USERS = _table(user=pa.int32(), user_id=pa.string())
"""One row per user, sorted by ``user`` (0-based, dense)."""

ITEMS = _table(
    item=pa.int32(),
    item_id=pa.string(),
    title=pa.string(),
    brand=pa.string(),
    categories=pa.list_(pa.string()),  # from the widest to the narrowest
    description=pa.string(),
)
"""One row per item, sorted by ``item`` (0-based, dense). Text is never null: absent text is ``""`` or ``[]``."""

INTERACTIONS = _table(
    user=pa.int32(),
    item=pa.int32(),
    rating=pa.float32(),  # null where the data has none
    timestamp=pa.int64(),  # seconds since 1970; null where the data has none
    review=pa.string(),  # "" where the data has none
    split=pa.string(),  # one of SPLITS
)
"""One row per distinct (user, item), sorted by user, then by time (or by the order of the raw data)."""

TRUTH = _table(user=pa.int32(), item=pa.int32(), probability=pa.float32())
"""Generated worlds only: the probability that the user likes the item. No stage but ``evaluate`` may read it."""

_ANSWER = {
    "status": pa.string(),  # ok | invalid | truncated | failed
    "reason": pa.string(),  # why the status is not ok; "" when it is
    "attempts": pa.int32(),
    "prompt_tokens": pa.int32(),
    "output_tokens": pa.int32(),
}

ITEM_PROFILES = _table(item=pa.int32(), summary=pa.string(), reasoning=pa.string(), **_ANSWER)
"""One row per item, whatever the model answered; text is ``""`` unless ``status`` is ``ok``."""

USER_PROFILES = _table(user=pa.int32(), summary=pa.string(), reasoning=pa.string(), **_ANSWER)
"""One row per user with a train interaction, whatever the model answered."""

NEGATIVES = _table(
    pair=pa.int64(), user=pa.int32(), item=pa.int32(), answer=pa.string(), reasoning=pa.string(), **_ANSWER
)
"""One row per chosen (user, item) pair: the name of the hard negative as the model wrote it ("" for none)."""

ITEM_VECTORS = pa.schema([pa.field("item", pa.int32()), pa.field("vector", pa.list_(pa.float16()))])
"""Text vector of each item: unit length, the same dimension in every row."""

GROUNDED = _table(
    pair=pa.int64(),
    user=pa.int32(),
    item=pa.int32(),
    answer=pa.string(),
    status=pa.string(),  # matched | interacted | out_of_catalogue | none
    step=pa.string(),  # exact | fuzzy | vector | ""
    similarity=pa.float32(),  # in [0, 1], of the step that decided; null when none did
    negative=pa.int32(),  # the catalogue item; null unless status is matched or interacted
)
"""One row per row of ``negatives``: the answer matched to the catalogue."""

SUPERVISION = _table(
    pair=pa.int64(),
    user=pa.int32(),
    item=pa.int32(),
    status=pa.string(),  # ok | no_candidate | no_answer
    negative=pa.int32(),  # null unless the status is ok, and where the target is a mean of items
    vector=pa.list_(pa.float16()),  # in the teacher's space; empty unless the status is ok
)
"""One row per train pair: what the language model is tuned to emit."""

USER_TOKENS = _table(user=pa.int32(), tokens=pa.list_(pa.int32()))
"""One row per user: the text that stands for them, in tokens of the model to tune."""

ITEM_TOKENS = _table(item=pa.int32(), tokens=pa.list_(pa.int32()))
"""One row per item."""

TUNING = _table(
    epoch=pa.int32(),  # 0 is the encoder before tuning
    seconds=pa.float64(),  # of tuning so far, validation excluded
    loss=pa.float64(),  # mean over the pairs of the epoch; null at epoch 0
    valid_loss=pa.float64(),
    hit_1=pa.float64(),  # share of validation pairs whose vector is nearest to the supervising item, of all items
    hit_10=pa.float64(),  # with it among the ten nearest
    mrr=pa.float64(),
    nearer=pa.float64(),  # nearer to the supervising item than to the pair's own
)
"""Learning curve of the encoder."""

ENCODED = _table(
    pair=pa.int64(),
    user=pa.int32(),
    item=pa.int32(),
    vector=pa.list_(pa.float16()),  # of unit length, in the teacher's space
    nearest=pa.list_(pa.int32()),  # items not met, the nearest first
)
"""One row per encoded pair: the hard negative as the tuned encoder emits it."""

HISTORY = _table(
    epoch=pa.int32(),
    seconds=pa.float64(),  # since the start of training, evaluation excluded
    loss=pa.float64(),  # mean over the pairs of the epoch, all terms
    ranking_loss=pa.float64(),
    contrastive_loss=pa.float64(),
    valid_ndcg=pa.float64(),  # NDCG@20; null in epochs without a validation
    valid_recall=pa.float64(),
)
"""Learning curve of one fit, one row per epoch."""

METRICS = _table(
    variant=pa.string(),
    seed=pa.int32(),
    split=pa.string(),  # valid | test
    # recall, ndcg, precision, hit_rate, mrr, map, tie_rate, popularity, novelty, coverage, gini, and
    # intra_list_distance where items have text vectors
    metric=pa.string(),
    k=pa.int32(),
    value=pa.float64(),
)
"""One row per fit, split, metric and cut-off, averaged over the users with at least one held-out item.

Rankers that are not trained have rows too, with a null ``seed``; so it is in ``strata``.
"""

USER_METRICS = _table(
    variant=pa.string(),
    seed=pa.int32(),
    user=pa.int32(),
    recall=pa.float64(),
    ndcg=pa.float64(),
)
"""Test Recall and NDCG of each user at the selection cut-off."""

STRATA = _table(
    variant=pa.string(),
    seed=pa.int32(),
    kind=pa.string(),  # user_activity | item_popularity
    stratum=pa.int32(),  # from 0, the lowest
    low=pa.int64(),  # train interactions of its users, or items: the fewest
    high=pa.int64(),  # the most, inclusive
    size=pa.int64(),  # users, or held-out interactions, in it
    metric=pa.string(),  # recall | ndcg
    k=pa.int32(),
    value=pa.float64(),
)
"""Test figures at the selection cut-off of users by activity, and of held-out items by popularity."""

FALSE_NEGATIVES = _table(
    sampler=pa.string(),
    rate=pa.float64(),
    pairs=pa.int64(),
    hardness=pa.float64(),  # mean score of the negatives by the teacher of tune; null where none is known
)
"""Generated worlds only: the expected share of a sampler's negatives that the user would like."""

SEARCH_TRIALS = _table(
    variant=pa.string(),
    trial=pa.int32(),  # from 0, the variant as it is configured
    parameters=pa.string(),  # of the searched options: a JSON object of full path to value
    best_epoch=pa.int32(),  # null where the trial failed, as in the columns below
    valid_ndcg=pa.float64(),  # NDCG@20 at the best epoch
    epochs=pa.int32(),  # that were trained
    seconds=pa.float64(),  # of training, evaluation excluded
    status=pa.string(),  # ok | stopped, early because others were better | failed
    error=pa.string(),  # why it failed; "" where it did not
)
"""One row per trial of the search, sorted by variant and number; the test split is not read."""

WRITTEN_NEGATIVES = _table(
    user=pa.int32(),
    item=pa.int32(),
    answer=pa.string(),
    reasoning=pa.string(),
    status=pa.string(),  # of the match, as in GROUNDED
    negative=pa.int32(),  # the catalogue item; null where none was matched
)
"""In a bundle: the hard negatives that the model wrote, and what they were matched to, sorted by user."""

AVAILABILITY = _table(item_id=pa.string(), available=pa.bool_())
"""Beside the bundles of a service: what can be had at present. An item that is not listed can be had."""

RECOMMENDATIONS = _table(
    user_id=pa.string(),
    rank=pa.int32(),  # from 1, the best
    item_id=pa.string(),
    score=pa.float32(),
    source=pa.string(),  # personal | popular
)
"""Written by ``hnlm recommend --all-users``: the best items of every user."""

TABLES: dict[str, pa.Schema] = {
    "users": USERS,
    "items": ITEMS,
    "interactions": INTERACTIONS,
    "truth": TRUTH,
    "item_profiles": ITEM_PROFILES,
    "user_profiles": USER_PROFILES,
    "negatives": NEGATIVES,
    "item_vectors": ITEM_VECTORS,
    "grounded": GROUNDED,
    "supervision": SUPERVISION,
    "user_tokens": USER_TOKENS,
    "item_tokens": ITEM_TOKENS,
    "tuning": TUNING,
    "encoded": ENCODED,
    "history": HISTORY,
    "metrics": METRICS,
    "user_metrics": USER_METRICS,
    "strata": STRATA,
    "false_negatives": FALSE_NEGATIVES,
    "written_negatives": WRITTEN_NEGATIVES,
    "availability": AVAILABILITY,
    "recommendations": RECOMMENDATIONS,
    "trials": SEARCH_TRIALS,
}
"""Every table by the name under which a stage commits it."""


def pair_id(user: _Ids, item: _Ids, n_items: int) -> _Ids:
    """The number of a (user, item) pair: ``user * n_items + item``. Works on arrays of int64 too."""
    return user * n_items + item


def conform(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """Select and cast the columns of ``schema``, in its order.

    Args:
        table: any table; columns that the schema does not name are left out.
        schema: one of the schemas of this module.
        where: the artefact, named in the error.

    Raises:
        DataError: a column is missing, or cannot be cast without loss.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise DataError(
            f"{where} lacks the column {_listed(missing)}, it has {_listed(table.column_names)}",
            "write it with the schema of hnlm_ray.tables",
        )
    columns = []
    for field in schema:
        try:
            columns.append(table.column(field.name).cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            found = table.schema.field(field.name).type
            raise DataError(
                f"{where}: column {field.name!r} is {found}, expected {field.type} ({error})",
                "write it with the schema of hnlm_ray.tables",
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
