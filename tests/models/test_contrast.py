"""InfoNCE, alignment and uniformity against their formulas, with nodes that come twice in a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from hnlm_ray.models.contrast import alignment, info_nce, kernel_sums
from hnlm_ray.training.objective import BatchNodes, alignment_and_uniformity, first_occurrences, view_contrast

USERS, ITEMS = torch.tensor([3, 1, 3, 0, 1, 3]), torch.tensor([2, 2, 0, 4, 1, 2])


def tables(*sizes: int, dim: int = 4) -> list[torch.Tensor]:
    return [torch.randn(size, dim, generator=torch.Generator().manual_seed(size)).requires_grad_() for size in sizes]


def by_hand(first: torch.Tensor, second: torch.Tensor, nodes: torch.Tensor, temperature: float) -> float:
    """The mean over the distinct nodes of ``-log`` of each one's share."""
    distinct = sorted(set(nodes.tolist()))
    left, right = first.detach().double().numpy(), second.detach().double().numpy()

    def similarity(x: int, y: int) -> float:
        cosine = left[x] @ right[y] / np.linalg.norm(left[x]) / np.linalg.norm(right[y])
        return float(np.exp(cosine / temperature))

    return float(np.mean([-np.log(similarity(x, x) / sum(similarity(x, y) for y in distinct)) for x in distinct]))


@pytest.mark.parametrize("temperature", [0.15, 1.0])
def test_contrast_between_views_counts_each_node_once(temperature: float) -> None:
    users, others, items, other_items = (
        table for pair in zip(tables(5, 6), tables(7, 8), strict=True) for table in pair
    )
    nodes = BatchNodes(USERS, ITEMS, torch.arange(6), 6)
    found = view_contrast((users, items), (others, other_items), (USERS, ITEMS), nodes, temperature)
    expected = by_hand(users, items, USERS, temperature) + by_hand(others, other_items, ITEMS, temperature)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_info_nce_of_a_repeated_node_is_that_of_its_first_place() -> None:
    rows, columns = tables(4, 5)
    numbers = torch.tensor([1, 3, 1])
    counted = first_occurrences(numbers)
    values = info_nce(rows[numbers], columns[numbers], torch.arange(3), counted, 0.2)
    assert counted.tolist() == [True, True, False]
    torch.testing.assert_close(values[0], values[2])
    assert values.isfinite().all()
    alone = info_nce(rows[:1], columns[:1], torch.arange(1), torch.tensor([True]), 0.2)
    torch.testing.assert_close(alone, torch.zeros(1))


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_directau_is_its_authors_formula(weight: float) -> None:
    user, item = tables(5, 6)
    nodes = BatchNodes(USERS, ITEMS, torch.arange(6), 6)
    found = alignment_and_uniformity(user[USERS], item[ITEMS], item, nodes, weight)
    x, y = functional.normalize(user[USERS].double()), functional.normalize(item[ITEMS].double())
    spread = [torch.pdist(rows).square().mul(-2.0).exp().mean().log() for rows in (x, y)]
    expected = (x - y).norm(dim=1).square().mean() + weight * (spread[0] + spread[1]) / 2.0
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    for table in (user, item):
        (gradient,) = torch.autograd.grad(found, table, retain_graph=True)
        (wanted,) = torch.autograd.grad(expected, table, retain_graph=True)
        torch.testing.assert_close(gradient, wanted.float(), rtol=1e-4, atol=1e-5)


def test_a_batch_of_one_pair_and_equal_vectors_stay_finite() -> None:
    user = torch.ones(1, 4, requires_grad=True)
    nodes = BatchNodes(torch.tensor([0]), torch.tensor([0]), torch.tensor([0]), 1)
    loss = alignment_and_uniformity(user, user.detach(), user, nodes, 1.0)
    (gradient,) = torch.autograd.grad(loss, user)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert alignment(user, user).item() == 0.0
    torch.testing.assert_close(kernel_sums(user, torch.cat([user, -user])), torch.tensor([1.0 + np.exp(-8.0)]).float())
