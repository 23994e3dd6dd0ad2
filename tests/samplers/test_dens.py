"""DENS against a slow reading of its equations and its authors' loss in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hnlm_ray.config.samplers import DENSOptions
from hnlm_ray.samplers.candidates import UnseenItems
from hnlm_ray.samplers.dens import DENSSampler
from hnlm_ray.testing.samplers import Tables, scene_of, setting_of
from hnlm_ray.testing.worlds import random_world

TRAIN, _ = random_world(9, 20, 0.3, 3)
TABLES = Tables.random(TRAIN)


def made(options: DENSOptions) -> DENSSampler:
    """With biases that are not zero, as after some training."""
    sampler = DENSSampler(options, setting_of(TRAIN, 5))
    with torch.no_grad():
        for number, weight in enumerate(sampler.parameters()):
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)))
    return sampler


def gate(sampler: DENSSampler, names: tuple[str, str], left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``sigmoid(W a + V b)`` with both biases."""
    total = 0.0
    for name, vector in zip(names, (left, right), strict=True):
        linear = getattr(sampler, name)
        total = total + linear.weight.detach().double().numpy() @ vector + linear.bias.detach().double().numpy()
    return 1.0 / (1.0 + np.exp(-total))


@pytest.mark.parametrize(("epoch", "weight"), [(1, 0.0), (6, 0.5), (11, 1.0), (50, 1.0)])
def test_it_is_the_rule_of_the_paper(epoch: int, weight: float) -> None:
    sampler = made(DENSOptions(candidates=7, gamma=0.3, warmup=10))
    scene = scene_of(TRAIN, TABLES, epoch=epoch)
    found = sampler(scene)
    drawn = UnseenItems(TRAIN, 0, torch.device("cpu")).draw(scene.users, scene.places, epoch, 7).numpy()
    layers = [
        (users.detach().double().numpy(), items.detach().double().numpy())
        for users, items in zip(TABLES.users, TABLES.items, strict=True)
    ]
    assert found.items is not None
    contrast = 0.0
    for pair, (owner, positive) in enumerate(zip(scene.users.tolist(), scene.items.tolist(), strict=True)):
        parts, chosen = [], []
        for users, items in layers:
            user, liked = users[owner], items[positive]
            relevant = liked * gate(sampler, ("positive_gate", "user_gate"), liked, user)
            gated = {
                item: items[item] * gate(sampler, ("negative_gate", "relevant_gate"), items[item], relevant)
                for item in drawn[pair]
            }
            best = max(drawn[pair], key=lambda item: user @ ((1.0 - weight) * items[item] - gated[item]))
            chosen.append(best)
            parts.append((relevant, liked - relevant, gated[best], items[best] - gated[best], items[best]))
        assert found.items[pair].tolist() == chosen
        p_rel, p_irr, n_rel, n_irr, negative = np.mean(parts, axis=0)
        np.testing.assert_allclose(found.vectors[pair, 0].detach(), negative, rtol=1e-4, atol=1e-5)
        user = np.mean([users[owner] for users, _ in layers], axis=0)
        lower_upper = [(p_irr, p_rel), (n_rel, n_irr), (n_rel, p_rel), (p_irr, n_irr)]
        contrast += np.mean([np.log1p(np.exp(user @ lower - user @ upper)) for lower, upper in lower_upper])
    assert found.penalty is not None
    assert found.penalty.item() == pytest.approx(0.3 * contrast, rel=1e-4)


def test_only_the_contrast_trains_the_gates_and_it_reaches_them_all() -> None:
    sampler = made(DENSOptions(candidates=4))
    found = sampler(scene_of(TRAIN, TABLES))
    weights = list(sampler.parameters())
    assert len(weights) == 8
    of_vectors = torch.autograd.grad(found.vectors.sum(), weights, retain_graph=True, allow_unused=True)
    assert all(gradient is None or not gradient.any() for gradient in of_vectors)
    assert found.penalty is not None
    assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(found.penalty, weights))


def test_gates_start_from_the_seed_alone() -> None:
    first, again, other = (DENSSampler(DENSOptions(), setting_of(TRAIN, 5, seed=seed)) for seed in (0, 0, 1))
    for weight, same, different in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(weight, same)
        assert weight.dim() == 1 or not torch.equal(weight, different)
