"""Recommendations out of a bundle, without Ray and without a server."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Unpack

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.kernels.scan import Scan
from hnlm_ray.kernels.selection import best_items, mask_rows
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.serving.bundle.bundle import Bundle, BundleInfo, load_bundle
from hnlm_ray.serving.bundle.cold_start import history_features
from hnlm_ray.serving.bundle.shelf import at_present
from hnlm_ray.serving.recommend.catalogue import Catalogue
from hnlm_ray.serving.recommend.diversity import diversify, pool_size
from hnlm_ray.serving.recommend.index import Index
from hnlm_ray.serving.recommend.text_encoder import TextEncoder
from hnlm_ray.serving.recommend.wishes import WishArgs, Wishes

__all__ = ["ItemScore", "Ranking", "Recommendation", "RecommendedItem", "Recommender", "Source"]

Source = Literal["personal", "folded_in", "profile", "popular"]
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_SCANNED_PER_SHOWN = 16

_MANY = 64
"""Users from which on the product is worth dividing into tiles."""

_NOTHING = np.empty(0, dtype=np.int32)

_SCORES_AT_ONCE, _CANDIDATES_AT_ONCE = 3 << 21, 1 << 20
"""Bound the memory of a large request: 24 MiB of float32; 20 MiB of numbers, scores and their order."""


@dataclass(frozen=True, slots=True)
class RecommendedItem:
    """One line of a recommendation.

    Attributes:
        item_id: the catalogue's own id.
        title: as the catalogue has it; may be empty.
        score: inner product of the vectors less the penalty on popularity; for popular items, the number of
            interactions; for similar items, the cosine.
    """

    item_id: str
    title: str
    score: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer for one user.

    Attributes:
        items: best first; fewer than asked where the wishes or what the user has met leave no more.
        source: ``personal``: by the trained vector; ``folded_in``: by a history; ``profile``: by a text; ``popular``:
            nothing is known about the user.
        bundle_version: of the bundle that answered.
    """

    items: tuple[RecommendedItem, ...]
    source: Source
    bundle_version: str


@dataclass(frozen=True, slots=True)
class ItemScore:
    """How well one item suits one user.

    Attributes:
        item_id: as asked.
        score: None for an item that the catalogue lacks.
        seen: whether the user has met it.
    """

    item_id: str
    score: float | None
    seen: bool


@dataclass(frozen=True, slots=True)
class Ranking:
    """A recommendation in numbers.

    Attributes:
        items: (n,) integers, best first.
        scores: (n,) float32.
        source: as in :class:`Recommendation`.
    """

    items: npt.NDArray[np.integer]
    scores: Floats
    source: Source


class Recommender:
    """Scores the whole catalogue for a user and keeps the best; safe to call from several threads.

    Items come in the order score descending, then position in the catalogue ascending, so that ties are the same on
    every machine.
    """

    def __init__(self, bundle: Bundle) -> None:
        contents = bundle.contents
        self.bundle = bundle
        self.catalogue = Catalogue(contents.items, contents.popularity)
        self._users, self._vectors = contents.user_vectors, contents.item_vectors
        self._offsets, self._seen = contents.seen_offsets, contents.seen_items
        self._popularity = contents.popularity.astype(np.float32)
        self._encoder = None if bundle.encoder is None else TextEncoder(bundle.encoder)
        self._index: Index | None = None
        self._scan = Scan(self._vectors) if Scan.suits(*self._vectors.shape) else None
        self._rows: dict[str, int] = {}
        # A user without a single interaction has a vector that nothing has trained.
        known = np.flatnonzero(np.diff(self._offsets))
        names = contents.users["user_id"].to_numpy(zero_copy_only=False)
        for start in range(0, len(known), 10_000):  # in steps, so that other threads get their turn
            rows = known[start : start + 10_000]
            self._rows.update(zip(names[rows].tolist(), rows.tolist(), strict=True))

    @classmethod
    def load(cls, path: str) -> Recommender:
        """Read a bundle from a folder, local or remote; of a shelf the current one, without what cannot be had now.

        Raises:
            BundleError: it is missing or damaged.
            DataError: the shelf's availability lacks a column.
        """
        place, unavailable = at_present(path)
        recommender = cls(load_bundle(place))
        recommender.catalogue.set_unavailable(unavailable)
        return recommender

    @property
    def info(self) -> BundleInfo:
        """What the bundle says about itself."""
        return self.bundle.info

    def knows(self, user_id: str) -> bool:
        """Whether the user gets personal recommendations."""
        return user_id in self._rows

    @property
    def reads_text(self) -> bool:
        """Whether :meth:`recommend_from_text` can answer."""
        return self._encoder is not None

    def use_index(self, index: Index | None) -> None:
        """From now on find personal recommendations by an index over all items, where no wish names some of them."""
        self._index = index

    def row_of(self, user_id: str) -> int:
        """The number of a user who gets personal recommendations; KeyError for anybody else."""
        return self._rows[user_id]

    def history(self, user_id: str) -> npt.NDArray[np.int32]:
        """Numbers of the items that a user has met, ascending; KeyError where nothing is known."""
        row = self._rows[user_id]
        return self._seen[self._offsets[row] : self._offsets[row + 1]]

    def user_ids(self) -> Sequence[str]:
        """Everybody who gets personal recommendations, in the order of the bundle."""
        return list(self._rows)

    def find_users(self, prefix: str, limit: int) -> list[str]:
        """At most so many ids of them that begin with a prefix, in alphabetical order."""
        start = bisect.bisect_left(self._sorted_ids, prefix)
        found = itertools.takewhile(lambda user_id: user_id.startswith(prefix), self._sorted_ids[start : start + limit])
        return list(found)

    @functools.cached_property
    def _sorted_ids(self) -> list[str]:
        # Arrow lets other threads have their turn meanwhile; its order of bytes is that of characters.
        ids = list(self._rows)
        return [ids[place] for place in pc.sort_indices(pa.array(ids, pa.string())).to_numpy().tolist()]

    def recommend(self, user_id: str, k: int = 10, **wishes: Unpack[WishArgs]) -> Recommendation:
        """The ``k`` best items for one user.

        Args:
            user_id: as in the raw data; anybody else gets popular items.
            k: at least 1.
            wishes: attributes of :class:`hnlm_ray.serving.recommend.wishes.Wishes`.

        Raises:
            ValueError: a wish is out of range.
        """
        return self.recommend_many([user_id], k, **wishes)[0]

    def recommend_many(self, user_ids: Sequence[str], k: int = 10, **wishes: Unpack[WishArgs]) -> list[Recommendation]:
        """:meth:`recommend` for many users at once, in their order.

        A score can differ in its last bit from that of a single request, because the products are summed in another
        order.
        """
        return [self.named(ranking) for ranking in self.rank(user_ids, Wishes.of(k, wishes))]

    def recommend_from_history(
        self, item_ids: Sequence[str], k: int = 10, **wishes: Unpack[WishArgs]
    ) -> Recommendation:
        """For somebody whom training has not seen, from items that they met; popular items where none is known."""
        return self.named(self.fold_in(item_ids, Wishes.of(k, wishes)))

    def recommend_from_text(self, text: str, k: int = 10, **wishes: Unpack[WishArgs]) -> Recommendation:
        """For somebody of whom there is only a text, such as a profile; popular items where it says nothing.

        Raises:
            LookupError: the bundle has no text encoder.
        """
        return self.named(self.from_text(text, Wishes.of(k, wishes)))

    def similar_items(self, item_id: str, k: int = 10, **wishes: Unpack[WishArgs]) -> tuple[RecommendedItem, ...]:
        """The items whose vectors have the largest cosine with this one's, without itself.

        Raises:
            KeyError: the catalogue lacks it.
        """
        return self.named(self.similar(item_id, Wishes.of(k, wishes))).items

    def score(self, user_id: str, item_ids: Sequence[str]) -> list[ItemScore]:
        """How well each item suits a user, seen or not.

        Raises:
            KeyError: nothing is known about the user.
        """
        history, vector = self.history(user_id), self._users[self._rows[user_id]]
        known = self.catalogue.known(item_ids)
        scores = iter((self._vectors[known] @ vector).tolist())
        seen = iter(np.isin(known, history).tolist())
        return [
            ItemScore(item_id, next(scores), next(seen))
            if item_id in self.catalogue
            else ItemScore(item_id, None, seen=False)
            for item_id in item_ids
        ]

    def rank(self, user_ids: Sequence[str], wishes: Wishes) -> list[Ranking]:
        """:meth:`recommend_many` in numbers."""
        rows = self._rows
        found = np.array([rows.get(user_id, -1) for user_id in user_ids], dtype=np.int64)
        known = np.flatnonzero(found >= 0)
        if len(known) == len(found):
            return self.rank_rows(found, wishes)
        answers = [self._popular(wishes)] * len(found)
        for place, ranking in zip(known.tolist(), self.rank_rows(found[known], wishes), strict=True):
            answers[place] = ranking
        return answers

    def rank_rows(self, rows: Rows, wishes: Wishes) -> list[Ranking]:
        """:meth:`rank` for users by their numbers, all of them known."""
        narrow = bool(wishes.categories) or wishes.include_items is not None
        if self._index is not None and not narrow and not wishes.popularity_penalty:
            return self._rank_by_index(self._index, rows, wishes)
        forbidden = self.catalogue.forbids(wishes)
        # Where many items are asked for, the scan would score most of them twice.
        few = _SCANNED_PER_SHOWN * wishes.k <= len(self.catalogue)
        if self._scan is not None and few and len(rows) == 1 and not wishes.popularity_penalty:
            return [self._rank_alone(self._scan, int(rows[0]), forbidden, wishes)]
        if len(rows) >= _MANY and not wishes.diversity and not wishes.popularity_penalty:
            best = zip(*self.best_rows(rows, wishes), strict=True)
            return [Ranking(items[:found], scores[:found], "personal") for items, scores, found in best]
        return self._rank_exactly(rows, forbidden, wishes)

    def _rank_alone(self, scan: Scan, row: int, forbidden: Floats | None, wishes: Wishes) -> Ranking:
        seen = self._seen[self._offsets[row] : self._offsets[row + 1]] if wishes.exclude_seen else _NOTHING
        width = pool_size(wishes.k) if wishes.diversity else wishes.k
        items, scores = scan.best(self._users[row], width, seen, forbidden)
        return self._diversified(Ranking(items, scores, "personal"), wishes)

    def best_rows(self, rows: Rows, wishes: Wishes) -> tuple[npt.NDArray[np.int32], Floats, Rows]:
        """:meth:`rank_rows` for a great many users, in arrays; exact, also where an index is in use.

        Args:
            rows: (B,) int64, all of them known.
            wishes: without diversity and without a penalty on popularity.

        Returns:
            Items and scores, both (B, at most k), best first, and how many places of each row are filled (B,).

        Raises:
            ValueError: a wish needs all scores of a user at once.
        """
        from hnlm_ray.kernels.tiles import Seen, best_products

        if wishes.diversity or wishes.popularity_penalty:
            raise ValueError("diversity and popularity_penalty are for rank_rows")
        seen = Seen(rows, self._offsets, self._seen) if wishes.exclude_seen else None
        forbidden = self.catalogue.forbids(wishes)
        return best_products(self._users[rows], self._vectors, wishes.k, seen, forbidden)

    def _rank_exactly(self, rows: Rows, forbidden: Floats | None, wishes: Wishes) -> list[Ranking]:
        step = max(1, _SCORES_AT_ONCE // len(self.catalogue))
        rankings: list[Ranking] = []
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            scores = self._scores(self._users[block], wishes)
            if wishes.exclude_seen:
                mask_rows(scores, block, self._offsets, self._seen)
            rankings += self._best(scores, forbidden, wishes, "personal")
        return rankings

    def _rank_by_index(self, index: Index, rows: Rows, wishes: Wishes) -> list[Ranking]:
        """Candidates by the index, scored exactly; whoever gets too few of them is ranked in full."""
        wanted = pool_size(wishes.k) if wishes.diversity else wishes.k
        excluded = np.unique(self.catalogue.known(wishes.exclude_items))
        lengths = self._offsets[rows + 1] - self._offsets[rows] if wishes.exclude_seen else np.zeros_like(rows)
        lengths = lengths + len(excluded)
        allowed = self.catalogue.available_bits if wishes.available_only else None
        near = np.flatnonzero(wanted + lengths <= index.reach)
        step = max(1, _CANDIDATES_AT_ONCE // (wanted + int(lengths[near].max(initial=0))))
        rankings: dict[int, Ranking] = {}
        for start in range(0, len(near), step):
            places = near[start : start + step]
            width = wanted + int(lengths[places].max())
            candidates = index.candidates(self._users[rows[places]], width, allowed)
            for place, found in zip(places.tolist(), candidates, strict=True):
                row = rows[place]
                seen = self._seen[self._offsets[row] : self._offsets[row + 1]] if wishes.exclude_seen else _NOTHING
                # Cut, so that nobody's answer depends on who else asks; then in catalogue order, for ties.
                items = np.sort(found[: wanted + lengths[place]])
                kept = items[(items >= 0) & ~np.isin(items, seen) & ~np.isin(items, excluded)]
                if len(kept) >= wanted:
                    scores = (self._vectors[kept] @ self._users[row])[None]
                    rankings[place] = self._best(scores, None, wishes, "personal", kept)[0]
        rest = [place for place in range(len(rows)) if place not in rankings]
        forbidden = self.catalogue.forbids(wishes) if rest else None
        rankings.update(zip(rest, self._rank_exactly(rows[rest], forbidden, wishes), strict=True))
        return [rankings[place] for place in range(len(rows))]

    def fold_in(self, item_ids: Sequence[str], wishes: Wishes) -> Ranking:
        """:meth:`recommend_from_history` in numbers."""
        history = np.unique(self.catalogue.known(item_ids))
        if not len(history):
            return self._popular(wishes)
        offsets = np.array([0, len(history)])
        features = history_features(self._vectors, self.bundle.contents.popularity, offsets, history)
        scores = self._scores(features @ self.bundle.fold_in, wishes)
        if wishes.exclude_seen:
            scores[:, history] = -np.inf
        return self._best(scores, self.catalogue.forbids(wishes), wishes, "folded_in")[0]

    def from_text(self, text: str, wishes: Wishes) -> Ranking:
        """:meth:`recommend_from_text` in numbers."""
        if self._encoder is None or self.bundle.projection is None:
            raise LookupError("this bundle has no text encoder")
        vector = self._encoder.encode(text) @ self.bundle.projection
        if not vector.any():
            return self._popular(wishes)
        return self._best(self._scores(vector[None], wishes), self.catalogue.forbids(wishes), wishes, "profile")[0]

    def similar(self, item_id: str, wishes: Wishes) -> Ranking:
        """:meth:`similar_items` in numbers."""
        item = self.catalogue[item_id]
        scores = (self._units @ self._units[item])[None]
        scores[0, item] = -np.inf
        return self._best(scores, self.catalogue.forbids(wishes), wishes, "personal")[0]

    def named(self, ranking: Ranking) -> Recommendation:
        """With ids and titles."""
        ids, titles = self.catalogue.ids, self.catalogue.titles
        lines = zip(ranking.items.tolist(), ranking.scores.tolist(), strict=True)
        items = tuple(RecommendedItem(ids[item], titles[item], score) for item, score in lines)
        return Recommendation(items, ranking.source, self.info.version)

    @functools.cached_property
    def _units(self) -> Floats:
        return unit_rows(self._vectors)

    def _scores(self, vectors: Floats, wishes: Wishes) -> Floats:
        """(B, I) float32 of users' vectors (B, d), less the penalty on popularity."""
        # The product of a matrix with one vector is faster in this form.
        scores = (self._vectors @ vectors[0])[None] if len(vectors) == 1 else vectors @ self._vectors.T
        if wishes.popularity_penalty:
            spread = scores.std(axis=1, keepdims=True) * np.float32(wishes.popularity_penalty)
            scores += spread * self.catalogue.unpopularity
        return scores

    def _best(
        self, scores: Floats, forbidden: Floats | None, wishes: Wishes, source: Source, numbers: Rows | None = None
    ) -> list[Ranking]:
        """Rankings of rows of scores (B, n): of all items, or of those with the given ``numbers`` (n,)."""
        if forbidden is not None:
            scores += forbidden
        width = pool_size(wishes.k) if wishes.diversity else wishes.k
        items, values, found = best_items(scores, width)
        rankings = []
        for row, count in enumerate(found.tolist()):
            chosen: npt.NDArray[np.integer] = items[row, :count]
            if numbers is not None:
                chosen = numbers[chosen]
            rankings.append(self._diversified(Ranking(chosen, values[row, :count], source), wishes))
        return rankings

    def _diversified(self, ranking: Ranking, wishes: Wishes) -> Ranking:
        if not wishes.diversity or not len(ranking.items):
            return ranking
        places = diversify(ranking.scores, self._vectors[ranking.items], wishes.k, wishes.diversity)
        return Ranking(ranking.items[places], ranking.scores[places], ranking.source)

    def _popular(self, wishes: Wishes) -> Ranking:
        return self._best(self._popularity[None].copy(), self.catalogue.forbids(wishes), wishes, "popular")[0]
