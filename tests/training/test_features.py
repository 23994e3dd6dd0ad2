"""Features of items and users in a fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.config.load import load_config
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import ConfigError, DataError
from hnlm_ray.models.features import Rows, feature_rows
from hnlm_ray.tables import ITEM_FEATURES, USER_FEATURES
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training.fit import fit
from hnlm_ray.training.side_information import SideInformation

N_USERS, N_ITEMS, COLD = 60, 30, 6
OPTIONS = {"backbone": "mf", "dim": 8, "epochs": 30, "learning_rate": 0.02, "batch_size": 64, "validate_every": 30}


def names_of(schema: pa.Schema, feature: str, values: list[str]) -> Rows:
    """One categorical feature of every row."""
    rows = [
        {schema.names[0]: row, "feature": feature, "value": None, "names": [name]} for row, name in enumerate(values)
    ]
    return feature_rows(pa.Table.from_pylist(rows, schema=schema), len(values))


BRANDS = names_of(ITEM_FEATURES, "brand", ["even" if item % 2 == 0 else "odd" for item in range(N_ITEMS)])
TASTES = names_of(USER_FEATURES, "taste", ["even" if user % 2 == 0 else "odd" for user in range(N_USERS)])


def world() -> tuple[Interactions, Interactions]:
    """Users like items of their parity; the last items, and the last user, have no train interaction."""
    rng = np.random.default_rng(0)
    likes = (np.arange(N_USERS)[:, None] - np.arange(N_ITEMS)) % 2 == 0
    seen = likes & (rng.random(likes.shape) < 0.5)
    seen[:, -COLD:] = seen[-2:] = False
    parts = seen.nonzero(), (likes & ~seen).nonzero()
    train, valid = (Interactions.from_pairs(*pairs, N_USERS, N_ITEMS) for pairs in parts)
    return train, valid


def share_of_own_brand(variant: VariantConfig, side: SideInformation, users: slice) -> float:
    """How often a cold item of the user's parity is above one of the other parity."""
    train, valid = world()
    found = fit(train, valid, variant, 0, side=side)
    scores = found.user_vectors[users] @ found.item_vectors[-COLD:].T
    own = (np.arange(N_USERS)[users, None] - np.arange(N_ITEMS - COLD, N_ITEMS)) % 2 == 0
    above = [row[mask][:, None] > row[~mask] for row, mask in zip(scores, own, strict=True)]
    return float(np.mean(above))


@pytest.mark.parametrize("backbone", ["mf", "lightgcn"])
def test_cold_items_find_their_users_by_features_and_not_without(backbone: str) -> None:
    variant = VariantConfig.model_validate({**OPTIONS, "backbone": backbone, "item_features": True})
    side = SideInformation(item_features=BRANDS, user_features=TASTES)
    assert share_of_own_brand(variant, side, slice(0, -2)) > 0.9
    without = variant.model_copy(update={"item_features": False})
    assert share_of_own_brand(without, side, slice(0, -2)) < 0.8


def test_users_without_interactions_find_items_by_their_features() -> None:
    variant = VariantConfig.model_validate({**OPTIONS, "item_features": True, "user_features": True})
    side = SideInformation(item_features=BRANDS, user_features=TASTES)
    assert share_of_own_brand(variant, side, slice(-2, None)) == 1.0


def test_features_are_read_by_the_variants_that_ask_for_them_alone() -> None:
    train, valid = random_world(40, 30, 0.2, 0)
    plain = VariantConfig(dim=8, epochs=2, batch_size=64)
    side = SideInformation(item_features=BRANDS)
    first, second = fit(train, valid, plain, 0), fit(train, valid, plain, 0, side=side)
    assert first.user_vectors.tobytes() == second.user_vectors.tobytes()
    third = fit(train, valid, plain.model_copy(update={"item_features": True}), 0, side=side)
    assert third.counts["parameters"] == first.counts["parameters"] + BRANDS.shape[1] * 8


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("item_features", "item_features needs what the stage prepare writes for 30 items, there is"),
        ("user_features", "user_features needs features of 40 users"),
    ],
)
def test_features_that_are_missing_or_of_others_are_refused(option: str, sentence: str) -> None:
    train, valid = random_world(40, 30, 0.2, 0)
    variant = VariantConfig.model_validate({option: True})
    for side in (SideInformation(), replace(SideInformation(), **{option: TASTES})):
        with pytest.raises(DataError, match=sentence):
            fit(train, valid, variant, 0, side=side)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["train.variants={a: {item_features: true}}"], r"a\.item_features is set, and data\.features\.items names no"),
        (
            ["train.variants={a: {backbone: sasrec, user_features: true}}", "data.features.users.numeric=[age]"],
            "the backbone sasrec has no embeddings of users, so user_features has no effect",
        ),
        (
            ["train.variants={a: {backbone: ease, item_features: true}}", "data.features.items.numeric=[price]"],
            "the backbone ease has no item embeddings, so item_features has no effect",
        ),
    ],
)
def test_options_without_an_effect_are_refused(overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_config([], ["data.format=table", "data.path=x", *overrides])
