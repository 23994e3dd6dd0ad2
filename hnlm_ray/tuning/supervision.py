"""The supervising negative: which hard negative a language model is tuned to emit for a (user, item) pair.

The publication leaves this choice open. Behaviour leads: candidates are the items in a window of ranks of a CF
teacher's list, among items that the user has not met. Semantics refines: it may choose inside the window, and with the
teacher's consent it removes what looks like a false negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray import seeds
from hnlm_ray.config.tuning import SupervisionConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import DataError
from hnlm_ray.kernels.incidence import incidence
from hnlm_ray.kernels.ranking import ranked_block
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.tuning.neighbours import unmet_neighbours

__all__ = [
    "MATCHED_COLUMNS",
    "NO_ANSWER",
    "NO_CANDIDATE",
    "OK",
    "STRATEGIES",
    "Knowledge",
    "Targets",
    "Window",
    "choose_targets",
    "items_by_strategy",
    "likely_positives",
    "matched_items",
    "nearest_unmet",
    "teacher_window",
]

OK, NO_CANDIDATE, NO_ANSWER = "ok", "no_candidate", "no_answer"

STRATEGIES = ("window", "answer", "refined", "denoised")

MATCHED_COLUMNS = ["pair", "status", "negative"]
"""Columns of ``grounded`` that :func:`matched_items` reads."""

Floats = npt.NDArray[Any]

_PAIRS_AT_ONCE = 1024


@dataclass(frozen=True)
class Knowledge:
    """What the choice is made from.

    Attributes:
        train: train interactions; nothing in them is ever chosen.
        users: (U, d) float32, the teacher's user vectors.
        items: (I, d) float32, the teacher's item vectors.
        texts: (I, D), unit text vectors of the items.
    """

    train: Interactions
    users: Floats
    items: Floats
    texts: Floats

    def __post_init__(self) -> None:
        expected = {"users": self.train.n_users, "items": self.train.n_items, "texts": self.train.n_items}
        for name, rows in expected.items():
            if len(getattr(self, name)) != rows:
                raise DataError(
                    f"the teacher's {name} have {len(getattr(self, name))} rows, expected {rows}",
                    "take teacher, vectors and interactions from one run",
                )


@dataclass(frozen=True)
class Window:
    """The candidates of every user.

    Attributes:
        items: (U, L) int32, the teacher's ranks ``first`` to ``last`` among items not met, best first; -1 past the end.
        likely: (U, L) bool, candidates that teacher and semantics both call likely positives.
    """

    items: npt.NDArray[np.int32]
    likely: npt.NDArray[np.bool_]

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """(U, L): candidates that exist and pass the guard."""
        return (self.items >= 0) & ~self.likely


@dataclass(frozen=True)
class Targets:
    """What the model is to emit.

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


def teacher_window(knowledge: Knowledge, options: SupervisionConfig) -> Window:
    """The rank window of every user, and what the guard says of it.

    Args:
        knowledge: of the run.
        options: the window and the guard.
    """
    ranked = ranked_block(knowledge.users, knowledge.items, knowledge.train, options.last).items
    items = ranked[:, options.first - 1 :]
    if options.guard is None:
        return Window(items, np.zeros(items.shape, np.bool_))
    return Window(items, likely_positives(knowledge, items, options.guard))


def likely_positives(knowledge: Knowledge, candidates: npt.NDArray[np.int32], quantile: float) -> npt.NDArray[np.bool_]:
    """Candidates that look like what the user has met, to the teacher and in text: (U, L) bool.

    A user's own train items set both thresholds: the ``quantile`` of the teacher's scores of them, and that of the
    closeness of each of them to the mean text of the others. A user with one item has no second threshold, and nothing
    is removed for them.

    Args:
        knowledge: of the run.
        candidates: (U, L) items, -1 for none.
        quantile: in [0, 1]; the lower, the more is removed.
    """
    train = knowledge.train
    texts = knowledge.texts.astype(np.float32)
    sums = _text_sums(train, texts)
    others = sums[train.users] - texts[train.items]
    own_closeness = np.einsum("pd,pd->p", unit_rows(others), texts[train.items])
    own_scores = np.einsum("pd,pd->p", knowledge.users[train.users], knowledge.items[train.items])
    has_others = (train.degree > 1)[:, None]
    score_bar = _quantile_per_user(own_scores, train, quantile)[:, None]
    text_bar = _quantile_per_user(own_closeness, train, quantile)[:, None]
    likely = np.zeros(candidates.shape, np.bool_)
    means = unit_rows(sums)
    for start in range(0, train.n_users, _PAIRS_AT_ONCE):
        rows = slice(start, start + _PAIRS_AT_ONCE)
        chosen = np.maximum(candidates[rows], 0)
        scores = _products(knowledge.users[rows], knowledge.items, chosen)
        closeness = _products(means[rows], texts, chosen)
        likely[rows] = (scores >= score_bar[rows]) & (closeness >= text_bar[rows]) & has_others[rows]
    return likely & (candidates >= 0)


def choose_targets(
    pairs: npt.NDArray[np.int64],
    knowledge: Knowledge,
    options: SupervisionConfig,
    seed: int,
    answers: npt.NDArray[np.int32] | None = None,
) -> Targets:
    """The supervising negative of each pair.

    ``window``: a candidate, drawn. ``answer``: the catalogue item matched to what the language model wrote, unless the
    guard calls it a likely positive. ``refined``: the candidate with the largest ``near_item * cos(text, text of the
    pair's item) - far_from_user * cos(text, mean text of what the user has met)``. ``denoised``: the mean of the
    candidates' vectors, weighted by the softmax of the teacher's scores over ``options.temperature``.

    Args:
        pairs: (P,) int64 train pairs, ``user * n_items + item``.
        knowledge: of the run.
        options: the strategy.
        seed: of the draws; each pair has its own, whatever the order.
        answers: (P,) int32 matched items, -1 for none; only for ``answer``.

    Raises:
        DataError: the strategy needs answers and there are none.
    """
    users, positives = np.divmod(pairs, knowledge.train.n_items)
    if options.strategy == "answer":
        if answers is None:
            raise DataError("tune.supervision.strategy=answer needs written negatives", "run negatives and ground")
        return _of_items(pairs, _guarded_answers(users, answers, knowledge, options), knowledge, NO_ANSWER)
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
    """The item that the language model's answer was matched to, by pair: (P,) int32, -1 where there is none.

    Args:
        grounded: :data:`MATCHED_COLUMNS` of the table ``grounded``.
        pairs: (P,) int64, ascending and distinct.
    """
    matched = grounded.filter(pc.equal(grounded["status"], "matched"))
    places = np.searchsorted(pairs, matched["pair"].to_numpy())
    items = np.full(len(pairs), -1, np.int32)
    known = places < len(pairs)
    known[known] = pairs[places[known]] == matched["pair"].to_numpy()[known]
    items[places[known]] = matched["negative"].to_numpy()[known]
    return items


def nearest_unmet(targets: Targets, knowledge: Knowledge) -> npt.NDArray[np.int32]:
    """What each target stands for: its item, or the item not met whose vector is nearest by cosine; (P,) int32.

    -1 where there is no target.
    """
    nearest = targets.negatives.copy()
    places = np.flatnonzero((targets.status == OK) & (nearest < 0))
    users = targets.pairs[places] // knowledge.train.n_items
    nearest[places] = unmet_neighbours(targets.vectors[places], users, knowledge.items, knowledge.train, 1)[:, 0]
    return nearest


def items_by_strategy(
    knowledge: Knowledge, options: SupervisionConfig, seed: int, grounded: pa.Table | None
) -> dict[str, npt.NDArray[np.int32]]:
    """What each strategy would choose for every train pair: (P,) int32 by its name, -1 where there is no target.

    Args:
        knowledge: of the run.
        options: of every strategy, whichever they name.
        seed: of the draws.
        grounded: :data:`MATCHED_COLUMNS` of the table ``grounded``; None leaves the strategy ``answer`` out.
    """
    pairs = knowledge.train.keys
    answers = None if grounded is None else matched_items(grounded, pairs)
    chosen = {}
    for strategy in STRATEGIES:
        if strategy != "answer" or answers is not None:
            own = options.model_copy(update={"strategy": strategy})
            chosen[strategy] = nearest_unmet(choose_targets(pairs, knowledge, own, seed, answers), knowledge)
    return chosen


def _guarded_answers(
    users: npt.NDArray[np.int64], answers: npt.NDArray[np.int32], knowledge: Knowledge, options: SupervisionConfig
) -> npt.NDArray[np.int32]:
    unmet = np.where(knowledge.train.contains(users, np.maximum(answers, 0)), np.int32(-1), answers)
    if options.guard is None:
        return unmet
    # The guard judges a row of candidates per user: a user's answers, side by side.
    order = np.argsort(users, kind="stable")
    counts = np.bincount(users, minlength=knowledge.train.n_users)
    place = np.empty(len(users), np.int64)
    place[order] = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((knowledge.train.n_users, int(counts.max(initial=1))), -1, np.int32)
    table[users, place] = unmet
    likely: npt.NDArray[np.bool_] = likely_positives(knowledge, table, options.guard)
    return np.where(likely[users, place], np.int32(-1), unmet)


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
    tastes = unit_rows(_text_sums(knowledge.train, texts))
    chosen = np.full(len(users), -1, np.int32)
    for start in range(0, len(users), _PAIRS_AT_ONCE):
        rows = slice(start, start + _PAIRS_AT_ONCE)
        user = users[rows]
        asked = options.near_item * texts[positives[rows]] - options.far_from_user * tastes[user]
        candidates, usable = window.items[user], window.usable[user]
        closeness = np.where(usable, _products(asked, texts, np.maximum(candidates, 0)), -np.inf)
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
    for start in range(0, len(mean), _PAIRS_AT_ONCE):
        rows = slice(start, start + _PAIRS_AT_ONCE)
        candidates, usable = np.maximum(window.items[rows], 0), window.usable[rows]
        scores = np.where(usable, _products(knowledge.users[rows], knowledge.items, candidates) / temperature, -np.inf)
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


def _products(rows: Floats, table: Floats, chosen: npt.NDArray[np.integer]) -> Floats:
    """(B, L): inner products of each row (B, d) with the rows of ``table`` that ``chosen`` (B, L) names."""
    products: Floats = np.einsum("bd,bld->bl", rows, table[chosen])
    return products


def _text_sums(train: Interactions, texts: Floats) -> Floats:
    """(U, D): the sum of the text vectors of what each user has met."""
    sums: Floats = incidence(train) @ texts
    return sums


def _quantile_per_user(values: Floats, train: Interactions, quantile: float) -> Floats:
    """The ``quantile`` of each user's values, the lower of the two around it; infinite for a user without any."""
    order = np.lexsort((values, train.users))  # users are grouped already: sorts inside each
    place = train.offsets[:-1] + np.floor(quantile * np.maximum(train.degree - 1, 0)).astype(np.int64)
    bars = np.full(train.n_users, np.inf)
    some = train.degree > 0
    bars[some] = values[order][place[some]]
    return bars
