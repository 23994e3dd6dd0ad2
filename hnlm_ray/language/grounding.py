"""The name that a model wrote, matched to the catalogue in three steps: exact, fuzzy, nearest text vector.

1. **Exact**, after :func:`normalised`. Similarity 1.
2. **Fuzzy**: the catalogue name of the highest ratio (RapidFuzz: ``1 - d / (|a| + |b|)``, d the insert-delete
   distance), as written or with the words sorted, whichever is higher, if at least ``ground.fuzzy``. The first forgives
   misspelling, the second word order. Token-set and partial scores are not used: a short title inside a long answer
   would score as high as the right one.
3. **Vector**: the item of the highest cosine that the user has not met, if at least ``ground.vector``.

The first two ask what the name means and so look at the whole catalogue; if the user has that item in train, the status
is ``interacted``. A name that several items share stands for the first of them, unless the user has met one.
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
from hnlm_ray.tables import GROUNDED

__all__ = ["Catalogue", "NameMatches", "Vectors", "ground", "is_none", "match_names", "normalised"]

_NOT_WORD = re.compile(r"[\W_]+")
_BLOCK = 512
"""Answers compared at once; bounds memory to ``_BLOCK * items`` scores."""


def normalised(name: str) -> str:
    """Unicode NFKC, case folded, punctuation as spaces, single spaces."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())  # folding can undo NFKC
    return _NOT_WORD.sub(" ", folded).strip()


def is_none(name: str) -> bool:
    """Whether the model named nothing: blank, or ``None`` in any writing."""
    return normalised(name) in ("", "none")


@dataclass(frozen=True)
class Catalogue:
    """Names of the items, grouped by their normalised form.

    Attributes:
        names: distinct normalised names that are not blank, sorted.
        offsets: (names + 1,) int64; items of name ``n`` are ``items[offsets[n] : offsets[n + 1]]``.
        items: int32, ascending within a name.
    """

    names: list[str]
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]

    @classmethod
    def of(cls, titles: Sequence[str]) -> Catalogue:
        """From the title of each item, in the order of their numbers."""
        keys = np.array([normalised(title) for title in titles], dtype=object)
        named = np.flatnonzero(keys != "").astype(np.int32)
        names, codes = np.unique(keys[named].astype(str), return_inverse=True)
        order = np.argsort(codes, kind="stable")
        offsets = np.searchsorted(codes[order], np.arange(len(names) + 1))
        return cls(names.tolist(), offsets.astype(np.int64), named[order])


@dataclass(frozen=True)
class NameMatches:
    """The best catalogue name of each distinct answer by the exact and the fuzzy step.

    Attributes:
        answers: the distinct answers, as the model wrote them.
        catalogue: the names that were matched.
        name: int64 index into :attr:`Catalogue.names`, -1 where neither step matched.
        similarity: float32 in [0, 1].
        exact: bool, whether the exact step matched.
    """

    answers: Sequence[str]
    catalogue: Catalogue
    name: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float32]
    exact: npt.NDArray[np.bool_]

    @property
    def unnamed(self) -> npt.NDArray[np.int64]:
        """Places of the answers that are left for the vector step."""
        return np.flatnonzero(self.name < 0)


@dataclass(frozen=True)
class Vectors:
    """Text vectors of unit length.

    Attributes:
        items: (items, d) float32.
        answers: (answers, d) float32; rows of answers that have a name are not read.
    """

    items: npt.NDArray[np.float32]
    answers: npt.NDArray[np.float32]


def match_names(answers: Sequence[str], catalogue: Catalogue, fuzzy: float) -> NameMatches:
    """Steps one and two for distinct answers; ties go to the first name in alphabetical order.

    Args:
        answers: as the model wrote them.
        catalogue: the names to match.
        fuzzy: least similarity of step two.
    """
    place = {name: index for index, name in enumerate(catalogue.names)}
    keys = [normalised(answer) for answer in answers]
    name = np.array([place.get(key, -1) for key in keys], np.int64)
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
    negatives: pa.Table, matches: NameMatches, vectors: Vectors, met: npt.NDArray[np.int64], config: GroundConfig
) -> pa.Table:
    """Every row of ``negatives`` with what its answer means.

    Args:
        negatives: columns ``pair``, ``user``, ``item``, ``answer``; an answer that was rejected is "" and so ``none``.
        matches: of :func:`match_names`, for every distinct answer that names something.
        vectors: of the items, and of the answers without a name.
        met: sorted numbers of the train pairs.
        config: thresholds.

    Returns:
        A table of :data:`hnlm_ray.tables.GROUNDED`, in the order of ``negatives``.
    """
    n_items = len(vectors.items)
    index = {answer: code for code, answer in enumerate(matches.answers)}
    code = np.array([index.get(answer, -1) for answer in negatives["answer"].to_pylist()], np.int64)
    user = negatives["user"].to_numpy().astype(np.int64)
    result = _Result.empty(len(code))
    result.status[code < 0] = "none"
    rows = np.flatnonzero(code >= 0)
    by_name = rows[matches.name[code[rows]] >= 0]
    item, known = _items_of(matches.name[code[by_name]], user[by_name], matches.catalogue, met, n_items)
    result.item[by_name] = item
    result.status[by_name] = np.where(known, "interacted", "matched")
    result.step[by_name] = np.where(matches.exact[code[by_name]], "exact", "fuzzy")
    result.similarity[by_name] = matches.similarity[code[by_name]]
    by_vector = rows[matches.name[code[rows]] < 0]
    item, cosine = _nearest_unmet(user[by_vector], vectors.answers[code[by_vector]], vectors.items, met)
    hit = cosine >= config.vector
    result.item[by_vector[hit]], result.similarity[by_vector[hit]] = item[hit], cosine[hit]
    result.status[by_vector[hit]], result.step[by_vector[hit]] = "matched", "vector"
    return result.table(negatives)


@dataclass(frozen=True)
class _Result:
    """Columns under construction; ``item`` is -1 and ``similarity`` NaN where nothing decided."""

    status: npt.NDArray[np.object_]
    step: npt.NDArray[np.object_]
    similarity: npt.NDArray[np.float32]
    item: npt.NDArray[np.int32]

    @classmethod
    def empty(cls, size: int) -> _Result:
        return cls(
            np.full(size, "out_of_catalogue", object),
            np.full(size, "", object),
            np.full(size, np.nan, np.float32),
            np.full(size, -1, np.int32),
        )

    def table(self, negatives: pa.Table) -> pa.Table:
        columns = {
            "status": pa.array(self.status, pa.string()),
            "step": pa.array(self.step, pa.string()),
            "similarity": pa.array(np.clip(self.similarity, 0, 1), mask=np.isnan(self.similarity)),
            "negative": pa.array(self.item, mask=self.item < 0),
        }
        kept = {name: negatives[name] for name in ("pair", "user", "item", "answer")}
        return pa.table({**kept, **columns}).cast(GROUNDED)


def _items_of(
    name: npt.NDArray[np.int64],
    user: npt.NDArray[np.int64],
    catalogue: Catalogue,
    met: npt.NDArray[np.int64],
    n_items: int,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """The item of each row's name, and whether the user has met it: a met one comes before the first."""
    counts = np.diff(catalogue.offsets)[name]
    row = np.repeat(np.arange(len(name)), counts)
    within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    candidate = catalogue.items[catalogue.offsets[name][row] + within]
    known = _contains(met, user[row] * n_items + candidate)
    item = catalogue.items[catalogue.offsets[name]]
    first_known, where = np.unique(row[known], return_index=True)
    item[first_known] = candidate[known][where]
    is_known = np.zeros(len(name), bool)
    is_known[first_known] = True
    return item, is_known


def _nearest_unmet(
    user: npt.NDArray[np.int64],
    vectors: npt.NDArray[np.float32],
    item_vectors: npt.NDArray[np.float32],
    met: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The unmet item of the highest cosine for each row; -inf where the user has met every item."""
    n_items = len(item_vectors)
    item, cosine = np.zeros(len(user), np.int32), np.full(len(user), -np.inf, np.float32)
    for start in range(0, len(user), _BLOCK):
        rows = slice(start, start + _BLOCK)
        scores = vectors[rows] @ item_vectors.T
        low, high = np.searchsorted(met, user[rows] * n_items), np.searchsorted(met, (user[rows] + 1) * n_items)
        row = np.repeat(np.arange(len(scores)), high - low)
        at = np.arange(len(row)) - np.repeat(np.cumsum(high - low) - (high - low), high - low) + low[row]
        scores[row, met[at] % n_items] = -np.inf
        item[rows] = scores.argmax(axis=1)
        cosine[rows] = scores.max(axis=1)
    return item, cosine


def _contains(sorted_values: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    at = np.searchsorted(sorted_values, wanted)
    found = np.zeros(len(wanted), bool)
    inside = at < len(sorted_values)
    found[inside] = sorted_values[at[inside]] == wanted[inside]
    return found
