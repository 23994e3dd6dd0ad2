"""Recommendations from a bundle, in this process: neither Ray nor a server is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.scan import Scan
from hnlm_ray.kernels.selection import best_items, mask_rows
from hnlm_ray.serving.bundle.bundle import Bundle, load_bundle
from hnlm_ray.serving.bundle.cold_start import history_features
from hnlm_ray.serving.bundle.info import BundleInfo
from hnlm_ray.serving.bundle.shelf import Offer, current_offer
from hnlm_ray.serving.recommend.catalogue import Catalogue
from hnlm_ray.serving.recommend.diversity import diversify, pool_size
from hnlm_ray.serving.recommend.ids import as_id, as_ids
from hnlm_ray.serving.recommend.index import Index
from hnlm_ray.serving.recommend.new_items import with_new_items
from hnlm_ray.serving.recommend.options import RankingArgs, RankingOptions
from hnlm_ray.serving.recommend.results import ItemScore, Ranking, Recommendation, RecommendedItem, Source
from hnlm_ray.serving.recommend.scores import Scores
from hnlm_ray.serving.recommend.text_encoder import TextEncoder
from hnlm_ray.serving.recommend.users import Users

__all__ = ["Recommender"]

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_ITEMS_PER_SCANNED = 16
"""Smallest ratio of the catalogue to ``k`` for which the scan pays: below it most items would be scored twice."""

_USERS_FOR_TILES = 64
"""Number of users from which on it pays to divide the product into tiles."""

_NO_ITEMS = np.empty(0, dtype=np.int32)

_SCORES_AT_ONCE, _CANDIDATES_AT_ONCE = 3 << 21, 1 << 20
"""Bounds on the memory of a large request: 24 MiB of float32; 20 MiB of candidates, their scores and their order."""


class Recommender:
    """Recommends from one bundle by scoring the whole catalogue; safe to call from several threads.

    Items are ordered by score, descending, then by position in the catalogue, so that ties fall the same way on every
    machine.

    Attributes:
        bundle: the loaded bundle.
        catalogue: its items.
        users: its users with at least one interaction.
        scores: what the items are ordered by.
    """

    def __init__(self, bundle: Bundle) -> None:
        contents = bundle.contents
        self.bundle = bundle
        self.catalogue = Catalogue(contents.items, contents.popularity)
        self.users = Users(contents)
        self._users, self._vectors = contents.user_vectors, contents.item_vectors
        self._offsets, self._seen = contents.seen_offsets, contents.seen_items
        self._popularity = contents.popularity.astype(np.float32)
        self._encoder = None if bundle.encoder is None else TextEncoder(bundle.encoder)
        self._index: Index | None = None
        self.scores = Scores(contents)
        suits = Scan.suits(*self._vectors.shape) and not self.scores.has_votes
        self._scan = Scan(self._vectors) if suits else None

    @classmethod
    def load(cls, path: str) -> Recommender:
        """Load a bundle.

        Args:
            path: a bundle, a shelf or a run, local or remote; of a shelf the current bundle is loaded with the
                shelf's new items, and its unavailable items are left out of recommendations; of a run the bundle of
                ``serve.variant``.

        Raises:
            BundleError: the bundle is missing or damaged.
            DataError: a table of the shelf lacks a column.
        """
        return cls.of(current_offer(path))

    @classmethod
    def of(cls, offer: Offer) -> Recommender:
        """Load the bundle of an offer; raises as :func:`load_bundle` and :func:`with_new_items` do."""
        recommender = cls(with_new_items(load_bundle(offer.address), offer.new_items))
        recommender.catalogue.set_unavailable(offer.unavailable)
        return recommender

    @property
    def info(self) -> BundleInfo:
        """What the bundle says about itself."""
        return self.bundle.info

    @property
    def reads_text(self) -> bool:
        """Whether the bundle has a text encoder, which :meth:`recommend_from_text` needs."""
        return self._encoder is not None

    def use_index(self, index: Index | None) -> None:
        """Use an approximate index from now on, for requests that neither name items nor penalise popularity."""
        self._index = index

    def history(self, user_id: str | int) -> npt.NDArray[np.int32]:
        """Numbers of the items that a user has interacted with, ascending; KeyError for an unknown user."""
        return self.users.history(self.users[as_id(user_id)])

    def recommend(self, user_id: str | int, k: int = 10, **options: Unpack[RankingArgs]) -> Recommendation:
        """The ``k`` best items for one user.

        Args:
            user_id: as in the raw data, where a whole number stands for its digits; an unknown user gets popular items.
            k: at least 1.
            options: attributes of :class:`hnlm_ray.serving.recommend.options.RankingOptions`. Case makes no difference
                in the names of categories.

        Raises:
            ValueError: an option is out of range, or the catalogue has no such category.
            TypeError: an id is neither text nor a whole number.
        """
        return self.recommend_many([user_id], k, **options)[0]

    def recommend_many(
        self, user_ids: Iterable[str | int], k: int = 10, **options: Unpack[RankingArgs]
    ) -> list[Recommendation]:
        """:meth:`recommend` for many users at once, in their order.

        A score can differ in its last bit from that of a single request, because products are summed in another order.
        """
        return [self._recommendation(one) for one in self.rank(as_ids(user_ids), self._options(k, options))]

    def recommend_from_history(
        self, item_ids: Iterable[str | int], k: int = 10, **options: Unpack[RankingArgs]
    ) -> Recommendation:
        """:meth:`recommend` for a new user, from their history; popular items where the catalogue has none of it."""
        return self._recommendation(self.fold_in(as_ids(item_ids), self._options(k, options)))

    def recommend_from_text(self, text: str, k: int = 10, **options: Unpack[RankingArgs]) -> Recommendation:
        """:meth:`recommend` for a new user, from a text about them; popular items where the text has no token.

        Raises:
            LookupError: the bundle has no text encoder.
        """
        return self._recommendation(self.from_text(text, self._options(k, options)))

    def similar_items(
        self, item_id: str | int, k: int = 10, **options: Unpack[RankingArgs]
    ) -> tuple[RecommendedItem, ...]:
        """The ``k`` other items whose vectors have the largest cosine with that of this item.

        Raises:
            KeyError: the catalogue lacks the item.
        """
        return self._recommendation(self.similar(as_id(item_id), self._options(k, options))).items

    def score(self, user_id: str | int, item_ids: Iterable[str | int]) -> list[ItemScore]:
        """The score of each item for a user, seen or not.

        Raises:
            KeyError: the user is unknown.
        """
        ids = as_ids(item_ids)
        history, known = self.history(user_id), self.catalogue.numbers(ids)
        scores = iter(self.scores.of_items(self.users[as_id(user_id)], known).tolist())
        seen = iter(np.isin(known, history).tolist())
        return [
            ItemScore(item_id, next(scores), next(seen))
            if item_id in self.catalogue
            else ItemScore(item_id, None, seen=False)
            for item_id in ids
        ]

    def rank(self, user_ids: Sequence[str], options: RankingOptions) -> list[Ranking]:
        """:meth:`recommend_many` in numbers."""
        found = self.users.numbers(user_ids)
        known = np.flatnonzero(found >= 0)
        if len(known) == len(found):
            return self.rank_rows(found, options)
        answers = [self._popular(options)] * len(found)
        for place, ranking in zip(known.tolist(), self.rank_rows(found[known], options), strict=True):
            answers[place] = ranking
        return answers

    def rank_rows(self, rows: Rows, options: RankingOptions) -> list[Ranking]:
        """:meth:`rank` for users by their numbers (B,), all of them with a history."""
        narrow = bool(options.categories) or options.include_items is not None
        if self._index is not None and not narrow and not options.popularity_penalty:
            return self._rank_by_index(self._index, rows, options)
        forbidden = self.catalogue.score_mask(options)
        few = _ITEMS_PER_SCANNED * options.k <= len(self.catalogue)
        if self._scan is not None and few and len(rows) == 1 and not options.popularity_penalty:
            return [self._rank_alone(self._scan, int(rows[0]), forbidden, options)]
        if len(rows) >= _USERS_FOR_TILES and not options.diversity and not options.popularity_penalty:
            best = zip(*self.top_items(rows, options), strict=True)
            return [Ranking(items[:found], scores[:found], "personal") for items, scores, found in best]
        return self._rank_exactly(rows, forbidden, options)

    def _rank_alone(self, scan: Scan, row: int, forbidden: Floats | None, options: RankingOptions) -> Ranking:
        seen = self.users.history(row) if options.exclude_seen else _NO_ITEMS
        width = pool_size(options.k) if options.diversity else options.k
        items, scores = scan.best(self._users[row], width, seen, forbidden)
        return self._diversified(Ranking(items, scores, "personal"), options)

    def top_items(self, rows: Rows, options: RankingOptions) -> tuple[npt.NDArray[np.int32], Floats, Rows]:
        """:meth:`rank_rows` for very many users, in arrays; exact, also where an index is in use.

        Args:
            rows: (B,) int64, users with a history.
            options: without diversity and without a popularity penalty.

        Returns:
            Items (B, w) int32 and scores (B, w) float32, best first, where w is the smaller of k and I; and how many
            places of each row are filled, (B,) int64.

        Raises:
            ValueError: an option needs all scores of a user at once.
        """
        from hnlm_ray.kernels.tiles import Seen, best_products

        if options.diversity or options.popularity_penalty:
            raise ValueError("diversity and popularity_penalty are for rank_rows")
        forbidden = self.catalogue.score_mask(options)
        if self.scores.has_votes:
            blocks = self._scored(rows, options)
            parts = [best_items(block if forbidden is None else block + forbidden, options.k) for block in blocks]
            parts.append(best_items(np.empty((0, len(self.catalogue)), np.float32), options.k))
            items, scores, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
            return items, scores, counts
        seen = Seen(rows, self._offsets, self._seen) if options.exclude_seen else None
        return best_products(self._users[rows], self._vectors, options.k, seen, forbidden)

    def _rank_exactly(self, rows: Rows, forbidden: Floats | None, options: RankingOptions) -> list[Ranking]:
        blocks = self._scored(rows, options)
        return [ranking for scores in blocks for ranking in self._best(scores, forbidden, options, "personal")]

    def _scored(self, rows: Rows, options: RankingOptions) -> Iterator[Floats]:
        """Scores of all items in blocks of users, less the popularity penalty, and -inf where seen."""
        step = max(1, _SCORES_AT_ONCE // len(self.catalogue))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            scores = self.catalogue.penalised(self.scores.of_users(block), options)
            if options.exclude_seen:
                mask_rows(scores, block, self._offsets, self._seen)
            yield scores

    def _rank_by_index(self, index: Index, rows: Rows, options: RankingOptions) -> list[Ranking]:
        """Score the index's candidates exactly; users with too few candidates are ranked over all items."""
        wanted = pool_size(options.k) if options.diversity else options.k
        excluded = np.unique(self.catalogue.numbers(options.exclude_items))
        lengths = self._offsets[rows + 1] - self._offsets[rows] if options.exclude_seen else np.zeros_like(rows)
        lengths = lengths + len(excluded)
        allowed = self.catalogue.available_bits if options.available_only else None
        near = np.flatnonzero(wanted + lengths <= index.reach)
        step = max(1, _CANDIDATES_AT_ONCE // (wanted + int(lengths[near].max(initial=0))))
        rankings: dict[int, Ranking] = {}
        for start in range(0, len(near), step):
            places = near[start : start + step]
            width = wanted + int(lengths[places].max())
            candidates = index.candidates(self._users[rows[places]], width, allowed)
            for place, found in zip(places.tolist(), candidates, strict=True):
                row = rows[place]
                seen = self.users.history(row) if options.exclude_seen else _NO_ITEMS
                # Cut, so that a ranking does not depend on the other users; then in catalogue order, for ties.
                voted = self.catalogue.recommendable(self.scores.voted(row)[0], options)
                items = np.union1d(found[: wanted + lengths[place]], voted)
                kept = items[(items >= 0) & ~np.isin(items, seen) & ~np.isin(items, excluded)]
                if len(kept) >= wanted:
                    scores = self.scores.of_items(row, kept)[None]
                    rankings[place] = self._best(scores, None, options, "personal", kept)[0]
        rest = [place for place in range(len(rows)) if place not in rankings]
        forbidden = self.catalogue.score_mask(options) if rest else None
        rankings.update(zip(rest, self._rank_exactly(rows[rest], forbidden, options), strict=True))
        return [rankings[place] for place in range(len(rows))]

    def fold_in(self, item_ids: Sequence[str], options: RankingOptions) -> Ranking:
        """:meth:`recommend_from_history` in numbers."""
        history = np.unique(self.catalogue.numbers(item_ids))
        if not len(history):
            return self._popular(options)
        offsets = np.array([0, len(history)])
        features = history_features(self._vectors, self.bundle.contents.popularity, offsets, history)
        scores = self.catalogue.penalised(self.scores.of_vector((features @ self.bundle.fold_in)[0], history), options)
        if options.exclude_seen:
            scores[:, history] = -np.inf
        return self._ranked(scores, options, "folded_in")

    def from_text(self, text: str, options: RankingOptions) -> Ranking:
        """:meth:`recommend_from_text` in numbers."""
        if self._encoder is None or self.bundle.projection is None:
            raise LookupError("this bundle has no text encoder")
        vector = self._encoder.encode(self.catalogue.in_its_case(text)) @ self.bundle.projection
        if not vector.any():
            return self._popular(options)
        return self._ranked(self.catalogue.penalised(self.scores.of_vector(vector), options), options, "profile")

    def similar(self, item_id: str, options: RankingOptions) -> Ranking:
        """:meth:`similar_items` in numbers."""
        item = self.catalogue[item_id]
        scores = self.scores.of_similarity(item)
        return self._ranked(scores, options, "personal")

    def _options(self, k: int, options: RankingArgs) -> RankingOptions:
        """The options of a call, with categories as the catalogue spells them."""
        chosen = RankingOptions.of(k, options)
        return replace(chosen, categories=self.catalogue.spelled(chosen.categories)) if chosen.categories else chosen

    def _recommendation(self, ranking: Ranking) -> Recommendation:
        """The ranking with ids and titles."""
        ids, titles = self.catalogue.ids, self.catalogue.titles
        lines = zip(ranking.items.tolist(), ranking.scores.tolist(), strict=True)
        items = tuple(RecommendedItem(ids[item], titles[item], score) for item, score in lines)
        return Recommendation(items, ranking.source, self.info.version)

    def _ranked(self, scores: Floats, options: RankingOptions, source: Source) -> Ranking:
        """The ranking by one row of scores, (1, I)."""
        return self._best(scores, self.catalogue.score_mask(options), options, source)[0]

    def _best(
        self, scores: Floats, forbidden: Floats | None, options: RankingOptions, source: Source,
        numbers: Rows | None = None,
    ) -> list[Ranking]:  # fmt: skip
        """Rankings by rows of scores (B, n), of all items or of those with the given ``numbers`` (n,)."""
        if forbidden is not None:
            scores += forbidden
        width = pool_size(options.k) if options.diversity else options.k
        items, values, found = best_items(scores, width)
        rankings = []
        for row, count in enumerate(found.tolist()):
            chosen: npt.NDArray[np.integer] = items[row, :count]
            if numbers is not None:
                chosen = numbers[chosen]
            rankings.append(self._diversified(Ranking(chosen, values[row, :count], source), options))
        return rankings

    def _diversified(self, ranking: Ranking, options: RankingOptions) -> Ranking:
        if not options.diversity or not len(ranking.items):
            return ranking
        places = diversify(ranking.scores, self._vectors[ranking.items], options.k, options.diversity)
        return Ranking(ranking.items[places], ranking.scores[places], ranking.source)

    def _popular(self, options: RankingOptions) -> Ranking:
        return self._ranked(self._popularity[None].copy(), options, "popular")
