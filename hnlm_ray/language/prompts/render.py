"""The three prompts: item profile, user profile, hard negative.

The system text is constant and comes first, so that an engine's prefix cache holds it; all data stands in the user
message as JSON. A prompt that exceeds its budget loses whole parts, in this order:

* item profile: the reviews, last first, then the description;
* user profile: the purchases, oldest first, but never the latest one;
* hard negative: the profile of the product, then that of the customer.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from hnlm_ray.config.language import NegativesConfig, ProfilesConfig
from hnlm_ray.errors import ConfigError
from hnlm_ray.language.prompts.quoting import clip, neutral, quoted

__all__ = ["TASKS", "Budget", "Product", "Prompt", "Purchase", "item_profile", "negative", "user_profile", "version"]

Task = Literal["item_profile", "user_profile", "negative"]
TASKS: tuple[Task, ...] = ("item_profile", "user_profile", "negative")

_TITLE_CHARS = 200
_BRAND_CHARS = 80
_CATEGORY_CHARS = 160
_RENDERING = 2
"""Raised whenever a change of this module, or of how text is quoted, changes a prompt."""


@dataclass(frozen=True)
class Prompt:
    """One request: a constant system text, and a user message of data only."""

    system: str
    user: str

    def messages(self) -> list[dict[str, str]]:
        """The prompt as the list of chat messages that every engine takes."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]


@dataclass(frozen=True)
class Budget:
    """The most that a prompt may hold.

    Attributes:
        count_tokens: the number of tokens of a text.
        tokens: the most tokens of system text and user message together, without those of the chat template.
    """

    count_tokens: Callable[[str], int]
    tokens: int

    def holds(self, prompt: Prompt) -> bool:
        """Whether the prompt fits."""
        return self.count_tokens(prompt.system) + self.count_tokens(prompt.user) <= self.tokens


@dataclass(frozen=True)
class Product:
    """What is shown of one item."""

    title: str
    brand: str = ""
    categories: Sequence[str] = ()
    description: str = ""
    feedback: Sequence[str] = ()
    """Reviews, from the train split only."""


@dataclass(frozen=True)
class Purchase:
    """What is shown of one interaction of a user."""

    title: str
    categories: Sequence[str] = ()
    profile: str = ""
    rating: float | None = None
    review: str = ""


def item_profile(product: Product, limits: ProfilesConfig, budget: Budget | None = None) -> Prompt:
    """The prompt for the profile of an item.

    Args:
        product: the item, with reviews from the train split only.
        limits: how much is shown.
        budget: the most that the prompt may hold; None for no bound.

    Raises:
        ConfigError: even the shortest form exceeds the budget.
    """
    feedback = [clip(neutral(text), limits.max_review_chars) for text in product.feedback[: limits.max_feedback]]
    description = clip(neutral(product.description), limits.max_description_chars)

    def render(kept: int) -> Prompt:
        fields = {
            "title": clip(neutral(product.title), _TITLE_CHARS),
            "brand": clip(neutral(product.brand), _BRAND_CHARS),
            "categories": _category_path(product.categories),
            "description": description if kept > 0 else "",
            "feedback": [text for text in feedback if text][: max(kept - 1, 0)],
        }
        return Prompt(_system("item_profile"), quoted(fields))

    return _longest(render, len(feedback) + 1, budget)


def user_profile(purchases: Sequence[Purchase], limits: ProfilesConfig, budget: Budget | None = None) -> Prompt:
    """The prompt for the profile of a user.

    Args:
        purchases: at least one, oldest first, from the train split only.
        limits: how much is shown.
        budget: the most that the prompt may hold; None for no bound.

    Raises:
        ConfigError: even the latest purchase alone exceeds the budget.
    """
    lines = [_purchase_line(purchase, limits) for purchase in purchases[-limits.max_history :]]

    def render(kept: int) -> Prompt:
        return Prompt(_system("user_profile"), "\n".join(lines[-1 - kept :]))

    return _longest(render, len(lines) - 1, budget)


def negative(
    customer: str, product: Product, profile: str, limits: NegativesConfig, budget: Budget | None = None
) -> Prompt:
    """The prompt for the hard negative of one (user, item) pair.

    Args:
        customer: the user's profile, or "".
        product: the item that the user bought.
        profile: the item's profile, or "".
        limits: how much is shown.
        budget: the most that the prompt may hold; None for no bound.

    Raises:
        ConfigError: even the bare product exceeds the budget.
    """
    customer = clip(neutral(customer), limits.max_profile_chars)
    profile = clip(neutral(profile), limits.max_profile_chars)

    def render(kept: int) -> Prompt:
        bought = {
            "bought": clip(neutral(product.title), _TITLE_CHARS),
            "categories": _category_path(product.categories),
            "profile": profile if kept > 1 else "",
        }
        lines = [quoted({"customer": customer})] if customer and kept > 0 else []
        return Prompt(_system("negative"), "\n".join([*lines, quoted(bought)]))

    return _longest(render, 2, budget)


def version(task: Task) -> str:
    """Eight hex digits that change with the system text or the rendering of a task, for the fingerprint of a stage."""
    text = f"{_RENDERING}\n{_system(task)}"
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


@functools.cache
def _system(task: Task) -> str:
    template = resources.files("hnlm_ray.language.prompts") / "templates" / f"{task}.txt"
    return template.read_text(encoding="utf-8").strip()


def _purchase_line(purchase: Purchase, limits: ProfilesConfig) -> str:
    return quoted(
        {
            "title": clip(neutral(purchase.title), _TITLE_CHARS),
            "categories": _category_path(purchase.categories),
            "rating": None if purchase.rating is None else round(purchase.rating, 1),
            "review": clip(neutral(purchase.review), limits.max_review_chars),
            "profile": clip(neutral(purchase.profile), limits.max_profile_chars),
        }
    )


def _category_path(categories: Sequence[str]) -> str:
    return clip(" / ".join(neutral(name) for name in categories), _CATEGORY_CHARS)


def _longest(render: Callable[[int], Prompt], most: int, budget: Budget | None) -> Prompt:
    """The rendering with as many of its ``most`` optional parts as the budget holds, found by bisection."""
    prompt = render(most)
    if budget is None or budget.holds(prompt):
        return prompt
    if not budget.holds(render(0)):
        raise ConfigError(
            f"the shortest prompt exceeds {budget.tokens} tokens",
            "raise llm.max_model_len or lower the max_output_tokens of its section",
        )
    exceeds = bisect.bisect_left(range(most), True, lo=1, key=lambda kept: not budget.holds(render(kept)))
    return render(exceeds - 1)
