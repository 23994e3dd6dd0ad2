"""What the demo language model learns from: prompts of generated worlds, with the answers that a good model would give.

Worlds are generated with seeds of their own, so the items and users of the demo and of the tests are new to the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnlm_ray import seeds
from hnlm_ray.config.data import DemoWorldConfig
from hnlm_ray.config.language import NegativesConfig, ProfilesConfig
from hnlm_ray.demo import lexicon
from hnlm_ray.demo.world import Catalogue, DemoWorld, generate
from hnlm_ray.language.prompts import render
from hnlm_ray.language.prompts.render import Product, Prompt, Purchase
from hnlm_ray.language.prompts.wording import Task

__all__ = ["FIRST_SEED", "Example", "examples"]

FIRST_SEED = 1_000_000
"""Worlds for training have seeds from here on; the demo and the tests use smaller seeds."""

_USERS, _INTERACTIONS = 200, 4000


@dataclass(frozen=True)
class Example:
    """A prompt and the answer to learn."""

    task: Task
    prompt: Prompt
    answer: str


def examples(n_worlds: int, longest_history: int = 9) -> Iterator[Example]:
    """Yield the examples of some generated worlds, shuffled within each world.

    Args:
        n_worlds: how many worlds, with seeds from :data:`FIRST_SEED` on.
        longest_history: prompts for a user's profile show 2 to this many interactions.
    """
    for number in range(n_worlds):
        world = generate(DemoWorldConfig(users=_USERS, interactions=_INTERACTIONS, seed=FIRST_SEED + number))
        writer = _Writer(world, longest_history, seeds.generator(FIRST_SEED + number, "corpus"))
        batch = [*writer.item_profiles(), *writer.user_profiles(), *writer.negatives()]
        for index in writer.rng.permutation(len(batch)):
            yield batch[index]


class _Writer:
    """Turns one world into examples, as varied in length and in missing fields as the prompts of real runs."""

    def __init__(self, world: DemoWorld, longest_history: int, rng: np.random.Generator) -> None:
        self.longest_history = longest_history
        self.rng = rng
        self.catalogue = world.catalogue
        self.descriptions = world.items["description"].to_pylist()
        self.reviews = world.interactions["review"].to_pylist()
        self.ratings = np.asarray(world.interactions["rating"])
        users = np.asarray([int(name[1:]) for name in world.interactions["user_id"].to_pylist()])
        self.items = np.asarray([int(name[1:]) for name in world.interactions["item_id"].to_pylist()])
        liked = np.flatnonzero(self.ratings >= 4)
        order = liked[np.argsort(users[liked], kind="stable")]
        self.rows_of_users = np.split(order, np.flatnonzero(np.diff(users[order])) + 1)
        self.rows_of_items = {int(item): np.flatnonzero(self.items == item) for item in np.unique(self.items)}

    def item_profiles(self) -> Iterator[Example]:
        limits = ProfilesConfig(max_description_chars=160, max_review_chars=80, max_feedback=2)
        for item in self.rng.choice(len(self.catalogue), 80, replace=False).tolist():
            rows = self.rows_of_items.get(item, np.empty(0, np.int64))
            feedback = [self.reviews[row] for row in self.rng.permutation(rows)[: self.rng.integers(0, 3)]]
            brand, categories = self.catalogue.brand_name(item), self.catalogue.categories(item)
            product = Product(self.catalogue.title(item), brand, categories, self.descriptions[item], feedback)
            # The name as the title spells it, so that the same tokens are copied.
            reasoning = f"{self.catalogue.name(item)}, sold under {categories[1]}."
            answer = _json(reasoning=reasoning, summary=_item_summary(self.catalogue, item))
            yield Example("item_profile", render.item_profile(product, limits), answer)

    def user_profiles(self) -> Iterator[Example]:
        for rows in self.rows_of_users:
            limits = ProfilesConfig(
                max_history=int(self.rng.integers(2, self.longest_history + 1)),
                max_review_chars=int(self.rng.choice([0, 0, 40])),
                max_profile_chars=int(self.rng.choice([0, 80])),
            )
            shown = rows[-limits.max_history :]
            with_rating = self.rng.random() < 0.7
            purchases = [self._purchase(int(row), with_rating) for row in shown]
            reasoning, summary = _user_answer(self.catalogue, self.items[shown])
            yield Example(
                "user_profile", render.user_profile(purchases, limits), _json(reasoning=reasoning, summary=summary)
            )

    def negatives(self) -> Iterator[Example]:
        for rows in self.rows_of_users:
            _, customer = _user_answer(self.catalogue, self.items[rows[-int(self.rng.integers(6, 13)) :]])
            for row in self.rng.permutation(rows)[:1]:
                item = int(self.items[row])
                profile = _item_summary(self.catalogue, item) if self.rng.random() < 0.85 else ""
                shown = customer if self.rng.random() < 0.95 else ""
                product = Product(self.catalogue.title(item), categories=self.catalogue.categories(item))
                answer = self._negative(item, shown)
                yield Example("negative", render.negative(shown, product, profile, NegativesConfig()), answer)

    def _negative(self, item: int, customer: str) -> str:
        """Name an item of the same category in a style that the customer's profile lacks; the reasoning lists these."""
        liked, own = customer.rpartition("mostly ")[-1], self.catalogue.style_name(item)
        styles = [name for name in lexicon.STYLES if name.lower() not in liked and name != own]
        style = str(self.rng.choice(styles))
        noun = str(self.rng.choice(lexicon.NOUNS[self.catalogue.category[item]]))
        reasoning = f"Also {self.catalogue.categories(item)[1]}; not their style: {', '.join(styles).lower()}."
        return _json(reasoning=reasoning, hard_negative=f"{style} {noun}")

    def _purchase(self, row: int, with_rating: bool) -> Purchase:
        item = int(self.items[row])
        return Purchase(
            title=self.catalogue.title(item),
            categories=self.catalogue.categories(item),
            profile=_item_summary(self.catalogue, item),
            rating=float(self.ratings[row]) if with_rating else None,
            review=self.reviews[row],
        )


def _item_summary(catalogue: Catalogue, item: int) -> str:
    leaf, style = catalogue.categories(item)[1], catalogue.style_name(item).lower()
    return f"{leaf} for people who like {style} things; it {lexicon.FEATURES[catalogue.feature[item]]}."


def _user_answer(catalogue: Catalogue, items: npt.NDArray[np.int64]) -> tuple[str, str]:
    """Reasoning and summary from the items shown: a tally, and its commonest two categories and three styles.

    To count first and to compare the counts after is what a small model can learn; to do both at once is not.
    """
    leaves = _tally([leaf for _, leaf in lexicon.CATEGORIES], catalogue.category[items])
    styles = _tally([style.lower() for style in lexicon.STYLES], catalogue.style[items])
    reasoning = f"{_counted(leaves)}; {_counted(styles)}."
    return reasoning, f"Enjoys {_joined(_commonest(leaves, 2))}, mostly {_joined(_commonest(styles, 3))} things."


def _tally(names: list[str], numbers: npt.NDArray[np.int64]) -> dict[str, int]:
    """How often each name occurs, in the order of the lexicon, without those that do not."""
    counts = np.bincount(numbers, minlength=len(names))
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}


def _counted(tally: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in tally.items())


def _commonest(tally: dict[str, int], most: int) -> list[str]:
    """By count; among equals, in the order of the tally."""
    return sorted(tally, key=tally.__getitem__, reverse=True)[:most]


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _json(**fields: str) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
