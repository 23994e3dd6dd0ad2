"""Types of the requests and answers of the HTTP interface."""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from hnlm_ray.serving.recommend.options import RankingArgs, RankingOptions

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
    "Wire",
    "WrittenNegative",
]

MOST_USERS, MOST_IDS, MOST_CATEGORIES, LONGEST_TEXT = 1000, 1000, 100, 4000

Id = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _whole(value: Any) -> Any:
    """JSON has one kind of number: by the published schema 10.0 is an integer, and some clients send it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, BeforeValidator(_whole)]


class Wire(BaseModel):
    """A body of a request or an answer, or a part of one."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Filters(Wire):
    """Which items are recommended, and in which order."""

    k: Count = Field(default=10, ge=1)
    """Number of items."""
    include_items: Annotated[list[Id], Field(max_length=MOST_IDS)] | None = None
    """Allow only these. Ids that the catalogue lacks are ignored."""
    exclude_items: list[Id] = Field(default_factory=list, max_length=MOST_IDS)
    """Leave these out."""
    categories: list[Id] = Field(default_factory=list, max_length=MOST_CATEGORIES)
    """Allow only items of at least one of these; case makes no difference. One that the catalogue lacks is refused."""
    available_only: bool = True
    """Leave out items that are marked as unavailable."""
    diversity: float = Field(default=0.0, ge=0.0, le=1.0)
    """Weight of the similarity to the items before against the score (maximal marginal relevance)."""
    popularity_penalty: float = Field(default=0.0, ge=0.0, le=100.0)
    """Standard deviations of score that an item loses per standard deviation of log popularity."""

    def ranking_options(self) -> RankingOptions:
        """The same for the recommender."""
        if self.model_fields_set <= _PLAIN_FIELDS:
            return _plain_options(self.k)
        chosen = self.model_dump(include={*RankingArgs.__annotations__})
        return RankingOptions.of(self.k, cast("RankingArgs", chosen))


_PLAIN_FIELDS = {"k", "user_id", "user_ids", "item_id", "item_ids", "text"}
"""Fields of requests that choose nothing but the number of items; nearly all requests are such."""


@functools.cache
def _plain_options(k: int) -> RankingOptions:
    return RankingOptions(k=k)


class _Personal(Filters):
    exclude_seen: bool = True
    """Leave out the items of the history."""


class RecommendRequest(_Personal):
    """Recommendations for one user."""

    user_id: Id
    """The user's id as in the raw data. An unknown user gets popular items."""


class BatchRequest(_Personal):
    """Recommendations for many users, with the same options for all."""

    user_ids: list[Id] = Field(min_length=1, max_length=MOST_USERS)


class FoldInRequest(_Personal):
    """Recommendations for a new user, from their history."""

    item_ids: list[Id] = Field(min_length=1, max_length=MOST_IDS)
    """The history. Ids that the catalogue lacks are ignored; if none is left, popular items are recommended."""


class ProfileRequest(Filters):
    """Recommendations for a new user, from a text about them."""

    text: str = Field(min_length=1, max_length=LONGEST_TEXT)


class SimilarRequest(Filters):
    """Items similar to one item."""

    item_id: Id


class ScoreRequest(Wire):
    """The scores of given items for a user."""

    user_id: Id
    item_ids: list[Id] = Field(min_length=1, max_length=MOST_IDS)


class ExplainRequest(Wire):
    """Why an item is recommended to a user, and what the language model wrote about them."""

    user_id: Id
    item_id: Id | None = None
    """By default the best item that the user has not seen."""


class NamedItem(Wire):
    """An item of the catalogue."""

    item_id: str
    title: str


class ServedItem(NamedItem):
    """One recommended item."""

    score: float
    """Comparable within one answer only."""


class _Answer(Wire):
    bundle: str
    """Name of the bundle that answered, as in ``?bundle=``."""
    bundle_version: str


class RecommendAnswer(_Answer):
    """The recommendation for one user."""

    user_id: str | None
    """``null`` where the request names no user."""
    items: list[ServedItem]
    """Best first; fewer than ``k`` where the options and the history leave no more."""
    source: Literal["personal", "folded_in", "profile", "popular"]
    """What the recommendation is based on. ``personal``: the trained vector; ``folded_in``: a history; ``profile``: a
    text; ``popular``: popularity, because the user is unknown."""


class BatchAnswer(Wire):
    """One recommendation per user, in the order of the request."""

    answers: list[RecommendAnswer]


class SimilarAnswer(_Answer):
    """The items that are most similar to one."""

    item_id: str
    items: list[ServedItem]
    """Scores are cosines of the items' vectors."""


class ScoredItem(Wire):
    """The score of one item for the user."""

    item_id: str
    score: float | None
    """``null`` where the catalogue lacks the item."""
    seen: bool
    """Whether the item is in the user's history."""


class ScoreAnswer(_Answer):
    """Scores in the order of the request."""

    user_id: str
    items: list[ScoredItem]


class HistoryItem(NamedItem):
    """An item of the user's history."""

    similarity: float
    """Cosine to the explained item."""


class WrittenNegative(Wire):
    """A hard negative that the language model wrote: plausible for the user, but not to their taste."""

    beside: NamedItem
    """The item of the history that it was written for."""
    answer: str
    reasoning: str
    item: NamedItem | None
    """The item of the catalogue that it was matched to; ``null`` for none."""
    rank: int | None
    """Rank of that item among all that the user has not seen, from 1; ``null`` where they have seen it."""


class ExplainAnswer(_Answer):
    """The reasons for a recommendation."""

    user_id: str
    item: NamedItem
    score: float
    rank: int | None
    """Rank among all items that the user has not seen, from 1; ``null`` where they have seen it."""
    user_profile: str
    """The profile that the language model wrote; empty where it wrote none."""
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
    """Users whose id begins with the prefix."""

    users: list[str]


class ItemsAnswer(_Answer):
    """Items whose title or id contains the words, the most popular first."""

    items: list[NamedItem]


class Category(Wire):
    """A category, by which items can be filtered."""

    name: str
    items: int
    """Number of its items."""


class CategoriesAnswer(_Answer):
    """Categories whose name contains the words, the largest first."""

    categories: list[Category]


class BundleAnswer(Wire):
    """A bundle that is being served."""

    name: str
    version: str
    share: float
    """Share of the users whom it answers where a request names no bundle, 0 to 1."""
    shadow: bool
    """Whether it only recommends for comparison with the bundle that answers."""
    data: str
    variant: str
    users: int
    items: int
    reads_text: bool
    """Whether it has a text encoder and can recommend from a text."""


class BundlesAnswer(Wire):
    """All bundles that are being served."""

    bundles: list[BundleAnswer]


class HealthAnswer(Wire):
    """The process is alive; ``/ready`` says whether it should get requests."""

    status: Literal["ok"]


class VersionAnswer(Wire):
    """What is running."""

    version: str
    """Version of the package."""
    bundles: dict[str, str]
    """Version of each bundle by its name."""


class ErrorAnswer(Wire):
    """Why a request was refused."""

    error: str
    """One sentence."""
