"""The name that a model wrote, matched to the catalogue in three steps: exact, fuzzy, nearest text vector.

1. **Exact**: as the title is written, or else :func:`folded <hnlm_ray.language.names.folded>`, or else
   :func:`normalised <hnlm_ray.language.names.normalised>`: "Yes?" is the item "Yes?" before "Yes!", and a title without
   a letter, such as "???", can be named as it is. Similarity 1.
2. **Fuzzy**: the normalised title of the highest ratio (RapidFuzz: ``1 - d / (|a| + |b|)``, d the insert-delete
   distance), as written or with the words sorted, whichever is higher, if it is at least ``ground.fuzzy``. The first
   forgives misspelling, the second word order. Token-set and partial scores are not used: a short title inside a long
   answer would score as high as the right one.
3. **Vector**: the item with the highest cosine that the user has not seen, if the cosine is at least ``ground.vector``.

Numbers, units and single letters (:mod:`hnlm_ray.language.marks`) must be the same of both in the second step; in the
third, the item must have those of the name.

"None" names nothing, since the prompt asks for this word. Other words that stand for no name, such as "N/A" or "-",
name an item only if its title is written so; a refusal names one only if the first two steps find it.

The first two steps ask what the name means, and so look at the whole catalogue; if the user has that item in train, the
status is ``interacted``. A name that several items share stands for the one of them that the user has seen, or else for
the one with the most train interactions; among equals, for the first of the catalogue.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.config.language import GroundConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.kernels.runs import places_in_runs
from hnlm_ray.language.marks import Agreement, Marks, marks_of
from hnlm_ray.language.names import folded, is_none, is_refusal, normalised, verbatim, words_of
from hnlm_ray.tables import GROUNDED

__all__ = ["Catalogue", "NameMatches", "Vectors", "ground", "match_names"]

_BLOCK = 512
"""Answers compared at once, which bounds memory to ``_BLOCK * items`` scores."""


@dataclass(frozen=True)
class Catalogue:
    """The items by name, in each of three spellings: as written, folded, and normalised.

    Attributes:
        folded: (I,) the folded titles.
        numbers: for each spelling, the number of each distinct name that is not blank; numbers go on from one spelling
            to the next, within one in the order of the names.
        offsets: (N + 1,) int64; the items of name ``n`` are ``items[offsets[n] : offsets[n + 1]]``.
        items: int32, within a name those with the most interactions first.
    """

    folded: list[str]
    numbers: tuple[dict[str, int], ...]
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]

    @classmethod
    def of(cls, titles: Sequence[str], popularity: npt.NDArray[np.int64] | None = None) -> Catalogue:
        """From one title per item, in the order of the item numbers.

        Args:
            titles: (I,).
            popularity: (I,) train interactions of each item; None: the same of each.
        """
        spellings = [[*map(verbatim, titles)]]
        for stricter in (folded, words_of):
            spellings.append([*map(stricter, spellings[-1])])
        rank = np.zeros(len(titles), np.int64) if popularity is None else -popularity
        numbers: list[dict[str, int]] = []
        items, codes = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
        for keys in spellings:
            first = sum(map(len, numbers))
            numbers.append({name: number for number, name in enumerate(sorted({*keys} - {""}), first)})
            number = np.array([numbers[-1].get(key, -1) for key in keys], np.int64)
            ranked = np.lexsort((rank, number)).astype(np.int32)
            items.append(ranked[np.searchsorted(number[ranked], 0) :])
            codes.append(number[items[-1]])
        offsets = np.searchsorted(np.concatenate(codes), np.arange(sum(map(len, numbers)) + 1))
        return cls(spellings[1], tuple(numbers), offsets.astype(np.int64), np.concatenate(items))

    @functools.cached_property
    def marks(self) -> list[Marks]:
        """(I,) what sets the titles apart from similar ones."""
        return [*map(marks_of, self.folded)]

    def exactly(self, answer: str) -> int:
        """The number of the name that an answer is, in the strictest spelling; -1 if it is none."""
        shown = verbatim(answer)
        if is_none(shown):
            return self.numbers[0].get(shown, -1) if normalised(shown) != "none" else -1
        spellings = zip(self.numbers, (shown, folded(shown), normalised(shown)), strict=True)
        return next((names[spelling] for names, spelling in spellings if spelling in names), -1)


@dataclass(frozen=True)
class NameMatches:
    """What the exact and the fuzzy step found for each of A distinct answers.

    Attributes:
        answers: the answers, as the model wrote them.
        catalogue: the names that they were compared with.
        name: (A,) int64 number of a name of the catalogue, -1 where neither step matched.
        similarity: (A,) float32 in [0, 1].
        exact: (A,) bool, whether the exact step matched.
        none: (A,) bool, whether the answer names nothing.
    """

    answers: Sequence[str]
    catalogue: Catalogue
    name: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float32]
    exact: npt.NDArray[np.bool_]
    none: npt.NDArray[np.bool_]

    @property
    def unmatched(self) -> npt.NDArray[np.int64]:
        """Indices of the answers that are left for the vector step."""
        return np.flatnonzero((self.name < 0) & ~self.none)


@dataclass(frozen=True)
class Vectors:
    """Text vectors of unit length.

    Attributes:
        items: (I, d) float32.
        answers: (L, d) float32, of the answers that :attr:`NameMatches.unmatched` lists.
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
    name = np.array([catalogue.exactly(answer) for answer in answers], np.int64)
    exact = name >= 0
    similarity = exact.astype(np.float32)
    none = np.array([is_none(answer) for answer in answers], bool) & ~exact
    rest = np.flatnonzero(~exact & ~none)
    names, first = list(catalogue.numbers[-1]), sum(map(len, catalogue.numbers[:-1]))
    marks = [catalogue.marks[item] for item in catalogue.items[catalogue.offsets[first:-1]]] if len(rest) else []
    queries = [normalised(answers[row]) for row in rest]
    spellings = [(queries, names), ([*map(_sorted_words, queries)], [*map(_sorted_words, names)])]
    for rows, columns, allowed in Agreement([marks_of(folded(answers[row])) for row in rest], marks).blocks(_BLOCK):
        scores = np.maximum(
            *(
                _ratios([mine[row] for row in rows], [theirs[column] for column in columns], fuzzy)
                for mine, theirs in spellings
            )
        )
        if allowed is not None:
            scores *= allowed
        best = scores.argmax(axis=1)
        score = scores[np.arange(len(rows)), best]
        hit = (score >= fuzzy) & (score > 0)
        name[rest[rows[hit]]], similarity[rest[rows[hit]]] = first + columns[best[hit]], score[hit]
    none[rest] = [name[row] < 0 and is_refusal(answers[row]) for row in rest]
    return NameMatches(answers, catalogue, name, similarity, exact, none)


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
        matches: of every distinct answer that is not "".
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
    none = (answer < 0) | np.append(matches.none, True)[answer]
    status, step = np.where(none, "none", "out_of_catalogue").astype(object), np.full(size, "", object)
    similarity, chosen = np.full(size, np.nan, np.float32), np.full(size, -1, np.int32)
    name[answer >= 0] = matches.name[answer[answer >= 0]]
    by_name = np.flatnonzero(name >= 0)
    item, seen = _items_named(name[by_name], user[by_name], matches.catalogue, history)
    chosen[by_name] = item
    status[by_name] = np.where(seen, "interacted", "matched")
    step[by_name] = np.where(matches.exact[answer[by_name]], "exact", "fuzzy")
    similarity[by_name] = matches.similarity[answer[by_name]]
    by_vector = np.flatnonzero((name < 0) & ~none)
    left = matches.unmatched
    agreement = Agreement(
        [marks_of(folded(matches.answers[row])) for row in left], matches.catalogue.marks if len(left) else []
    )
    rows = np.searchsorted(left, answer[by_vector])
    item, cosine = _nearest_unseen(user[by_vector], rows, vectors, agreement, history)
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
    left: npt.NDArray[np.int64],
    vectors: Vectors,
    agreement: Agreement,
    history: Interactions,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The item of the highest cosine, of those that each row's user has not seen and that have the answer's marks.

    Args:
        user: (n,) the user of each row.
        left: (n,) the row of its answer among the unmatched ones.
        vectors: of the items and of the unmatched answers.
        agreement: of the marks of the unmatched answers and of the items.
        history: the train interactions.

    Returns:
        (n,) items and (n,) cosines; -inf where there is no such item.
    """
    item, cosine = np.zeros(len(user), np.int32), np.full(len(user), -np.inf, np.float32)
    for start in range(0, len(user), _BLOCK):
        rows = slice(start, start + _BLOCK)
        scores = vectors.answers[left[rows]] @ vectors.items.T
        for place, owner in enumerate(user[rows]):
            scores[place, history.row(owner)] = -np.inf
        scores[~agreement.including(left[rows])] = -np.inf
        item[rows] = scores.argmax(axis=1)
        cosine[rows] = scores.max(axis=1)
    return item, cosine
