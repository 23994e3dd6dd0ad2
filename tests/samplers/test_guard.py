"""The guard: what it holds, how it is looked up, and that every sampler and loss respects it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from hnlm_ray.config.guards import GuardOptions
from hnlm_ray.config.samplers import Sampler
from hnlm_ray.config.section import kinds
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.errors import DataError
from hnlm_ray.samplers.build import build_sampler
from hnlm_ray.samplers.guard import Guard, GuardLookup
from hnlm_ray.samplers.protocol import trust_in
from hnlm_ray.tables import GUARD
from hnlm_ray.testing.samplers import Tables, scene_of, setting_of
from hnlm_ray.testing.worlds import random_world

TRAIN, _ = random_world(17, 23, 0.3, 2)
TABLES = Tables.random(TRAIN)


def table_of(rows: list[tuple[int, int, int, float]]) -> pa.Table:
    return pa.table(dict(zip(GUARD.names, map(list, zip(*rows, strict=True)), strict=True)), schema=GUARD)


def unseen(share: float, seed: int = 0) -> np.ndarray:
    keys = np.setdiff1d(np.arange(TRAIN.n_users * TRAIN.n_items), TRAIN.keys)
    return keys[np.random.default_rng(seed).random(len(keys)) < share]


def test_trust_is_the_weight_zero_for_the_excluded_and_one_for_the_rest() -> None:
    table = table_of([(1, 5, 1, 0.1), (1, 2, 2, 0.4), (0, 5, 1, 0.3)])
    users, items = torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([5, 2, 5, 2, 3, 5])
    for options, expected in (
        ({}, [0.3, 1.0, 0.1, 0.4, 1.0, 1.0]),
        ({"exclude": 1}, [0.0, 1.0, 0.0, 0.4, 1.0, 1.0]),
        ({"exclude": 1, "weights": False}, [0.0, 1.0, 0.0, 1.0, 1.0, 1.0]),
    ):
        guard = Guard.from_table(table, 7, GuardOptions.model_validate({"table": "any", **options}))
        lookup = GuardLookup(guard, torch.device("cpu"))
        assert lookup.trust(users, items).tolist() == pytest.approx(expected)
        assert lookup.excludes == ("exclude" in options)


def test_lookup_equals_a_dictionary_for_every_block_of_users() -> None:
    keys = unseen(0.4)
    trust = np.random.default_rng(1).random(len(keys)).astype(np.float32)
    known = dict(zip(keys.tolist(), trust.tolist(), strict=True))
    for first, last in ((0, 17), (3, 9), (16, 17), (5, 5)):
        lookup = GuardLookup(Guard(keys, trust, 23).slice_users(first, last), torch.device("cpu"))
        users, items = torch.arange(last - first)[:, None], torch.arange(23)[None, :]
        expected = [[known.get((first + user) * 23 + item, 1.0) for item in range(23)] for user in range(last - first)]
        assert lookup.trust(users, items).tolist() == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 1, 1, 0.5), (0, 1, 2, 0.6)], "twice"),
        ([(0, 9, 1, 0.5)], "item 9 of 7"),
        ([(0, 1, 1, 1.5)], "outside"),
    ],
)
def test_a_table_that_contradicts_itself_is_one_sentence(rows: list[tuple[int, int, int, float]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Guard.from_table(table_of(rows), 7, GuardOptions(table="any"))


def options_of(name: str) -> Any:
    return VariantConfig.model_validate(
        {"sampler": name, "loss": "softmax" if kinds(Sampler)[name].needs_softmax else "bpr"}
    ).sampler


@pytest.mark.parametrize("name", [name for name, kind in kinds(Sampler).items() if "candidates" in kind.model_fields])
def test_samplers_that_choose_leave_excluded_items_out(name: str) -> None:
    """Every candidate but one item per user is excluded; where it was drawn, it must be chosen or carry all trust."""
    allowed = np.array([np.setdiff1d(np.arange(23), TRAIN.row(user))[0] for user in range(17)])
    keys = np.setdiff1d(np.arange(17 * 23), np.r_[TRAIN.keys, np.arange(17) * 23 + allowed])
    guard = GuardLookup(Guard(keys, np.zeros(len(keys), np.float32), 23), torch.device("cpu"))
    sampler = build_sampler(options_of(name).model_copy(update={"candidates": 200}), setting_of(TRAIN, TABLES.dim))
    scene = scene_of(TRAIN, TABLES)
    free = sampler(scene)
    object.__setattr__(scene, "guard", guard)
    negatives = sampler(scene)
    trust = trust_in(scene, negatives)
    assert trust is not None
    assert trust_in(scene, negatives) is not None
    assert negatives.items is not None
    if name == "softmax_importance":
        assert (trust.sum(dim=1) > 0).all()  # among the candidates, the others count for nothing
        return
    assert (negatives.items == torch.from_numpy(allowed)[scene.users][:, None]).all()
    assert (trust == 1.0).all()
    assert free.items is not None
    assert not torch.equal(free.items, negatives.items)


@pytest.mark.parametrize("name", list(kinds(Sampler)))
def test_every_sampler_says_how_far_its_negatives_are_trusted(name: str) -> None:
    keys = unseen(0.5)
    guard = GuardLookup(Guard(keys, np.full(len(keys), 0.25, np.float32), 23), torch.device("cpu"))
    scene = scene_of(TRAIN, TABLES)
    object.__setattr__(scene, "guard", guard)
    negatives = build_sampler(options_of(name), setting_of(TRAIN, TABLES.dim))(scene)
    trust = trust_in(scene, negatives)
    assert trust is not None
    shape = negatives.vectors.shape[:2] if negatives.vectors.dim() == 3 else (len(scene.users), len(negatives.vectors))
    assert trust.shape == shape
    assert (trust < 1.0).any()
    assert ((trust >= 0.25) & (trust <= 1.0)).all()
