"""A recommender that takes and gives data frames; it answers by the object that a service answers by."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

import numpy as np
import pyarrow as pa

from hnlm_ray.data.conversion import Frame, Kind, like, table_of
from hnlm_ray.frames.measuring import evaluate
from hnlm_ray.frames.names import Names, as_text
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.info import BundleAbout, BundleInfo
from hnlm_ray.serving.bundle.writing import write_bundle
from hnlm_ray.serving.recommend.options import RankingArgs, RankingOptions
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.serving.recommend.results import Ranking

__all__ = ["FrameRecommender"]


@dataclass(frozen=True, repr=False)
class FrameRecommender:
    """Recommends to the users of a data frame.

    Attributes:
        recommender: what recommends, as in a service; its methods take and give single users.
        names: how columns are called in the frames that come and go.
        history: the learning curve, a dictionary per epoch; empty after loading.
        warnings: what may spoil a result, as sentences.
        held: keeps the files of a fit that was not saved.
    """

    recommender: Recommender
    names: Names = field(default_factory=Names)
    history: Sequence[dict[str, Any]] = ()
    warnings: Sequence[str] = ()
    held: object = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        contents: Contents,
        about: BundleAbout,
        names: Names,
        history: Sequence[dict[str, Any]],
        warnings: Sequence[str],
    ) -> FrameRecommender:
        """From what a fit gave; its bundle lies in a temporary folder as long as the recommender lives."""
        held = tempfile.TemporaryDirectory(prefix="hnlm-fit-")
        write_bundle(held.name, contents, about)
        return cls(Recommender.load(held.name), names, history, warnings, held)

    @classmethod
    def load(cls, path: str, *, frames: Kind = "pandas", user: str = "user_id", item: str = "item_id") -> Any:
        """Load a bundle, a shelf or a run, local or remote.

        Args:
            path: of it.
            frames: the kind of the frames that its methods give.
            user: the column of users in frames; ids are text.
            item: the column of items.

        Raises:
            BundleError: the bundle is missing or damaged.
        """
        return cls(Recommender.load(path), Names(user, item, kind=frames))

    @property
    def info(self) -> BundleInfo:
        """What the model says about itself."""
        return self.recommender.info

    def recommend(self, users: Iterable[Any] | None = None, k: int = 10, **options: Unpack[RankingArgs]) -> Frame:
        """The ``k`` best items of each user: a frame of user, item, rank from 1 and score.

        Args:
            users: their ids; an unknown one gets popular items. None for all that the model knows.
            k: at least 1.
            options: attributes of :class:`hnlm_ray.serving.recommend.options.RankingOptions`, for example
                ``exclude_seen=False``.

        Raises:
            ValueError: an option is out of range.
        """
        ids = self.recommender.users.ids if users is None else as_text(users).to_pylist()
        rankings = self.recommender.rank(ids, RankingOptions.of(k, options))
        return self._frame("user", ids, rankings)

    def similar(self, items: Iterable[Any], k: int = 10) -> Frame:
        """The ``k`` other items whose vectors are nearest to each item's: a frame of item, similar, rank and score.

        Raises:
            KeyError: the model does not know an item.
        """
        ids = as_text(items).to_pylist()
        return self._frame("item", ids, [self.recommender.similar(one, RankingOptions(k=k)) for one in ids])

    def evaluate(self, test: Frame, cutoffs: Sequence[int] = (10, 20)) -> Frame:
        """Metrics on held-out interactions: a frame of metric, k and value, each the mean over the users of ``test``.

        What a user has met before is not recommended. Users that the model does not know get popular items, and items
        that it does not know are never hit; both count.

        Args:
            test: a user and an item in each row.
            cutoffs: where to measure.

        Raises:
            DataError: the frame lacks a column or holds no row.
        """
        users, _ = self.names.texts(table_of(test, "test interactions"), "test interactions")
        asked = replace(self, names=replace(self.names, user_type=pa.string(), item_type=pa.string(), kind="arrow"))
        found = asked.recommend(users.unique().to_pylist(), max(cutoffs))
        return evaluate(found, test, cutoffs, user=self.names.user, item=self.names.item)

    def save(self, path: str) -> BundleInfo:
        """Write the bundle into a folder, local or ``s3://`` / ``gs://``: what ``hnlm serve`` and :meth:`load` read.

        Raises:
            BundleError: the folder cannot be written.
        """
        return write_bundle(path, self.recommender.bundle.contents, self.info.about)

    def learning_curve(self) -> Frame:
        """A row per epoch: losses, seconds so far, and NDCG@20 and Recall@20 on validation where they were measured."""
        return like(pa.Table.from_pylist(list(self.history)), self.names.kind)

    def __repr__(self) -> str:
        info = self.info
        measured = ", ".join(f"{name} {value:.4f}" for name, value in info.about.metrics.items())
        epochs = f", {len(self.history)} epochs" if self.history else ""
        sizes = f"{info.users:,} users, {info.items:,} items, d {info.dim}"
        return f"FrameRecommender({info.about.variant}: {sizes}{epochs}; {measured or 'not measured'})"

    def _frame(self, key: str, ids: Sequence[str], rankings: Sequence[Ranking]) -> Frame:
        counts = [len(one.items) for one in rankings]
        items = np.concatenate([np.empty(0, np.int64), *(one.items for one in rankings)]).astype(np.int64)
        names = pa.array(self.recommender.catalogue.ids, pa.string()).take(pa.array(items))
        ranks = np.concatenate([np.empty(0, np.int64), *(np.arange(1, count + 1) for count in counts)])
        scores = np.concatenate([np.empty(0, np.float32), *(one.scores for one in rankings)])
        keys = pa.array(ids, pa.string()).take(pa.array(np.repeat(np.arange(len(counts)), counts)))
        ranked = {"rank": pa.array(ranks), "score": pa.array(scores)}
        if key == "user":
            return self.names.frame({"user": keys, "item": names, **ranked})
        return self.names.frame({"item": keys, "similar": names.cast(self.names.item_type), **ranked})
