"""Options of a recommendation: how many items, which are allowed, and what else counts in their order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

from hnlm_ray.serving.recommend.ids import as_ids

__all__ = ["RankingArgs", "RankingOptions"]


class RankingArgs(TypedDict, total=False):
    """Keyword arguments for :class:`RankingOptions`; ids and names come in any container."""

    exclude_seen: bool
    include_items: Iterable[str | int] | None
    exclude_items: Iterable[str | int]
    categories: Iterable[str]
    available_only: bool
    diversity: float
    popularity_penalty: float


@dataclass(frozen=True, slots=True)
class RankingOptions:
    """Which items are recommended, and in which order.

    Attributes:
        k: number of items, at least 1; fewer are returned where fewer are allowed.
        exclude_seen: leave out the items of the user's history.
        include_items: ids of the only items allowed; None for all. Ids that the catalogue lacks are ignored.
        exclude_items: ids of items to leave out.
        categories: allow only items of at least one of these; empty for all.
        available_only: leave out items that are marked as unavailable.
        diversity: weight of the similarity to the items before against the score, 0 to 1, see
            :func:`hnlm_ray.serving.recommend.diversity.diversify`.
        popularity_penalty: standard deviations of the user's scores that an item loses per standard deviation of the
            log of its popularity; at least 0.

    Raises:
        ValueError: a value is out of range.
    """

    k: int = 10
    exclude_seen: bool = True
    include_items: tuple[str, ...] | None = None
    exclude_items: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    available_only: bool = True
    diversity: float = 0.0
    popularity_penalty: float = 0.0

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k is {self.k}, expected at least 1")
        if not 0.0 <= self.diversity <= 1.0:
            raise ValueError(f"diversity is {self.diversity}, expected 0 to 1")
        if not 0.0 <= self.popularity_penalty < float("inf"):
            raise ValueError(f"popularity_penalty is {self.popularity_penalty}, expected at least 0")

    @classmethod
    def of(cls, k: int, options: RankingArgs) -> RankingOptions:
        """Options from keyword arguments, whose containers become tuples.

        Raises:
            ValueError: a value is out of range, or a string where a list of strings is expected.
            TypeError: an id is neither text nor a whole number.
        """
        for name, value in options.items():
            if isinstance(value, str):
                raise ValueError(f"{name} is the string {value!r}, expected a list of strings")
        given = {
            name: tuple(as_ids(value)) if isinstance(value, Iterable) else value for name, value in options.items()
        }
        return cls(k=k, **given)  # type: ignore[arg-type]
