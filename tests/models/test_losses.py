"""Loss terms against their formulas in float64, and the mixed negative."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from hnlm_ray.models.losses import (
    bpr,
    contrastive,
    generalised_cross_entropy,
    half_squares,
    hinge,
    mix_scores,
    pairwise_contrastive,
    softmax,
    softmax_at_k,
    weighted_mean,
)

USER, POSITIVE, NEGATIVE = (torch.randn(50, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3))


def cosine(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def test_pair_losses_are_their_formulas() -> None:
    gaps = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    wide = gaps.double().numpy()
    np.testing.assert_allclose(bpr(gaps), -np.log(1 / (1 + np.exp(wide))), rtol=1e-5)
    np.testing.assert_allclose(hinge(gaps, 0.3), np.maximum(0.0, wide + 0.3), rtol=1e-5, atol=1e-7)
    near, far = np.exp(-wide / 0.2), 1.0
    np.testing.assert_allclose(pairwise_contrastive(gaps, 0.2), -np.log(near / (near + far)), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_gbce_is_its_formula_and_without_calibration_binary_cross_entropy(calibration: float) -> None:
    generator = torch.Generator().manual_seed(0)
    positive, negatives = torch.randn(50, 1, generator=generator), torch.randn(50, 4, generator=generator)
    of_negatives = generalised_cross_entropy(positive, negatives, 101, calibration)
    found = weighted_mean(of_negatives, None).double().numpy()
    share = 4 / 100
    beta = share * (calibration * (1 - 1 / share) + 1 / share)
    likely, unlikely = (1 / (1 + np.exp(-scores.double().numpy())) for scores in (positive[:, 0], negatives))
    expected = -(beta * np.log(likely) + np.log(1 - unlikely).sum(1)) / 5
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    if calibration == 0.0:
        logits, labels = torch.cat([positive, negatives], dim=1), torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0]])
        plain = functional.binary_cross_entropy_with_logits(logits, labels.expand(50, 5), reduction="none").mean(1)
        np.testing.assert_allclose(found, plain, rtol=1e-5)


def test_gbce_of_all_items_is_binary_cross_entropy_whatever_the_calibration() -> None:
    scores = torch.zeros(3, 1), torch.zeros(3, 9)
    tables = [generalised_cross_entropy(*scores, 10, calibration) for calibration in (0.0, 0.5, 1.0)]
    assert torch.equal(tables[0], tables[1])
    assert torch.equal(tables[0], tables[2])


def test_bpr_stays_finite_and_keeps_its_gradient_where_the_sigmoid_underflows() -> None:
    gap = torch.full((1, 1), 400.0, requires_grad=True)
    loss = bpr(gap).sum()
    loss.backward()
    assert loss.item() == 400.0
    assert gap.grad is not None
    assert gap.grad.item() == 1.0


def test_a_mean_counts_negatives_by_their_weight_and_a_pair_without_any_as_nothing() -> None:
    values = torch.tensor([[1.0, 3.0], [5.0, 7.0], [9.0, 9.0]], requires_grad=True)
    assert weighted_mean(values, None).tolist() == [2.0, 6.0, 9.0]
    weights = torch.tensor([[3.0, 1.0], [1.0, 0.0], [0.0, 0.0]]).log()
    mean = weighted_mean(values, weights)
    torch.testing.assert_close(mean, torch.tensor([1.5, 5.0, 0.0]))
    mean.sum().backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()


@pytest.mark.parametrize("power", [1.0, 1.2])
def test_softmax_losses_are_their_formula_and_pairs_without_negatives_cost_nothing(power: float) -> None:
    generator = torch.Generator().manual_seed(0)
    positive, negatives = torch.rand(6, generator=generator), torch.rand(6, 9, generator=generator)
    positive.requires_grad_()
    weights = torch.rand(6, 9, generator=generator)
    weights[2, 3], weights[4] = 0.0, 0.0
    loss = softmax(positive, negatives, weights.log(), 0.2, power)
    sums = (weights.double() * torch.exp(negatives.double() / 0.2)).sum(dim=1)
    expected = power * sums.log() - positive.detach().double() / 0.2
    expected[4] = 0.0
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    loss.sum().backward()
    assert positive.grad is not None
    torch.testing.assert_close(positive.grad, torch.tensor([-5.0, -5.0, -5.0, -5.0, 0.0, -5.0]))
    plain = softmax(positive, negatives, None, 0.2)
    torch.testing.assert_close(plain, softmax(positive, negatives, torch.zeros(6, 9), 0.2))


def test_softmax_at_k_weighs_by_the_distance_from_the_threshold() -> None:
    positive, negatives, threshold = torch.tensor([0.9, 0.1]), torch.rand(2, 5), torch.tensor([0.5, 0.5])
    loss = softmax_at_k(positive, negatives, None, 0.2, threshold, 0.1)
    expected = torch.sigmoid(torch.tensor([4.0, -4.0])) * softmax(positive, negatives, None, 0.2)
    torch.testing.assert_close(loss, expected)


def test_contrastive_is_the_formula_of_the_paper() -> None:
    user, positive, hard = (table.double().numpy() for table in (USER, POSITIVE, NEGATIVE))
    near, far = np.exp(cosine(user, positive) / 0.2), np.exp(cosine(user, hard) / 0.2)
    np.testing.assert_allclose(contrastive(USER, POSITIVE, NEGATIVE, 0.2), -np.log(near / (near + far)), rtol=1e-4)


def test_half_squares_sums_over_all_tables() -> None:
    assert half_squares(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])).item() == 7.0


def test_the_mixed_negative_has_the_share_and_the_length_it_should() -> None:
    sampled = torch.randn(50, 3, 8, generator=torch.Generator().manual_seed(5))
    scores, lengths = torch.einsum("bkd,bd->bk", sampled, USER), sampled.norm(dim=2)
    for alpha in (0.0, 0.3, 1.0):
        unit = NEGATIVE / NEGATIVE.norm(dim=1, keepdim=True)
        mixed = alpha * unit[:, None] * lengths[:, :, None] + (1 - alpha) * sampled
        found = mix_scores(scores, lengths, USER, 1000.0 * NEGATIVE, alpha)
        torch.testing.assert_close(found, torch.einsum("bkd,bd->bk", mixed, USER), rtol=1e-4, atol=1e-4)
    assert torch.equal(mix_scores(scores, lengths, USER, NEGATIVE, 0.0), scores)
