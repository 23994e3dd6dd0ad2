"""The alignment: signed outputs, derived start, a gradient for every weight."""

from __future__ import annotations

import torch

from hnlm_ray.models.alignment import Alignment


def test_outputs_take_both_signs_in_every_coordinate() -> None:
    aligned = Alignment(6, 4, seed=0)(torch.randn(200, 6, generator=torch.Generator().manual_seed(0)))
    assert (aligned > 0).any(dim=0).all()
    assert (aligned < 0).any(dim=0).all()


def test_start_depends_on_the_seed_and_not_on_the_global_generator() -> None:
    torch.manual_seed(1)
    first = Alignment(6, 4, seed=0)
    torch.manual_seed(2)
    again, other = Alignment(6, 4, seed=0), Alignment(6, 4, seed=1)
    assert torch.equal(first.first.weight, again.first.weight)
    assert not torch.equal(first.first.weight, other.first.weight)


def test_every_weight_gets_a_gradient() -> None:
    alignment = Alignment(6, 4, seed=0)
    alignment(torch.randn(9, 6)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in alignment.parameters())
