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
from dataclasses import dataclass, replace

from hnlm_ray.config.language import AnswerOptions, NegativesConfig, ProfilesConfig
from hnlm_ray.errors import ConfigError
from hnlm_ray.language.prompts.quoting import clip, entry, neutral, quoted
from hnlm_ray.language.prompts.wording import Reasoning, Task, Wording

__all__ = [
    "LONGEST_CHOICE",
    "Budget",
    "Product",
    "Prompt",
    "Purchase",
    "item_profile",
    "negative",
    "purchase_line",
    "shown_item",
    "user_profile",
    "user_profile_of_lines",
    "version",
]

_TITLE_CHARS = 200
_BRAND_CHARS = 80
_CATEGORY_CHARS = 160
_TURN_TOKENS = 16
"""At most what a chat template puts around a user message and its answer."""
LONGEST_CHOICE = 160
"""Characters of a title that a model may choose; a longer one is no candidate."""
_RENDERING = 2
"""Raised whenever a change of this module, or of how text is quoted, changes a prompt."""


@dataclass(frozen=True)
class Prompt:
    """One request: a constant system text, worked examples, and a user message of data only.

    Attributes:
        system: the instructions.
        user: the data of the row.
        examples: user messages and answers that come before it.
        reasoning: where the answer holds its reason.
        choices: what the answer must be one of; () for anything.
        curbed: whether an earlier answer was cut or repeated itself, so that this one is drawn with a higher penalty.
    """

    system: str
    user: str
    examples: tuple[tuple[str, str], ...] = ()
    reasoning: Reasoning = "first"
    choices: tuple[str, ...] = ()
    curbed: bool = False

    def messages(self) -> list[dict[str, str]]:
        """The prompt as the list of chat messages that every engine takes."""
        return [{"role": "system", "content": self.system}, *self._turns(self.examples)]

    def messages_without_system(self) -> list[dict[str, str]]:
        """The same for a chat template that knows no system role: its text stands at the head of the first message."""
        first, *others = self._turns(self.examples)
        return [{"role": "user", "content": f"{self.system}\n\n{first['content']}"}, *others]

    def _turns(self, examples: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
        texts = [*(text for example in examples for text in example), self.user]
        return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


@dataclass(frozen=True)
class Budget:
    """The most that a prompt may hold.

    Attributes:
        count_tokens: the number of tokens of a text.
        tokens: the most tokens of all texts together, without those that the chat template puts around the system text
            and one user message.
    """

    count_tokens: Callable[[str], int]
    tokens: int

    def holds(self, prompt: Prompt) -> bool:
        """Whether the prompt fits."""
        texts = sum(self.count_tokens(message["content"]) for message in prompt.messages())
        return texts + _TURN_TOKENS * len(prompt.examples) <= self.tokens


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


def item_profile(
    product: Product,
    limits: ProfilesConfig,
    budget: Budget | None = None,
    *,
    noun: str = "product",
    curbed: bool = False,
) -> Prompt:
    """The prompt for the profile of an item.

    Args:
        product: the item, with reviews from the train split only.
        limits: how much is shown, and what is asked for.
        budget: the most that the prompt may hold; None for no bound.
        noun: what an item is called.
        curbed: whether an earlier answer did not come to its end, so that this one has no reasoning.

    Raises:
        ConfigError: even the shortest form exceeds the budget.
    """
    feedback = [clip(neutral(text), limits.max_review_chars) for text in product.feedback[: limits.max_feedback]]
    description = clip(neutral(product.description), limits.max_description_chars)
    wording = _wording("item_profile", limits, noun, curbed)

    def render(kept: int) -> Prompt:
        fields = {
            "title": clip(neutral(product.title), _TITLE_CHARS),
            "brand": clip(neutral(product.brand), _BRAND_CHARS),
            "categories": _category_path(product.categories),
            "description": description if kept > 0 else "",
            "feedback": [text for text in feedback if text][: max(kept - 1, 0)],
        }
        return _prompt(wording, quoted(fields), curbed=curbed)

    return _longest(render, len(feedback) + 1, budget)


def user_profile(
    purchases: Sequence[Purchase],
    limits: ProfilesConfig,
    budget: Budget | None = None,
    *,
    noun: str = "product",
    curbed: bool = False,
) -> Prompt:
    """The prompt for the profile of a user.

    Args:
        purchases: at least one, oldest first, from the train split only.
        limits: as for :func:`item_profile`, like all that follow.
        budget: the most that the prompt may hold; None for no bound.
        noun: what an item is called.
        curbed: whether an earlier answer did not come to its end.

    Raises:
        ConfigError: even the latest purchase alone exceeds the budget.
    """
    lines = [
        purchase_line(shown_item(one.title, tuple(one.categories), one.profile, limits), one.rating, one.review, limits)
        for one in purchases[-limits.max_history :]
    ]
    return user_profile_of_lines(lines, limits, budget, noun=noun, curbed=curbed)


def user_profile_of_lines(
    lines: Sequence[str],
    limits: ProfilesConfig,
    budget: Budget | None = None,
    *,
    noun: str = "product",
    curbed: bool = False,
) -> Prompt:
    """:func:`user_profile` from lines of :func:`purchase_line`, of which the last ``limits.max_history`` are shown."""
    lines = lines[-limits.max_history :]
    wording = _wording("user_profile", limits, noun, curbed)

    def render(kept: int) -> Prompt:
        return _prompt(wording, "\n".join(lines[-1 - kept :]), curbed=curbed)

    return _longest(render, len(lines) - 1, budget)


def negative(
    customer: str,
    product: Product,
    profile: str,
    limits: NegativesConfig,
    budget: Budget | None = None,
    *,
    candidates: Sequence[str] = (),
    noun: str = "product",
    curbed: bool = False,
) -> Prompt:
    """The prompt for the hard negative of one (user, item) pair.

    Args:
        customer: the user's profile, or "".
        product: the item that the user bought.
        profile: the item's profile, or "".
        limits: as for :func:`item_profile`, like all that follow.
        budget: the most that the prompt may hold; None for no bound.
        candidates: titles of the items to choose among; those longer than :data:`LONGEST_CHOICE` are left out. Where
            none is left, the model names what it knows.
        noun: what an item is called.
        curbed: whether an earlier answer did not come to its end.

    Raises:
        ConfigError: even the bare product exceeds the budget.
    """
    customer = clip(neutral(customer), limits.max_profile_chars)
    profile = clip(neutral(profile), limits.max_profile_chars)
    titles = dict.fromkeys(" ".join(neutral(title).split()) for title in candidates)
    choices = tuple(title for title in titles if 0 < len(title) <= LONGEST_CHOICE)
    wording = replace(_wording("negative", limits, noun, curbed), chooses=bool(choices))
    words = wording.words

    def render(kept: int) -> Prompt:
        bought = {
            words["chose"]: clip(neutral(product.title), _TITLE_CHARS),
            "categories": _category_path(product.categories),
            "profile": profile if kept > 1 else "",
        }
        lines = [quoted({words["person"]: customer})] if customer and kept > 0 else []
        lines += [quoted(bought), quoted({"candidates": list(choices)})][: 1 + wording.chooses]
        return _prompt(wording, "\n".join(lines), choices, curbed=curbed)

    return _longest(render, 2, budget)


def version(wording: Wording) -> str:
    """Eight hex digits that change with the words or the rendering of a task, for the fingerprint of a stage."""
    text = f"{_RENDERING}\n{wording.system}\n{wording.turns}"
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _wording(task: Task, options: AnswerOptions, noun: str, curbed: bool) -> Wording:
    wording = Wording.of(task, options, noun)
    return wording.without_reasoning() if curbed else wording


def _prompt(wording: Wording, user: str, choices: tuple[str, ...] = (), *, curbed: bool) -> Prompt:
    return Prompt(wording.system, user, wording.turns, wording.reasoning, choices, curbed)


def shown_item(title: str, categories: tuple[str, ...], profile: str, limits: ProfilesConfig) -> tuple[str, str]:
    """What a purchase shows of its item before and after the user's own words, for :func:`purchase_line`."""
    return _shown_item(title, categories, profile, limits.max_profile_chars)


def purchase_line(shown: tuple[str, str], rating: float | None, review: str, limits: ProfilesConfig) -> str:
    """One purchase as a line of compact JSON.

    Args:
        shown: from :func:`shown_item`.
        rating: None where there is none.
        review: the user's own words.
        limits: how much is shown.
    """
    words = entry("review", clip(neutral(review), limits.max_review_chars)) if review else ""
    fields = f"{shown[0]}{'' if rating is None else _rating(rating)}{words}{shown[1]}"
    return f"{{{fields[1:]}}}"  # every field begins with a comma


@functools.lru_cache(maxsize=1 << 15)
def _shown_item(title: str, categories: tuple[str, ...], profile: str, most: int) -> tuple[str, str]:
    """An item that one user bought others bought, too."""
    about = entry("title", clip(neutral(title), _TITLE_CHARS)) + entry("categories", _category_path(categories))
    return about, entry("profile", clip(neutral(profile), most))


@functools.lru_cache(maxsize=1 << 10)
def _rating(rating: float) -> str:
    return entry("rating", round(rating, 1))


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
