"""The losses of tuning against their formulas in float64."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import normalize

from hnlm_ray.tuning.losses import infonce, pairwise_logistic


def units(rows: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def test_infonce_is_its_formula() -> None:
    vectors, targets, positives = units(3, 0), units(6, 1), units(3, 2)
    own = torch.tensor([1, 4, 5])
    keys = torch.tensor([7, 8, 9, 7, 8, 3])  # targets 1 and 4 are one item
    is_same = keys[own][:, None] == keys
    found = infonce(vectors, targets, own, is_same, positives, 0.3)
    for row in range(3):
        score = float(vectors[row] @ targets[own[row]]) / 0.3
        others = [float(vectors[row] @ targets[j]) / 0.3 for j in range(6) if keys[j] != keys[own[row]]]
        others.append(float(vectors[row] @ positives[row]) / 0.3)
        expected = -math.log(math.exp(score) / (math.exp(score) + sum(map(math.exp, others))))
        assert abs(float(found[row]) - expected) < 1e-5


def test_a_target_of_the_same_item_is_no_distractor() -> None:
    vectors, targets = units(1, 0), units(1, 1).repeat(4, 1)
    alone = infonce(vectors, targets[:1], torch.tensor([0]), torch.ones(1, 1, dtype=torch.bool), units(1, 2), 0.1)
    among = infonce(vectors, targets, torch.tensor([2]), torch.ones(1, 4, dtype=torch.bool), units(1, 2), 0.1)
    assert torch.equal(alone, among)


def test_pairwise_is_the_publications() -> None:
    vectors, targets, positives = units(4, 0), units(4, 1), units(4, 2)
    gap = ((vectors * targets).sum(1) - (vectors * positives).sum(1)) / 0.05
    expected = -torch.log(torch.sigmoid(gap))
    torch.testing.assert_close(
        pairwise_logistic(vectors, targets, positives, 0.05).double(), expected, rtol=1e-5, atol=1e-6
    )


def test_half_precision_vectors_are_compared_in_single() -> None:
    vectors = units(2, 0).to(torch.bfloat16)
    assert pairwise_logistic(vectors, units(2, 1), units(2, 2), 0.05).dtype == torch.float32
    same = torch.eye(2, dtype=torch.bool)
    assert infonce(vectors, units(2, 1), torch.arange(2), same, units(2, 2), 0.1).dtype == torch.float32
