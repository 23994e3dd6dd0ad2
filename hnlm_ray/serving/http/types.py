"""What goes over the wire: the requests and the answers of the HTTP interface."""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from hnlm_ray.serving.recommend.options import RankingOptions

__all__ = [
    "BatchAnswer",
    "BatchRequest",
    "BundleAnswer",
    "BundlesAnswer",
    "Count",
    "ErrorAnswer",
    "ExplainAnswer",
    "ExplainRequest",
    "Filters",
    "FoldInRequest",
    "HealthAnswer",
    "HistoryItem",
    "ItemAnswer",
    "ItemsAnswer",
    "NamedItem",
    "ProfileRequest",
    "RecommendAnswer",
    "RecommendRequest",
    "ScoreAnswer",
    "ScoreRequest",
    "ScoredItem",
    "ServedItem",
    "SimilarAnswer",
    "SimilarRequest",
    "UserAnswer",
    "UsersAnswer",
    "VersionAnswer",
    "WrittenNegative",
]

MOST_USERS, MOST_IDS, MOST_CATEGORIES, LONGEST_TEXT = 1000, 1000, 100, 4000

Id = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _whole(value: Any) -> Any:
    """JSON has one kind of number: to the published schema 10.0 is an integer, and some clients write it so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, BeforeValidator(_whole)]


class _Wire(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Filters(_Wire):
    """How many items, which, and what counts beside the score."""

    k: Count = Field(default=10, ge=1)
    """How many items."""
    include_items: Annotated[list[Id], Field(max_length=MOST_IDS)] | None = None
    """Only these may come. Ids that the catalogue lacks change nothing."""
    exclude_items: list[Id] = Field(default_factory=list, max_length=MOST_IDS)
    """These may not come."""
    categories: list[Name] = Field(default_factory=list, max_length=MOST_CATEGORIES)
    """Only items of at least one of these."""
    available_only: bool = True
    """Leave out what is marked as not available."""
    diversity: float = Field(default=0.0, ge=0.0, le=1.0)
    """Weight of being unlike the items before, against the score (maximal marginal relevance)."""
    popularity_penalty: float = Field(default=0.0, ge=0.0, le=100.0)
    """Standard deviations of score that an item loses per standard deviation of log popularity."""

    def ranking_options(self) -> RankingOptions:
        """As the recommender takes them."""
        if self.model_fields_set <= _PLAIN_FIELDS:
            return _plain_options(self.k)
        return RankingOptions(
            k=self.k,
            exclude_seen=getattr(self, "exclude_seen", True),
            include_items=None if self.include_items is None else tuple(self.include_items),
            exclude_items=tuple(self.exclude_items),
            categories=tuple(self.categories),
            available_only=self.available_only,
            diversity=self.diversity,
            popularity_penalty=self.popularity_penalty,
        )


_PLAIN_FIELDS = {"k", "user_id", "user_ids", "item_id", "item_ids", "text"}
"""Of requests that wish nothing but a number of items, which are nearly all."""


@functools.cache
def _plain_options(k: int) -> RankingOptions:
    return RankingOptions(k=k)


class _Personal(Filters):
    exclude_seen: bool = True
    """Leave out what the user has met."""


class RecommendRequest(_Personal):
    """Whom to recommend to, and what."""

    user_id: Id
    """The user's id as in the raw data. An unknown one gets popular items."""


class BatchRequest(_Personal):
    """Many users, the same options for all."""

    user_ids: list[Id] = Field(min_length=1, max_length=MOST_USERS)


class FoldInRequest(_Personal):
    """Somebody whom training has not seen, by what they met."""

    item_ids: list[Id] = Field(min_length=1, max_length=MOST_IDS)
    """Ids that the catalogue lacks are ignored; popular items come where none is left."""


class ProfileRequest(Filters):
    """Somebody of whom there is only a text."""

    text: str = Field(min_length=1, max_length=LONGEST_TEXT)


class SimilarRequest(Filters):
    """What is like one item."""

    item_id: Id


class ScoreRequest(_Wire):
    """How well given items suit a user."""

    user_id: Id
    item_ids: list[Id] = Field(min_length=1, max_length=MOST_IDS)


class ExplainRequest(_Wire):
    """Why an item is recommended to a user, and what the language model wrote about them."""

    user_id: Id
    item_id: Id | None = None
    """By default the best item that the user has not met."""


class NamedItem(_Wire):
    """An item of the catalogue."""

    item_id: str
    title: str


class ServedItem(NamedItem):
    """One recommended item."""

    score: float
    """Comparable within one answer only."""


class _Answer(_Wire):
    bundle: str
    """Name of the bundle that answered, as in ``?bundle=``."""
    bundle_version: str


class RecommendAnswer(_Answer):
    """The recommendation for one user."""

    user_id: str | None
    """None where the request named nobody."""
    items: list[ServedItem]
    """Best first; fewer than ``k`` where the options or what the user has met leave no more."""
    source: Literal["personal", "folded_in", "profile", "popular"]
    """``personal``: by the trained vector; ``folded_in``: by a history; ``profile``: by a text; ``popular``: nothing is
    known about this user."""


class BatchAnswer(_Wire):
    """One recommendation per user, in the order of the request."""

    answers: list[RecommendAnswer]


class SimilarAnswer(_Answer):
    """The items that are most like one."""

    item_id: str
    items: list[ServedItem]
    """Scores are cosines of the items' vectors."""


class ScoredItem(_Wire):
    """How well one item suits the user."""

    item_id: str
    score: float | None
    """None: the catalogue lacks the item."""
    seen: bool
    """Whether the user has met it."""


class ScoreAnswer(_Answer):
    """Scores in the order of the request."""

    user_id: str
    items: list[ScoredItem]


class HistoryItem(NamedItem):
    """An item that the user has met."""

    similarity: float
    """Cosine to the explained item."""


class WrittenNegative(_Wire):
    """A hard negative as the language model wrote it: plausible for the user, and yet not to their taste."""

    beside: NamedItem
    """The item that it was written beside."""
    answer: str
    reasoning: str
    item: NamedItem | None
    """What it was matched to in the catalogue."""
    rank: int | None
    """Where that item now stands among all that the user has not met, from 1; None where they have met it."""


class ExplainAnswer(_Answer):
    """Where a recommendation comes from."""

    user_id: str
    item: NamedItem
    score: float
    rank: int | None
    """From 1, among all items that the user has not met; None where they have met it."""
    user_profile: str
    """As the language model wrote it; empty where it wrote none."""
    item_profile: str
    because: list[HistoryItem]
    """The nearest items of the user's history, the nearest first."""
    negatives: list[WrittenNegative]


class UserAnswer(_Answer):
    """What is known about a user."""

    user_id: str
    interactions: int
    history: list[NamedItem]
    """At most 200, in the order of the catalogue."""
    profile: str


class ItemAnswer(_Answer):
    """What is known about an item."""

    item_id: str
    title: str
    brand: str
    categories: list[str]
    description: str
    interactions: int
    available: bool
    profile: str


class UsersAnswer(_Answer):
    """Users whose id begins with what was asked, at most as many as asked."""

    users: list[str]


class ItemsAnswer(_Answer):
    """Items whose title or id holds what was asked, the most popular first."""

    items: list[NamedItem]


class Category(_Wire):
    """What items can be filtered by."""

    name: str
    items: int
    """How many it holds."""


class CategoriesAnswer(_Answer):
    """Categories whose name holds what was asked, the largest first."""

    categories: list[Category]


class BundleAnswer(_Wire):
    """A bundle that is being served."""

    name: str
    version: str
    share: float
    """Of the users who are not sent to a bundle by ``?bundle=``."""
    shadow: bool
    """Whether it is asked beside the one that answers, to log how they differ."""
    data: str
    variant: str
    users: int
    items: int
    reads_text: bool
    """Whether it can answer to a profile text."""


class BundlesAnswer(_Wire):
    """All bundles that are being served."""

    bundles: list[BundleAnswer]


class HealthAnswer(_Wire):
    """The process is alive; whether it should get requests is what ``/ready`` says."""

    status: Literal["ok"]


class VersionAnswer(_Wire):
    """What is running."""

    version: str
    """Of the package."""
    bundles: dict[str, str]
    """Version of each bundle by its name."""


class ErrorAnswer(_Wire):
    """Why the request was refused."""

    error: str
    """One sentence."""
