"""The name that a model wrote, matched to the catalogue in three steps: exact, fuzzy, nearest text vector.

1. **Exact**, after :func:`normalised`. Similarity 1.
2. **Fuzzy**: the catalogue name of the highest ratio (RapidFuzz: ``1 - d / (|a| + |b|)``, d the insert-delete
   distance), as written or with the words sorted, whichever is higher, if it is at least ``ground.fuzzy``. The first
   forgives misspelling, the second word order. Token-set and partial scores are not used: a short title inside a long
   answer would score as high as the right one.
3. **Vector**: the item with the highest cosine that the user has not seen, if the cosine is at least ``ground.vector``.

The first two steps ask what the name means, and so look at the whole catalogue; if the user has that item in train, the
status is ``interacted``. A name that several items share stands for the first of them that the user has seen, or else
for the first of all.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.config.language import GroundConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.kernels.runs import places_in_runs
from hnlm_ray.tables import GROUNDED

__all__ = ["Catalogue", "NameMatches", "Vectors", "ground", "is_none", "match_names", "normalised"]

_NOT_WORD = re.compile(r"[\W_]+")
_BLOCK = 512
"""Answers compared at once, which bounds memory to ``_BLOCK * items`` scores."""


def normalised(name: str) -> str:
    """The form in which names are compared: Unicode NFKC, case folded, punctuation and spaces as single spaces."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())  # folding can undo NFKC
    return _NOT_WORD.sub(" ", folded).strip()


def is_none(name: str) -> bool:
    """Whether the model named nothing: a blank, or "none" in any case and punctuation."""
    return normalised(name) in ("", "none")


@dataclass(frozen=True)
class Catalogue:
    """The items by normalised name; those whose name is blank are left out.

    Attributes:
        names: N distinct names, sorted.
        offsets: (N + 1,) int64; the items of name ``n`` are ``items[offsets[n] : offsets[n + 1]]``.
        items: int32, ascending within a name.
    """

    names: list[str]
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]

    @classmethod
    def of(cls, titles: Sequence[str]) -> Catalogue:
        """From one title per item, in the order of the item numbers."""
        keys = np.array([normalised(title) for title in titles], dtype=object)
        named = np.flatnonzero(keys != "").astype(np.int32)
        names, codes = np.unique(keys[named].astype(str), return_inverse=True)
        order = np.argsort(codes, kind="stable")
        offsets = np.searchsorted(codes[order], np.arange(len(names) + 1))
        return cls(names.tolist(), offsets.astype(np.int64), named[order])


@dataclass(frozen=True)
class NameMatches:
    """What the exact and the fuzzy step found for each of A distinct answers.

    Attributes:
        answers: the answers, as the model wrote them.
        catalogue: the names that they were compared with.
        name: (A,) int64 index into :attr:`Catalogue.names`, -1 where neither step matched.
        similarity: (A,) float32 in [0, 1].
        exact: (A,) bool, whether the exact step matched.
    """

    answers: Sequence[str]
    catalogue: Catalogue
    name: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float32]
    exact: npt.NDArray[np.bool_]

    @property
    def unmatched(self) -> npt.NDArray[np.int64]:
        """Indices of the answers that are left for the vector step."""
        return np.flatnonzero(self.name < 0)


@dataclass(frozen=True)
class Vectors:
    """Text vectors of unit length.

    Attributes:
        items: (I, d) float32.
        answers: (A, d) float32; only the rows of :attr:`NameMatches.unmatched` are read.
    """

    items: npt.NDArray[np.float32]
    answers: npt.NDArray[np.float32]


def match_names(answers: Sequence[str], catalogue: Catalogue, fuzzy: float) -> NameMatches:
    """The exact and the fuzzy step; of names that are equally similar, the first in alphabetical order wins.

    Args:
        answers: distinct, as the model wrote them.
        catalogue: the names to compare with.
        fuzzy: the least similarity of the fuzzy step.
    """
    index = {name: number for number, name in enumerate(catalogue.names)}
    keys = [normalised(answer) for answer in answers]
    name = np.array([index.get(key, -1) for key in keys], np.int64)
    exact = name >= 0
    similarity = exact.astype(np.float32)
    rest = np.flatnonzero(~exact)
    sorted_names = [_sorted_words(name) for name in catalogue.names]
    for start in range(0, len(rest) if sorted_names else 0, _BLOCK):
        rows = rest[start : start + _BLOCK]
        queries = [keys[row] for row in rows]
        scores = np.maximum(
            _ratios(queries, catalogue.names, fuzzy),
            _ratios([_sorted_words(query) for query in queries], sorted_names, fuzzy),
        )
        best = scores.argmax(axis=1)
        score = scores[np.arange(len(rows)), best]
        hit = (score >= fuzzy) & (score > 0)
        name[rows[hit]], similarity[rows[hit]] = best[hit], score[hit]
    return NameMatches(answers, catalogue, name, similarity, exact)


def _sorted_words(text: str) -> str:
    return " ".join(sorted(text.split()))


def _ratios(queries: list[str], names: list[str], least: float) -> npt.NDArray[np.float32]:
    """(queries, names) similarities in [0, 1]; those below ``least`` are 0."""
    from rapidfuzz import fuzz, process

    scores: npt.NDArray[np.float32] = process.cdist(
        queries, names, scorer=fuzz.ratio, score_cutoff=100 * least, dtype=np.float32, workers=-1
    )
    return scores / np.float32(100)


def ground(
    negatives: pa.Table, matches: NameMatches, vectors: Vectors, history: Interactions, config: GroundConfig
) -> pa.Table:
    """Decide for every written negative which item it names, if any.

    Args:
        negatives: the columns ``pair``, ``user``, ``item`` and ``answer``; a rejected answer is "" and so ``none``.
        matches: of every distinct answer that names something.
        vectors: of all items, and of the answers that ``matches`` left unmatched.
        history: the train interactions.
        config: the thresholds.

    Returns:
        A table of :data:`hnlm_ray.tables.GROUNDED`, in the order of ``negatives``.
    """
    index = {answer: number for number, answer in enumerate(matches.answers)}
    answer = np.array([index.get(text, -1) for text in negatives["answer"].to_pylist()], np.int64)
    user = negatives["user"].to_numpy()
    size, name = len(answer), np.full(len(answer), -1)
    status, step = np.where(answer < 0, "none", "out_of_catalogue").astype(object), np.full(size, "", object)
    similarity, chosen = np.full(size, np.nan, np.float32), np.full(size, -1, np.int32)
    name[answer >= 0] = matches.name[answer[answer >= 0]]
    by_name = np.flatnonzero(name >= 0)
    item, seen = _items_named(name[by_name], user[by_name], matches.catalogue, history)
    chosen[by_name] = item
    status[by_name] = np.where(seen, "interacted", "matched")
    step[by_name] = np.where(matches.exact[answer[by_name]], "exact", "fuzzy")
    similarity[by_name] = matches.similarity[answer[by_name]]
    by_vector = np.flatnonzero((name < 0) & (answer >= 0))
    item, cosine = _nearest_unseen(user[by_vector], vectors.answers[answer[by_vector]], vectors.items, history)
    hit = cosine >= config.vector
    by_vector = by_vector[hit]
    chosen[by_vector], similarity[by_vector] = item[hit], cosine[hit]
    status[by_vector], step[by_vector] = "matched", "vector"
    columns = {
        **{name: negatives[name] for name in ("pair", "user", "item", "answer")},
        "status": pa.array(status, pa.string()),
        "step": pa.array(step, pa.string()),
        "similarity": pa.array(np.clip(similarity, 0, 1), mask=np.isnan(similarity)),
        "negative": pa.array(chosen, mask=chosen < 0),
    }
    return pa.table(columns).cast(GROUNDED)


def _items_named(
    name: npt.NDArray[np.int64], user: npt.NDArray[np.int32], catalogue: Catalogue, history: Interactions
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """The item that each row's name stands for, and whether the user has seen it."""
    first, counts = catalogue.offsets[name], np.diff(catalogue.offsets)[name]
    row = np.repeat(np.arange(len(name)), counts)
    candidate = catalogue.items[first[row] + places_in_runs(counts)]
    is_seen = history.contains(user[row], candidate)
    item, seen = catalogue.items[first], np.zeros(len(name), bool)
    rows_seen, at = np.unique(row[is_seen], return_index=True)
    item[rows_seen], seen[rows_seen] = candidate[is_seen][at], True
    return item, seen


def _nearest_unseen(
    user: npt.NDArray[np.int32],
    vectors: npt.NDArray[np.float32],
    item_vectors: npt.NDArray[np.float32],
    history: Interactions,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The item of the highest cosine that each row's user has not seen; -inf where they have seen every item."""
    item, cosine = np.zeros(len(user), np.int32), np.full(len(user), -np.inf, np.float32)
    for start in range(0, len(user), _BLOCK):
        rows = slice(start, start + _BLOCK)
        scores = vectors[rows] @ item_vectors.T
        for place, owner in enumerate(user[rows]):
            scores[place, history.row(owner)] = -np.inf
        item[rows] = scores.argmax(axis=1)
        cosine[rows] = scores.max(axis=1)
    return item, cosine
