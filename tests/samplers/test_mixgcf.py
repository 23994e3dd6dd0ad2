"""MixGCF against its equations in NumPy, every mixture written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from hnlm_ray import seeds
from hnlm_ray.config.samplers import MixGCFOptions
from hnlm_ray.samplers.candidates import UnseenItems
from hnlm_ray.samplers.mixgcf import MixGCFSampler
from hnlm_ray.testing.samplers import Tables, scene_of, setting_of
from hnlm_ray.testing.worlds import random_world

TRAIN, _ = random_world(9, 20, 0.3, 3)


def shares_of(places: np.ndarray, epoch: int, layer: int, seed: int = 0) -> np.ndarray:
    """The mixing share of each pair, in (0, 1)."""
    whole = seeds.uniform_integers(seeds.derive(seed, "mixgcf", epoch, layer), places, 2**24)
    return (whole + 0.5) / 2**24


@pytest.mark.parametrize("layers", [1, 4])
def test_the_negative_is_the_mean_of_the_hardest_mixture_of_each_layer(layers: int) -> None:
    tables = Tables.random(TRAIN, layers=layers)
    scene = scene_of(TRAIN, tables, epoch=3)
    found = MixGCFSampler(MixGCFOptions(candidates=7), setting_of(TRAIN, 5))(scene)
    drawn = UnseenItems(TRAIN, 0, torch.device("cpu")).draw(scene.users, scene.places, 3, 7).numpy()
    items = [layer.detach().double().numpy() for layer in tables.items]
    user = scene.user.detach().double().numpy()
    assert found.items is not None
    for pair, positive in enumerate(scene.items.tolist()):
        hardest, chosen = [], []
        for number, layer in enumerate(items):
            share = shares_of(scene.places.numpy(), 3, number)[pair]
            mixtures = [share * layer[positive] + (1.0 - share) * layer[item] for item in drawn[pair]]
            best = int(np.argmax([user[pair] @ mixture for mixture in mixtures]))
            hardest.append(mixtures[best])
            chosen.append(drawn[pair, best])
        np.testing.assert_allclose(found.vectors[pair, 0].detach(), np.mean(hardest, axis=0), rtol=1e-4, atol=1e-5)
        assert found.items[pair].tolist() == chosen


def test_shares_fill_the_unit_interval_and_differ_by_pair_and_layer() -> None:
    tables = Tables.marked(TRAIN, layers=2)
    shares = []
    for epoch in range(1, 60):
        scene = scene_of(TRAIN, tables, epoch=epoch)
        vectors = MixGCFSampler(MixGCFOptions(candidates=1), setting_of(TRAIN, 20))(scene).vectors[:, 0]
        shares.append(vectors.gather(1, scene.items[:, None]).squeeze(1))
    # The mean of two independent uniform shares has a triangular law.
    assert stats.kstest(torch.cat(shares).detach().numpy(), stats.triang(0.5).cdf).pvalue > 1e-4


def test_the_positive_and_the_chosen_rows_share_the_gradient() -> None:
    tables = Tables.random(TRAIN, layers=1)
    scene = scene_of(TRAIN, tables)
    found = MixGCFSampler(MixGCFOptions(candidates=3), setting_of(TRAIN, 5))(scene)
    (gradient,) = torch.autograd.grad(found.vectors[0].sum(), tables.items)
    share = float(shares_of(scene.places.numpy(), 1, 0)[0])
    assert found.items is not None
    expected = torch.zeros_like(tables.items[0])
    expected[scene.items[0]] = share
    expected[found.items[0, 0]] = 1.0 - share
    torch.testing.assert_close(gradient.to_dense(), expected)
