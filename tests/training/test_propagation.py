"""User-sharded propagation against the dense definition in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training.propagation import Propagation
from hnlm_ray.training.shard import Shard, user_ranges


def dense_operator(train: Interactions, layers: int) -> torch.Tensor:
    """Mean of the powers 0 to L of D^-1/2 A D^-1/2, written out as a matrix over users and items."""
    n_users, n_items = train.n_users, train.n_items
    met = np.zeros((n_users, n_items))
    met[train.users, train.items] = 1.0
    adjacency = np.block([[np.zeros((n_users, n_users)), met], [met.T, np.zeros((n_items, n_items))]])
    degrees = adjacency.sum(1)
    scale = np.divide(1.0, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    normalised = scale[:, None] * adjacency * scale[None, :]
    return torch.from_numpy(
        sum(np.linalg.matrix_power(normalised, layer) for layer in range(layers + 1)) / (layers + 1)
    )


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_values_and_gradients_are_those_of_the_dense_matrix(layers: int) -> None:
    train, valid = random_world(13, 9, 0.25, 1)
    propagation = Propagation(Shard.cut(train, valid, 0, 1), layers, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    users, items = torch.randn(13, 4, generator=generator), torch.randn(9, 4, generator=generator)
    weights = torch.randn(22, 4, generator=generator)

    users.requires_grad_()
    items.requires_grad_()
    output = torch.cat(propagation(users, items))
    (output.square() * weights).sum().backward()

    dense = torch.cat([users, items]).detach().double().requires_grad_()
    expected = dense_operator(train, layers) @ dense
    (expected.square() * weights).sum().backward()
    torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=1e-6)
    assert users.grad is not None
    assert items.grad is not None
    assert dense.grad is not None
    torch.testing.assert_close(torch.cat([users.grad, items.grad]).double(), dense.grad, rtol=1e-4, atol=1e-5)


def test_users_and_items_without_interactions_keep_only_their_own_layer() -> None:
    train = Interactions.from_pairs(np.array([0]), np.array([0]), n_users=2, n_items=2)
    users, items = torch.ones(2, 3), torch.ones(2, 3)
    final_users, final_items = Propagation(Shard.cut(train, train, 0, 1), 3, torch.device("cpu"))(users, items)
    torch.testing.assert_close(final_users[1], torch.full((3,), 0.25))
    torch.testing.assert_close(final_items[1], torch.full((3,), 0.25))
    torch.testing.assert_close(final_users[0], torch.ones(3))


@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 40])
def test_ranges_cover_every_user_once_with_even_work(world_size: int) -> None:
    train, _ = random_world(30, 50, 0.3, 2)
    ranges = user_ranges(train, world_size)
    assert len(ranges) == world_size
    assert [user for first, last in ranges for user in range(first, last)] == list(range(30))
    loads = [train.offsets[last] - train.offsets[first] for first, last in ranges]
    assert max(loads) <= len(train.items) / world_size + train.degree.max()
