"""The generated world: a catalogue, users with hidden tastes, and the probability that each user likes each item.

A user has two main categories, three styles and a few brands that they like. The probability of liking an item is

    sigmoid(-4 + 2 main + 2 style + 2 main * style + 0.8 brand + quality)

so an item of a main category in a style that the user does not like is a *true hard negative*: close to what they buy,
and known not to be wanted. A user's interactions are drawn by Zipf popularity times that probability, their ratings by
the probability alone. The words are made up for this project (:mod:`hnlm_ray.demo.lexicon`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray import seeds
from hnlm_ray.config.data import DemoWorldConfig
from hnlm_ray.demo import lexicon
from hnlm_ray.kernels.runs import places_in_runs

__all__ = ["Catalogue", "DemoWorld", "Tastes", "generate"]

_N_BRANDS = 24
_LIKED_STYLES = 3
_LIKED_BRANDS = 5
_ZIPF = 0.8
_START, _DAYS = 1_577_836_800, 730  # 2020-01-01, two years


@dataclass(frozen=True)
class Catalogue:
    """The items, as indices into the lexicon.

    Attributes:
        brands: the names of this world's brands.
        category, noun, style, brand, feature: int64 (n_items,).
    """

    brands: tuple[str, ...]
    category: npt.NDArray[np.int64]
    noun: npt.NDArray[np.int64]
    style: npt.NDArray[np.int64]
    brand: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.category)

    def noun_name(self, item: int) -> str:
        """The noun of an item, as in its title."""
        return lexicon.NOUNS[int(self.category[item])][int(self.noun[item])]

    def style_name(self, item: int) -> str:
        """The style of an item, as in its title."""
        return lexicon.STYLES[int(self.style[item])]

    def brand_name(self, item: int) -> str:
        """The brand of an item."""
        return self.brands[int(self.brand[item])]

    def categories(self, item: int) -> tuple[str, str]:
        """The department and the category of an item."""
        return lexicon.CATEGORIES[int(self.category[item])]

    def name(self, item: int) -> str:
        """What an item is called without its brand: style, noun."""
        return f"{self.style_name(item)} {self.noun_name(item)}"

    def title(self, item: int) -> str:
        """The title of an item: brand, style, noun."""
        return f"{self.brand_name(item)} {self.name(item)}"


@dataclass(frozen=True)
class Tastes:
    """What users like; no stage but evaluation may know it.

    Attributes:
        main: int64 (n_users, 2), their two main categories.
        styles: bool (n_users, n_styles), liked styles.
        brands: bool (n_users, n_brands), liked brands.
        probability: float32 (n_users, n_items), of liking an item.
    """

    main: npt.NDArray[np.int64]
    styles: npt.NDArray[np.bool_]
    brands: npt.NDArray[np.bool_]
    probability: npt.NDArray[np.float32]


@dataclass(frozen=True)
class DemoWorld:
    """A generated data set, in the form that readers of raw data give.

    Attributes:
        interactions: user_id, item_id, rating, timestamp, review.
        items: item_id, title, brand, categories, description.
        truth: user_id, item_id, probability, for every pair.
        catalogue: the items before they became text.
        tastes: what ``truth`` was computed from.
    """

    interactions: pa.Table
    items: pa.Table
    truth: pa.Table
    catalogue: Catalogue
    tastes: Tastes


def generate(config: DemoWorldConfig) -> DemoWorld:
    """Generate a world; equal configurations give equal worlds."""
    catalogue = _catalogue(config)
    tastes = _tastes(config, catalogue)
    users, items = _pairs(config, tastes)
    rng = seeds.generator(config.seed, "demo", "ratings")
    liked = rng.random(len(users)) < 0.4 + 0.6 * tastes.probability[users, items]
    ratings = np.where(liked, rng.integers(4, 6, len(users)), rng.integers(1, 4, len(users)))
    timestamps = _START + rng.integers(0, _DAYS * 86_400, len(users))
    user_ids = np.array([f"u{user:05d}" for user in range(config.users)])
    item_ids = np.array([f"i{item:05d}" for item in range(len(catalogue))])
    interactions = pa.table(
        {
            "user_id": user_ids[users],
            "item_id": item_ids[items],
            "rating": pa.array(ratings, pa.float32()),
            "timestamp": pa.array(timestamps, pa.int64()),
            "review": _reviews(rng, catalogue, items, liked),
        }
    )
    shape = tastes.probability.shape
    truth = pa.table(
        {
            "user_id": np.repeat(user_ids, shape[1]),
            "item_id": np.tile(item_ids, shape[0]),
            "probability": tastes.probability.ravel(),
        }
    )
    return DemoWorld(interactions, _items(config, catalogue, item_ids), truth, catalogue, tastes)


def _catalogue(config: DemoWorldConfig) -> Catalogue:
    """Spread the items evenly over categories; inside one, no two share noun and style until all are used."""
    rng = seeds.generator(config.seed, "demo", "catalogue")
    names = [start + end for start in lexicon.BRAND_STARTS for end in lexicon.BRAND_ENDS]
    brands = tuple(str(name) for name in rng.choice(names, _N_BRANDS, replace=False))
    n_categories, n_nouns, n_styles = len(lexicon.CATEGORIES), len(lexicon.NOUNS[0]), len(lexicon.STYLES)
    category = np.arange(config.items) % n_categories
    combination = np.empty(config.items, dtype=np.int64)
    for leaf in range(n_categories):
        members = np.flatnonzero(category == leaf)
        rounds = -(-len(members) // (n_nouns * n_styles))
        drawn = np.concatenate([rng.permutation(n_nouns * n_styles) for _ in range(rounds)])
        combination[members] = drawn[: len(members)]
    return Catalogue(
        brands=brands,
        category=category,
        noun=combination // n_styles,
        style=combination % n_styles,
        brand=rng.integers(0, _N_BRANDS, config.items),
        feature=rng.integers(0, len(lexicon.FEATURES), config.items),
    )


def _tastes(config: DemoWorldConfig, catalogue: Catalogue) -> Tastes:
    rng = seeds.generator(config.seed, "demo", "tastes")
    n_users, n_categories = config.users, len(lexicon.CATEGORIES)
    main = np.argsort(rng.random((n_users, n_categories)), axis=1)[:, :2]
    styles = np.argsort(rng.random((n_users, len(lexicon.STYLES))), axis=1) < _LIKED_STYLES
    brands = np.argsort(rng.random((n_users, _N_BRANDS)), axis=1) < _LIKED_BRANDS
    quality = rng.normal(0.0, 0.4, len(catalogue))
    is_main = (main[:, :, None] == catalogue.category[None, None, :]).any(axis=1)
    is_style, is_brand = styles[:, catalogue.style], brands[:, catalogue.brand]
    logit = -4.0 + 2.0 * is_main + 2.0 * is_style + 2.0 * (is_main & is_style) + 0.8 * is_brand + quality
    return Tastes(main, styles, brands, (1.0 / (1.0 + np.exp(-logit))).astype(np.float32))


def _pairs(config: DemoWorldConfig, tastes: Tastes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Users and items of the interactions, drawn without replacement by popularity times probability (Gumbel top-k)."""
    rng = seeds.generator(config.seed, "demo", "meetings")
    n_users, n_items = tastes.probability.shape
    popularity = (1.0 + rng.permutation(n_items)) ** -_ZIPF
    activity = rng.lognormal(0.0, 0.4, n_users)
    counts = np.clip(np.round(activity / np.sum(activity) * config.interactions), 5, n_items // 2).astype(np.int64)
    keys = np.log(popularity) + np.log(tastes.probability) + rng.gumbel(size=(n_users, n_items))
    order = np.argsort(-keys, axis=1)
    users = np.repeat(np.arange(n_users), counts)
    return users, order[users, places_in_runs(counts)]


def _items(config: DemoWorldConfig, catalogue: Catalogue, item_ids: npt.NDArray[np.str_]) -> pa.Table:
    rng = seeds.generator(config.seed, "demo", "descriptions")
    items, templates = range(len(catalogue)), rng.choice(lexicon.DESCRIPTIONS, len(catalogue))
    return pa.table(
        {
            "item_id": item_ids,
            "title": [catalogue.title(item) for item in items],
            "brand": [catalogue.brand_name(item) for item in items],
            "categories": [list(catalogue.categories(item)) for item in items],
            "description": [_worded(str(templates[item]), catalogue, item) for item in items],
        }
    )


def _reviews(
    rng: np.random.Generator, catalogue: Catalogue, items: npt.NDArray[np.int64], liked: npt.NDArray[np.bool_]
) -> list[str]:
    openers = rng.choice(lexicon.OPENERS, len(items))
    good, bad = rng.choice(lexicon.REVIEWS_GOOD, len(items)), rng.choice(lexicon.REVIEWS_BAD, len(items))
    praises, complaints = rng.choice(lexicon.PRAISES, len(items)), rng.choice(lexicon.COMPLAINTS, len(items))
    reviews = []
    for row, item in enumerate(items):
        template, phrase = (good[row], praises[row]) if liked[row] else (bad[row], complaints[row])
        text = str(template).replace("{opener}", str(openers[row])).replace("{phrase}", str(phrase))
        worded = _worded(text, catalogue, int(item)).strip()
        reviews.append(worded[0].upper() + worded[1:])
    return reviews


def _worded(template: str, catalogue: Catalogue, item: int) -> str:
    return template.format(
        noun=catalogue.noun_name(item).lower(),
        style=catalogue.style_name(item).lower(),
        brand=catalogue.brand_name(item),
        feature=lexicon.FEATURES[catalogue.feature[item]],
    )
