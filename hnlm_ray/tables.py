"""The schema of every table that one stage writes and another reads.

A run numbers its users and items from 0; only the tables ``users`` and ``items`` hold their ids. Tables are checked by
:func:`conform` when they are written and when they are read, so that an error names the file and the column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "AVAILABILITY",
    "ENCODED",
    "ENCODED_ITEMS",
    "FALSE_NEGATIVES",
    "FEEDBACK",
    "GROUNDED",
    "GUARD",
    "GUARD_LIKES",
    "HISTORY",
    "INTERACTIONS",
    "ITEMS",
    "ITEM_FEATURES",
    "ITEM_PROFILES",
    "ITEM_TOKENS",
    "ITEM_VECTORS",
    "METRICS",
    "NEGATIVES",
    "NEIGHBOURS",
    "NEW_ITEMS",
    "RECOMMENDATIONS",
    "SEARCH_TRIALS",
    "SPLITS",
    "STRATA",
    "STUDY",
    "STUDY_FITS",
    "SUPERVISION",
    "TABLES",
    "TRUTH",
    "TUNING",
    "USERS",
    "USER_FEATURES",
    "USER_METRICS",
    "USER_PROFILES",
    "USER_TOKENS",
    "WRITTEN_NEGATIVES",
    "conform",
    "pair_id",
]

_Ids = TypeVar("_Ids", int, "npt.NDArray[np.int64]")

SPLITS = ("train", "valid", "test")
"""To fit on, to choose epochs and options on, to report."""


def _table(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=True) for name, kind in columns.items()])


USERS = _table(user=pa.int32(), user_id=pa.string())
"""The users of the run: the number of each and its id in the raw data; sorted by number, without gaps."""

ITEMS = _table(
    item=pa.int32(),
    item_id=pa.string(),
    title=pa.string(),
    brand=pa.string(),
    categories=pa.list_(pa.string()),  # from the widest to the narrowest
    description=pa.string(),
)
"""The catalogue of the run, sorted by number, without gaps. Text is never null: absent text is ``""`` or ``[]``."""

INTERACTIONS = _table(
    user=pa.int32(),
    item=pa.int32(),
    rating=pa.float32(),  # null where the data has none
    timestamp=pa.int64(),  # seconds since 1970; null where the data has none
    review=pa.string(),  # "" where the data has none
    split=pa.string(),  # one of SPLITS
)
"""Who interacted with what, one row per pair, sorted by user, then by time or, without times, in the raw order."""

_FEATURE = {
    "feature": pa.string(),  # a column of ``data.features``
    "value": pa.float64(),  # of a numeric one; null of a categorical one
    "names": pa.list_(pa.string()),  # of a categorical one, at least one; null of a numeric one
}

ITEM_FEATURES = _table(item=pa.int32(), **_FEATURE)
"""What items have beside text, one row per item and feature that it has, sorted by feature and then by item."""

USER_FEATURES = _table(user=pa.int32(), **_FEATURE)
"""The same of users."""

TRUTH = _table(user=pa.int32(), item=pa.int32(), probability=pa.float32())
"""For a generated world: the probability that a user likes an item. Only the stage ``evaluate`` may read it."""

_ANSWER = {
    "status": pa.string(),  # ok | invalid | truncated | failed
    "reason": pa.string(),  # why the status is not ok; "" when it is
    "excerpt": pa.string(),  # the first 200 characters of an answer that could not be used; otherwise ""
    "attempts": pa.int32(),  # how often the model was asked
    "prompt_tokens": pa.int32(),  # of all attempts
    "output_tokens": pa.int32(),  # of all attempts
}
"""How the language model answered."""

ITEM_PROFILES = _table(item=pa.int32(), summary=pa.string(), reasoning=pa.string(), **_ANSWER)
"""What the language model wrote about each item: who would enjoy it. Text is ``""`` unless ``status`` is ``ok``."""

USER_PROFILES = _table(user=pa.int32(), summary=pa.string(), reasoning=pa.string(), **_ANSWER)
"""What the language model wrote about the taste of each user with a train interaction; otherwise like item profiles."""

NEGATIVES = _table(
    pair=pa.int64(), user=pa.int32(), item=pa.int32(), answer=pa.string(), reasoning=pa.string(), **_ANSWER
)
"""The hard negative that the language model named for each chosen pair, as it wrote it; ``""`` for none."""

ITEM_VECTORS = pa.schema([pa.field("item", pa.int32()), pa.field("vector", pa.list_(pa.float16()))])
"""The text vector of each item, of unit length; all have the same dimension."""

NEIGHBOURS = _table(item=pa.int32(), neighbour=pa.int32(), similarity=pa.float32())
"""The nearest other items of each item, sorted by item, the nearest first; similarities are cosines above 0."""

GUARD = _table(
    user=pa.int32(),
    item=pa.int32(),
    rank=pa.int32(),  # from 1, the likeliest
    weight=pa.float32(),  # in [0, 1], with which the item may serve as a negative of the user
)
"""Unseen items that users would probably like, sorted by user and rank; a pair that is not in it has weight 1."""

GROUNDED = _table(
    pair=pa.int64(),
    user=pa.int32(),
    item=pa.int32(),
    answer=pa.string(),
    status=pa.string(),  # matched | interacted | out_of_catalogue | none
    step=pa.string(),  # how it was matched: exact | fuzzy | vector | ""
    similarity=pa.float32(),  # in [0, 1], by that step; null where there was none
    negative=pa.int32(),  # the catalogue item; null unless status is matched or interacted
)
"""What each row of ``negatives`` was matched to in the catalogue."""

SUPERVISION = _table(
    pair=pa.int64(),
    user=pa.int32(),
    item=pa.int32(),
    status=pa.string(),  # ok | no_candidate | no_answer
    negative=pa.int32(),  # null unless the status is ok, and where the target is a mean of items
    vector=pa.list_(pa.float16()),  # in the teacher's space; empty unless the status is ok
)
"""The hard negative that the encoder is tuned to emit for each train pair."""

USER_TOKENS = _table(user=pa.int32(), tokens=pa.list_(pa.int32()))
"""The text of each user, in token ids of the model to tune."""

ITEM_TOKENS = _table(item=pa.int32(), tokens=pa.list_(pa.int32()))
"""The text of each item, in token ids of the model to tune."""

TUNING = _table(
    epoch=pa.int32(),  # 0 is the encoder before tuning
    seconds=pa.float64(),  # of tuning so far, validation excluded
    loss=pa.float64(),  # mean over the pairs of the epoch; null at epoch 0
    valid_loss=pa.float64(),
    hit_1=pa.float64(),  # share of validation pairs whose vector is nearest to the supervising item, among all items
    hit_10=pa.float64(),  # the same for the ten nearest items
    mrr=pa.float64(),  # mean reciprocal rank of the supervising item
    nearer=pa.float64(),  # share of validation pairs that are nearer to the supervising item than to their own
)
"""The learning curve of the encoder, one row per epoch."""

ENCODED = _table(
    pair=pa.int64(),
    user=pa.int32(),
    item=pa.int32(),
    vector=pa.list_(pa.float16()),  # of unit length, in the teacher's space
    nearest=pa.list_(pa.int32()),  # unseen items, the nearest first; -1 past the end
)
"""The hard negative that the tuned encoder emits for each encoded pair."""

ENCODED_ITEMS = _table(
    item=pa.int32(),
    vector=pa.list_(pa.float16()),  # of unit length, in the teacher's space
)
"""The tuned encoder's own vector of each item; only an encoder of the form ``factorised`` has one."""

HISTORY = _table(
    epoch=pa.int32(),
    seconds=pa.float64(),  # since the start of training, evaluation excluded
    loss=pa.float64(),  # mean over the pairs of the epoch, all terms
    ranking_loss=pa.float64(),
    contrastive_loss=pa.float64(),
    valid_ndcg=pa.float64(),  # NDCG@20; null in epochs without a validation
    valid_recall=pa.float64(),
)
"""The learning curve of one fit, one row per epoch."""

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
"""The metrics of each fit on each split at each cut-off: means over the users with at least one held-out item.

Rankers that are not trained have rows too, with a null ``seed``, as in ``strata``.
"""

USER_METRICS = _table(
    variant=pa.string(),
    seed=pa.int32(),
    user=pa.int32(),
    recall=pa.float64(),
    ndcg=pa.float64(),
)
"""Test Recall and NDCG of each user, at the cut-off that epochs are selected by."""

STRATA = _table(
    variant=pa.string(),
    seed=pa.int32(),
    kind=pa.string(),  # user_activity | item_popularity
    stratum=pa.int32(),  # from 0, the lowest
    low=pa.int64(),  # train interactions of a user, or of an item, in it: the fewest
    high=pa.int64(),  # the most
    size=pa.int64(),  # users, or held-out interactions, in it
    metric=pa.string(),  # recall | ndcg
    k=pa.int32(),
    value=pa.float64(),
)
"""Test metrics of users by activity, and of held-out items by popularity, at the same cut-off."""

FALSE_NEGATIVES = _table(
    sampler=pa.string(),
    rate=pa.float64(),
    pairs=pa.int64(),
    hardness=pa.float64(),  # mean score of the negatives by the teacher of the encoder; null where there is none
)
"""For a generated world: the expected share of each sampler's negatives that the user would like."""

GUARD_LIKES = _table(
    guard=pa.string(),
    first=pa.int32(),  # of each user's guarded items, how many are looked at
    pairs=pa.int64(),
    liked=pa.float64(),  # expected share of these that the user would like
    unseen=pa.float64(),  # the same share of all pairs outside train
)
"""For a generated world: how likely the guarded items are liked, beside all unseen ones."""

SEARCH_TRIALS = _table(
    variant=pa.string(),
    trial=pa.int32(),  # from 0, the variant as it is configured
    parameters=pa.string(),  # the searched options: a JSON object of dotted paths and values
    best_epoch=pa.int32(),  # null where the trial failed, as in the columns below
    valid_ndcg=pa.float64(),  # NDCG@20 at the best epoch
    epochs=pa.int32(),  # that were trained
    seconds=pa.float64(),  # of training, evaluation excluded
    status=pa.string(),  # ok | stopped, because others were better | cut, because the epochs were used up | failed
    error=pa.string(),  # why it failed; "" where it did not
)
"""The trials of the search, sorted by variant and number; they do not read the test split."""

STUDY_FITS = _table(
    variant=pa.string(),
    trial=pa.int32(),  # from 0, the variant as it is configured
    drawn=pa.string(),  # the searched options: a JSON object of dotted paths and values
    options=pa.string(),  # all options of the variant in this trial, as JSON
    seed=pa.int32(),
    status=pa.string(),  # ok | failed
    error=pa.string(),  # why it failed; "" where it did not
    chosen=pa.bool_(),  # whether its trial is the one of its variant that is judged
    valid_ndcg=pa.float64(),  # NDCG@20 at the best epoch; null where the fit failed, as in the columns below
    epochs=pa.int32(),  # that were trained; 0 of a variant that is computed
    best_epoch=pa.int32(),
    seconds=pa.float64(),  # of training, validation excluded
    cpu_seconds=pa.float64(),  # of the fit's process on all its threads, validation included
    parameters=pa.int64(),  # numbers in the model
    # On the test split, at 20; null where the trial was not chosen, too.
    ndcg=pa.float64(),
    recall=pa.float64(),
    coverage=pa.float64(),  # share of the catalogue that is recommended to at least one user
    popularity=pa.float64(),  # mean train interactions of the recommended items
)
"""The fits of a study: of every trial with the screening seeds, and of the chosen ones with all seeds."""

STUDY = _table(
    variant=pa.string(),
    method=pa.string(),  # its backbone, sampler, loss and further parts as text
    trials=pa.int32(),  # that did not fail
    trial=pa.int32(),  # the chosen one; null where all failed, as in the columns below
    drawn=pa.string(),  # the searched options of it: a JSON object of dotted paths and values
    options=pa.string(),  # all its options, as JSON
    seeds=pa.int32(),  # fits that are judged
    # Means over the seeds, with sample standard deviations, which are null for a single seed.
    valid_ndcg=pa.float64(),
    ndcg=pa.float64(),
    ndcg_sd=pa.float64(),
    recall=pa.float64(),
    recall_sd=pa.float64(),
    # The difference of test NDCG@20 to the variant that all are compared with, over users; null for itself.
    difference=pa.float64(),
    low=pa.float64(),  # end of the 95 % interval
    high=pa.float64(),
    p=pa.float64(),  # paired t-test over users
    p_holm=pa.float64(),  # adjusted for the number of variants
    coverage=pa.float64(),
    popularity=pa.float64(),
    epochs=pa.float64(),
    seconds=pa.float64(),
    cpu_seconds=pa.float64(),
    parameters=pa.float64(),
)
"""The variants of a study in their order; figures are those of the table ``study_fits``."""


WRITTEN_NEGATIVES = _table(
    user=pa.int32(),
    item=pa.int32(),
    answer=pa.string(),
    reasoning=pa.string(),
    status=pa.string(),  # of the match, as in GROUNDED
    negative=pa.int32(),  # the catalogue item; null where none was matched
)
"""In a bundle: the hard negatives that the language model named, and their matches, sorted by user."""

NEW_ITEMS = _table(**{field.name: field.type for field in ITEMS if field.name != "item"})
"""Beside the bundles of a service: items that training has not seen, without numbers."""

AVAILABILITY = _table(item_id=pa.string(), available=pa.bool_())
"""Beside the bundles of a service: which items are available now; those not listed are."""

FEEDBACK = _table(
    id=pa.string(),  # of the event, by the client: of those with the same one the first counts; null where it gave none
    user_id=pa.string(),
    item_id=pa.string(),
    rating=pa.float32(),  # null where the client gave none
    time=pa.float64(),  # seconds since 1970
    received=pa.float64(),  # when the service got it, likewise
)
"""What users did while they were served: the events of ``POST /v1/feedback``, which ``prepare`` reads again."""

RECOMMENDATIONS = _table(
    user_id=pa.string(),
    rank=pa.int32(),  # from 1, the best
    item_id=pa.string(),
    score=pa.float32(),
    source=pa.string(),  # personal | popular
)
"""The best items for every user, as ``hnlm recommend --all-users`` writes them."""

TABLES: dict[str, pa.Schema] = {
    "users": USERS,
    "items": ITEMS,
    "interactions": INTERACTIONS,
    "item_features": ITEM_FEATURES,
    "user_features": USER_FEATURES,
    "truth": TRUTH,
    "item_profiles": ITEM_PROFILES,
    "user_profiles": USER_PROFILES,
    "negatives": NEGATIVES,
    "item_vectors": ITEM_VECTORS,
    "neighbours": NEIGHBOURS,
    "guard": GUARD,
    "grounded": GROUNDED,
    "supervision": SUPERVISION,
    "user_tokens": USER_TOKENS,
    "item_tokens": ITEM_TOKENS,
    "tuning": TUNING,
    "encoded": ENCODED,
    "encoded_items": ENCODED_ITEMS,
    "history": HISTORY,
    "metrics": METRICS,
    "user_metrics": USER_METRICS,
    "strata": STRATA,
    "false_negatives": FALSE_NEGATIVES,
    "guard_likes": GUARD_LIKES,
    "written_negatives": WRITTEN_NEGATIVES,
    "availability": AVAILABILITY,
    "new_items": NEW_ITEMS,
    "feedback": FEEDBACK,
    "recommendations": RECOMMENDATIONS,
    "trials": SEARCH_TRIALS,
    "study": STUDY,
    "study_fits": STUDY_FITS,
}
"""Every table by its name, which is also that of its file."""


def pair_id(user: _Ids, item: _Ids, n_items: int) -> _Ids:
    """The number of a (user, item) pair, ``user * n_items + item``, of integers or of int64 arrays."""
    return user * n_items + item


def conform(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """Select and cast the columns of ``schema``, in its order.

    Args:
        table: any table; columns that the schema does not name are left out.
        schema: one of the schemas of this module.
        where: its file; the error names it.

    Raises:
        DataError: a column is missing, cannot be cast without loss, or holds NaN or an infinity: what has no value is
            null.
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
        _check_finite(columns[-1], field.name, where)
    return pa.Table.from_arrays(columns, schema=schema)


def _check_finite(column: pa.ChunkedArray, name: str, where: str) -> None:
    is_list = pa.types.is_list(column.type)
    if not pa.types.is_floating(column.type.value_type if is_list else column.type):
        return
    for start, chunk in _chunks(column):
        finite = pc.is_finite(chunk.flatten() if is_list else chunk)
        if pc.all(finite, min_count=0).as_py():  # nulls are left out
            continue
        place = pc.index(finite, value=False).as_py()
        row = start + (pc.list_parent_indices(chunk)[place].as_py() if is_list else place)
        raise DataError(
            f"{where}: column {name!r} holds NaN or an infinity in row {row}, expected numbers or null",
            "delete the folder of this file and run its stage again",
        )


def _chunks(column: pa.ChunkedArray) -> Iterator[tuple[int, pa.Array]]:
    """The chunks of a column, each with the number of its first row."""
    start = 0
    for chunk in column.chunks:
        yield start, chunk
        start += len(chunk)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
