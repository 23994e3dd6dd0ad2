"""What a caller may wish of a recommendation, beside for whom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

__all__ = ["WishArgs", "Wishes"]


class WishArgs(TypedDict, total=False):
    """Keyword arguments that become :class:`Wishes`; several ids or names in any container."""

    exclude_seen: bool
    include_items: Iterable[str] | None
    exclude_items: Iterable[str]
    categories: Iterable[str]
    available_only: bool
    diversity: float
    popularity_penalty: float


@dataclass(frozen=True, slots=True)
class Wishes:
    """How many items, which, and what counts beside the score.

    Attributes:
        k: how many, at least 1; fewer come where fewer are allowed.
        exclude_seen: leave out what the user has met.
        include_items: only these may come, as ids; None for all. An id that the catalogue lacks changes nothing.
        exclude_items: these may not come.
        categories: only items of at least one of these; empty for all.
        available_only: leave out what is marked as not available.
        diversity: 0 to 1. Items are chosen one by one by ``(1 - diversity) * score - diversity * similarity``; the
            similarity is that to the most similar item chosen before, and both are brought to 0 to 1 (maximal marginal
            relevance, Carbonell & Goldstein, SIGIR 1998).
        popularity_penalty: how many standard deviations of the user's scores an item loses per standard deviation of
            the log of its popularity; at least 0.

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
    def of(cls, k: int, wishes: WishArgs) -> Wishes:
        """From keyword arguments, whose containers become tuples.

        Raises:
            ValueError: a value is out of range, or one text where several are expected.
        """
        for name, value in wishes.items():
            if isinstance(value, str):
                raise ValueError(f"{name} is the text {value!r}, expected a list of texts")
        given = {name: tuple(value) if isinstance(value, Iterable) else value for name, value in wishes.items()}
        return cls(k=k, **given)  # type: ignore[arg-type]
