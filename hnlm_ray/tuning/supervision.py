"""The supervising negative: which hard negative a language model is tuned to emit for a (user, item) pair.

The publication leaves this choice open. Here interactions lead and texts refine: the candidates are those of
:mod:`hnlm_ray.tuning.candidates`, and every strategy but ``answer`` chooses among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray import seeds
from hnlm_ray.config.tuning import SupervisionConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import DataError
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.tables import SUPERVISION
from hnlm_ray.tuning.candidates import (
    BLOCK,
    Knowledge,
    Window,
    likely_positives,
    nearest_unseen,
    products,
    teacher_window,
    text_sums,
)

__all__ = [
    "MATCHED_COLUMNS",
    "NO_ANSWER",
    "NO_CANDIDATE",
    "OK",
    "STRATEGIES",
    "Targets",
    "choose_targets",
    "items_by_strategy",
    "matched_items",
    "nearest_items",
]

OK, NO_CANDIDATE, NO_ANSWER = "ok", "no_candidate", "no_answer"

STRATEGIES = ("window", "answer", "refined", "denoised")
"""Those that choose a negative."""

MATCHED_COLUMNS = ["pair", "status", "negative"]
"""Columns of ``grounded`` that :func:`matched_items` reads."""


@dataclass(frozen=True)
class Targets:
    """What the encoder is tuned to emit for some pairs.

    Attributes:
        pairs: (P,) int64, ``user * n_items + item``.
        negatives: (P,) int32, the chosen item; -1 where there is none, or where the target is a mean of items.
        vectors: (P, d) float32 in the teacher's space; zero where the status is not ``ok``.
        status: (P,) one of ``ok``, ``no_candidate`` and ``no_answer``.
    """

    pairs: npt.NDArray[np.int64]
    negatives: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.float32]
    status: npt.NDArray[np.str_]

    def to_table(self, n_items: int) -> pa.Table:
        """The table ``supervision``, one row per pair."""
        users, items = np.divmod(self.pairs, n_items)
        found = self.status == OK
        offsets = np.r_[0, np.cumsum(np.where(found, self.vectors.shape[1], 0))].astype(np.int32)
        vectors = pa.ListArray.from_arrays(offsets, pa.array(self.vectors[found].astype(np.float16).ravel()))
        columns = {
            "pair": self.pairs,
            "user": users,
            "item": items,
            "status": self.status.tolist(),
            "negative": pa.array(self.negatives, mask=self.negatives < 0),
            "vector": vectors,
        }
        return pa.table(columns).cast(SUPERVISION)


def choose_targets(
    pairs: npt.NDArray[np.int64],
    knowledge: Knowledge,
    options: SupervisionConfig,
    seed: int,
    answers: npt.NDArray[np.int32] | None = None,
) -> Targets:
    """The supervising negative of each pair.

    ``window``: a candidate drawn uniformly. ``answer``: the catalogue item that the written negative was matched to,
    unless the guard removes it. ``refined``: the candidate with the largest ``near_item * cos(text, text of the pair's
    item) - far_from_user * cos(text, mean text of the user's items)``. ``denoised``: the mean of the candidates'
    vectors, weighted by the softmax of the teacher's scores over ``options.temperature``. ``history`` chooses no
    negative, but another item of the user, drawn uniformly.

    Args:
        pairs: (P,) int64 train pairs, ``user * n_items + item``.
        knowledge: of the run.
        options: the strategy.
        seed: of the run; the draw of a pair does not depend on the other pairs.
        answers: (P,) int32 matched items, -1 for none; only for ``answer``.

    Raises:
        DataError: the strategy needs answers and there are none.
    """
    users, positives = np.divmod(pairs, knowledge.train.n_items)
    if options.strategy == "answer":
        if answers is None:
            raise DataError("tune.supervision.strategy=answer needs written negatives", "run negatives and ground")
        return _of_items(pairs, _guarded_answers(users, answers, knowledge, options), knowledge, NO_ANSWER)
    if options.strategy == "history":
        return _of_items(pairs, _others_of_user(pairs, knowledge.train, seed), knowledge, NO_CANDIDATE)
    window = teacher_window(knowledge, options)
    match options.strategy:
        case "window":
            chosen = _drawn(pairs, users, window, seed)
        case "refined":
            chosen = _refined(users, positives, window, knowledge, options)
        case _:
            return _means(pairs, users, window, knowledge, options.temperature)
    return _of_items(pairs, chosen, knowledge, NO_CANDIDATE)


def matched_items(grounded: pa.Table, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """The item that the written negative of each pair was matched to: (P,) int32, -1 for none.

    Args:
        grounded: :data:`MATCHED_COLUMNS` of the table ``grounded``.
        pairs: (P,) int64, ascending and distinct.
    """
    matched = grounded.filter(pc.equal(grounded["status"], "matched"))
    rows = pc.index_in(pa.array(pairs), value_set=matched["pair"].combine_chunks())
    items: npt.NDArray[np.int32] = pc.fill_null(matched["negative"].take(rows), -1).to_numpy().astype(np.int32)
    return items


def nearest_items(targets: Targets, knowledge: Knowledge) -> npt.NDArray[np.int32]:
    """The item that each target stands for: (P,) int32, -1 where there is no target.

    For a mean of items, this is the unseen item whose vector is nearest by cosine.
    """
    nearest = targets.negatives.copy()
    places = np.flatnonzero((targets.status == OK) & (nearest < 0))
    users = targets.pairs[places] // knowledge.train.n_items
    nearest[places] = nearest_unseen(targets.vectors[places], users, knowledge.items, knowledge.train, 1)[:, 0]
    return nearest


def items_by_strategy(
    knowledge: Knowledge, options: SupervisionConfig, seed: int, grounded: pa.Table | None
) -> dict[str, npt.NDArray[np.int32]]:
    """The items that each strategy would choose for the train pairs: by name (P,) int32, -1 for none.

    Args:
        knowledge: of the run.
        options: of every strategy; the one that they name does not matter.
        seed: of the run.
        grounded: :data:`MATCHED_COLUMNS` of the table ``grounded``; None leaves the strategy ``answer`` out.
    """
    pairs = knowledge.train.keys
    answers = None if grounded is None else matched_items(grounded, pairs)
    chosen = {}
    for strategy in STRATEGIES:
        if strategy != "answer" or answers is not None:
            own = options.model_copy(update={"strategy": strategy})
            chosen[strategy] = nearest_items(choose_targets(pairs, knowledge, own, seed, answers), knowledge)
    return chosen


def _guarded_answers(
    users: npt.NDArray[np.int64], answers: npt.NDArray[np.int32], knowledge: Knowledge, options: SupervisionConfig
) -> npt.NDArray[np.int32]:
    unseen = np.where(knowledge.train.contains(users, np.maximum(answers, 0)), np.int32(-1), answers)
    if options.guard is None:
        return unseen
    # The guard takes a row of candidates per user: the user's answers side by side.
    order = np.argsort(users, kind="stable")
    counts = np.bincount(users, minlength=knowledge.train.n_users)
    place = np.empty(len(users), np.int64)
    place[order] = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((knowledge.train.n_users, int(counts.max(initial=1))), -1, np.int32)
    table[users, place] = unseen
    likely: npt.NDArray[np.bool_] = likely_positives(knowledge, table, options.guard)
    return np.where(likely[users, place], np.int32(-1), unseen)


def _others_of_user(pairs: npt.NDArray[np.int64], train: Interactions, seed: int) -> npt.NDArray[np.int32]:
    """For each train pair another train item of its user, drawn uniformly; -1 where there is none."""
    users = pairs // train.n_items
    first, degree = train.offsets[users], train.degree[users]
    steps = 1 + seeds.hash_counters(seeds.derive(seed, "supervision"), pairs) % np.maximum(degree - 1, 1).astype(
        np.uint64
    )
    place = np.searchsorted(train.keys, pairs) - first
    chosen = train.items[first + (place + steps.astype(np.int64)) % degree]
    return np.where(degree > 1, chosen, np.int32(-1))


def _drawn(
    pairs: npt.NDArray[np.int64], users: npt.NDArray[np.int64], window: Window, seed: int
) -> npt.NDArray[np.int32]:
    usable = window.usable
    # Usable candidates first, in the teacher's order.
    order = np.argsort(~usable, axis=1, kind="stable")
    counts = usable.sum(axis=1)[users]
    words = seeds.hash_counters(seeds.derive(seed, "supervision"), pairs)
    place = (words % np.maximum(counts, 1).astype(np.uint64)).astype(np.int64)
    chosen = window.items[users, order[users, place]]
    return np.where(counts > 0, chosen, np.int32(-1))


def _refined(
    users: npt.NDArray[np.int64],
    positives: npt.NDArray[np.int64],
    window: Window,
    knowledge: Knowledge,
    options: SupervisionConfig,
) -> npt.NDArray[np.int32]:
    texts = knowledge.texts.astype(np.float32)
    tastes = unit_rows(text_sums(knowledge.train, texts))
    chosen = np.full(len(users), -1, np.int32)
    for start in range(0, len(users), BLOCK):
        rows = slice(start, start + BLOCK)
        user = users[rows]
        wanted = options.near_item * texts[positives[rows]] - options.far_from_user * tastes[user]
        candidates, usable = window.items[user], window.usable[user]
        closeness = np.where(usable, products(wanted, texts, np.maximum(candidates, 0)), -np.inf)
        best = candidates[np.arange(len(user)), closeness.argmax(axis=1)]
        chosen[rows] = np.where(usable.any(axis=1), best, np.int32(-1))
    return chosen


def _means(
    pairs: npt.NDArray[np.int64],
    users: npt.NDArray[np.int64],
    window: Window,
    knowledge: Knowledge,
    temperature: float,
) -> Targets:
    """One mean per user: every pair of a user has the same candidates."""
    mean = np.zeros((knowledge.train.n_users, knowledge.items.shape[1]), np.float32)
    for start in range(0, len(mean), BLOCK):
        rows = slice(start, start + BLOCK)
        candidates, usable = np.maximum(window.items[rows], 0), window.usable[rows]
        scores = np.where(usable, products(knowledge.users[rows], knowledge.items, candidates) / temperature, -np.inf)
        highest = scores.max(axis=1, keepdims=True, initial=-np.inf)
        weights = np.exp(scores - np.where(np.isfinite(highest), highest, 0.0))
        total = np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        mean[rows] = np.einsum("ul,uld->ud", weights / total, knowledge.items[candidates])
    has_any: npt.NDArray[np.bool_] = np.any(window.usable, axis=1)
    found = has_any[users]
    vectors = np.where(found[:, None], mean[users], np.float32(0.0))
    return Targets(pairs, np.full(len(pairs), -1, np.int32), vectors, np.where(found, OK, NO_CANDIDATE))


def _of_items(
    pairs: npt.NDArray[np.int64], chosen: npt.NDArray[np.int32], knowledge: Knowledge, absent: str
) -> Targets:
    found = chosen >= 0
    vectors = np.where(found[:, None], knowledge.items[np.maximum(chosen, 0)], np.float32(0.0)).astype(np.float32)
    return Targets(pairs, chosen, vectors, np.where(found, OK, absent))
