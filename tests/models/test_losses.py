"""Loss terms against their formulas in float64, and the mixed negative."""

from __future__ import annotations

import numpy as np
import torch

from hnlm_ray.models.losses import bpr, contrastive, half_squares, mix_negatives

USER, POSITIVE, NEGATIVE = (torch.randn(50, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3))


def cosine(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def test_bpr_is_minus_log_sigmoid_of_the_gap() -> None:
    user, positive, negative = (table.double().numpy() for table in (USER, POSITIVE, NEGATIVE))
    gap = (user * positive).sum(1) - (user * negative).sum(1)
    np.testing.assert_allclose(bpr(USER, POSITIVE, NEGATIVE), -np.log(1 / (1 + np.exp(-gap))), rtol=1e-5)


def test_bpr_stays_finite_and_keeps_its_gradient_where_the_sigmoid_underflows() -> None:
    user = torch.full((1, 1), 200.0, requires_grad=True)
    loss = bpr(user, torch.tensor([[-1.0]]), torch.tensor([[1.0]])).sum()
    loss.backward()
    assert loss.item() == 400.0
    assert user.grad is not None
    assert user.grad.item() == 2.0


def test_contrastive_is_the_formula_of_the_paper() -> None:
    user, positive, hard = (table.double().numpy() for table in (USER, POSITIVE, NEGATIVE))
    near, far = np.exp(cosine(user, positive) / 0.2), np.exp(cosine(user, hard) / 0.2)
    np.testing.assert_allclose(contrastive(USER, POSITIVE, NEGATIVE, 0.2), -np.log(near / (near + far)), rtol=1e-4)


def test_half_squares_sums_over_all_tables() -> None:
    assert half_squares(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])).item() == 7.0


def test_mixed_negative_has_the_share_and_the_length_it_should() -> None:
    for alpha in (0.0, 0.3, 1.0):
        mixed = mix_negatives(POSITIVE, 1000.0 * NEGATIVE, alpha)
        length = POSITIVE.norm(dim=1, keepdim=True)
        expected = alpha * NEGATIVE / NEGATIVE.norm(dim=1, keepdim=True) * length + (1 - alpha) * POSITIVE
        torch.testing.assert_close(mixed, expected)
    assert torch.equal(mix_negatives(POSITIVE, NEGATIVE, 0.0), POSITIVE)
