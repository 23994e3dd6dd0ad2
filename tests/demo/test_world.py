from __future__ import annotations

import numpy as np

from hnlm_ray.config.data import DemoWorldConfig
from hnlm_ray.demo import lexicon
from hnlm_ray.demo.world import generate

SMALL = DemoWorldConfig(users=120, items=96, interactions=1800, seed=3)


def test_equal_configurations_give_equal_worlds() -> None:
    one, two = generate(SMALL), generate(SMALL)
    assert one.interactions.equals(two.interactions)
    assert one.items.equals(two.items)
    other = generate(SMALL.model_copy(update={"seed": 4}))
    assert not one.items.equals(other.items)


def test_the_world_has_the_size_asked_for() -> None:
    world = generate(SMALL)
    assert len(world.items) == 96
    assert len(np.unique(world.interactions["user_id"])) == 120
    assert abs(len(world.interactions) - 1800) < 90
    assert len(world.truth) == 120 * 96


def test_nobody_interacts_with_an_item_twice_and_titles_are_distinct() -> None:
    world = generate(SMALL)
    pairs = set(zip(world.interactions["user_id"].to_pylist(), world.interactions["item_id"].to_pylist(), strict=True))
    assert len(pairs) == len(world.interactions)
    assert len(set(world.items["title"].to_pylist())) == 96


def test_nouns_belong_to_one_category() -> None:
    nouns = [noun for names in lexicon.NOUNS for noun in names]
    assert len(nouns) == len(set(nouns))
    assert len(lexicon.NOUNS) == len(lexicon.CATEGORIES)
    assert len({len(names) for names in lexicon.NOUNS}) == 1


def test_the_truth_follows_the_stated_formula() -> None:
    world = generate(SMALL)
    tastes, catalogue = world.tastes, world.catalogue
    main = (tastes.main[:, :, None] == catalogue.category).any(axis=1)
    style = tastes.styles[:, catalogue.style]
    probability = tastes.probability
    both, shelf_only = probability[main & style].mean(), probability[main & ~style].mean()
    assert both > 0.8
    assert shelf_only < 0.25
    assert probability[~main & ~style].mean() < 0.06


def test_what_people_rate_well_is_what_they_like() -> None:
    world = generate(SMALL)
    users = np.array([int(name[1:]) for name in world.interactions["user_id"].to_pylist()])
    items = np.array([int(name[1:]) for name in world.interactions["item_id"].to_pylist()])
    liked = np.asarray(world.interactions["rating"]) >= 4
    probability = world.tastes.probability[users, items]
    assert probability[liked].mean() > probability[~liked].mean() + 0.2


def test_popularity_has_a_long_tail() -> None:
    world = generate(DemoWorldConfig())
    counts = np.sort(np.unique(world.interactions["item_id"].to_pylist(), return_counts=True)[1])[::-1]
    assert counts[: len(counts) // 10].sum() > 0.3 * counts.sum()
