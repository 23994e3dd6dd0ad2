"""User-sharded propagation against the dense definition in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.models.protocol import Layer
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training.graph import InteractionGraph
from hnlm_ray.training.shard import user_ranges


def dense_operator(train: Interactions, shares: list[float]) -> torch.Tensor:
    """Weighted sum of the powers of D^-1/2 A D^-1/2, written out as a matrix over users and items."""
    n_users, n_items = train.n_users, train.n_items
    met = np.zeros((n_users, n_items))
    met[train.users, train.items] = 1.0
    adjacency = np.block([[np.zeros((n_users, n_users)), met], [met.T, np.zeros((n_items, n_items))]])
    degrees = adjacency.sum(1)
    scale = np.divide(1.0, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    normalised = scale[:, None] * adjacency * scale[None, :]
    return torch.from_numpy(
        sum(share * np.linalg.matrix_power(normalised, power) for power, share in enumerate(shares))
    )


def graph_of(train: Interactions) -> InteractionGraph:
    return InteractionGraph(train, 0, train.item_popularity, torch.device("cpu"))


WEIGHTS = [
    [[1.0]],
    [[0.5, 0.5]],
    [[0.25] * 4],
    [[0.0, 0.5, 0.0, 0.5]],
    [[0.3, 0.0, 0.7], [0.0, 1.0, 0.0]],
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
]


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_values_and_gradients_are_those_of_the_dense_matrix(weights: list[list[float]]) -> None:
    train, _ = random_world(13, 9, 0.25, 1)
    graph = graph_of(train)
    generator = torch.Generator().manual_seed(0)
    users, items = torch.randn(13, 4, generator=generator), torch.randn(9, 4, generator=generator)
    factors = [torch.randn(22, 4, generator=generator) for _ in weights]

    users.requires_grad_()
    items.requires_grad_()
    outputs = [torch.cat(layer) for layer in graph.propagate(users, items, weights)]
    torch.stack(
        [(output.square() * factor).sum() for output, factor in zip(outputs, factors, strict=True)]
    ).sum().backward()

    dense = torch.cat([users, items]).detach().double().requires_grad_()
    expected = [dense_operator(train, shares) @ dense for shares in weights]
    torch.stack(
        [(output.square() * factor).sum() for output, factor in zip(expected, factors, strict=True)]
    ).sum().backward()
    for output, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output.double(), wanted, rtol=1e-5, atol=1e-6)
    assert users.grad is not None
    assert items.grad is not None
    assert dense.grad is not None
    torch.testing.assert_close(torch.cat([users.grad, items.grad]).double(), dense.grad, rtol=1e-4, atol=1e-5)


def test_what_is_added_between_hops_passes_through_the_later_ones() -> None:
    train, _ = random_world(13, 9, 0.25, 1)
    users, items = torch.randn(13, 4), torch.randn(9, 4)

    def perturb(hop: int, layer: Layer) -> Layer:
        return layer[0] + hop, layer[1] - hop

    found = torch.cat(graph_of(train).propagate(users, items, [[0.0, 0.5, 0.5]], perturb)[0])
    hop = dense_operator(train, [0.0, 1.0]).float()
    added = torch.cat([torch.ones(13, 1), -torch.ones(9, 1)])
    first = hop @ torch.cat([users, items]) + added
    second = hop @ first + 2 * added
    torch.testing.assert_close(found, (first + second) / 2, rtol=1e-4, atol=1e-5)


def test_users_and_items_without_interactions_keep_only_their_own_layer() -> None:
    train = Interactions.from_pairs(np.array([0]), np.array([0]), n_users=2, n_items=2)
    final_users, final_items = graph_of(train).propagate(torch.ones(2, 3), torch.ones(2, 3), [[0.25] * 4])[0]
    torch.testing.assert_close(final_users[1], torch.full((3,), 0.25))
    torch.testing.assert_close(final_items[1], torch.full((3,), 0.25))
    torch.testing.assert_close(final_users[0], torch.ones(3))


def test_a_thinned_graph_loses_about_its_share_and_is_normalised_anew() -> None:
    train, _ = random_world(60, 50, 0.3, 1)
    thinned = graph_of(train).thinned(0.4, 0, ("test",))
    kept = torch.cat(thinned.propagate(torch.ones(60, 1), torch.ones(50, 1), [[0.0, 1.0]])[0])
    again = torch.cat(
        graph_of(train).thinned(0.4, 0, ("test",)).propagate(torch.ones(60, 1), torch.ones(50, 1), [[0.0, 1.0]])[0]
    )
    assert torch.equal(kept, again)
    assert not torch.equal(
        kept, torch.cat(graph_of(train).thinned(0.4, 0, ("other",)).hop(torch.ones(60, 1), torch.ones(50, 1)))
    )
    fewer = thinned._train  # the edges themselves are nobody's business but this test's
    assert 0.5 < len(fewer) / len(train) < 0.7
    expected = torch.cat(graph_of(fewer).hop(torch.ones(60, 1), torch.ones(50, 1)))
    torch.testing.assert_close(kept, expected)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 40])
def test_ranges_cover_every_user_once_with_even_work(world_size: int) -> None:
    train, _ = random_world(30, 50, 0.3, 2)
    ranges = user_ranges(train, world_size)
    assert len(ranges) == world_size
    assert [user for first, last in ranges for user in range(first, last)] == list(range(30))
    loads = [train.offsets[last] - train.offsets[first] for first, last in ranges]
    assert max(loads) <= len(train.items) / world_size + train.degree.max()
