"""The graph of items against dense matrices: its normalisation, its sums of powers and their gradients."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from hnlm_ray.config.graphs import ItemGraphOptions
from hnlm_ray.errors import DataError
from hnlm_ray.models.item_graph import ItemGraph, normalised_neighbours
from hnlm_ray.tables import NEIGHBOURS


def neighbours(n_items: int, count: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    rows = [
        (item, other, similarity)
        for item in range(0, n_items, 2)  # every second item has none
        for other, similarity in zip(
            rng.permutation(np.delete(np.arange(n_items), item))[:count],
            np.sort(rng.random(count))[::-1],
            strict=True,
        )
    ]
    return pa.table(dict(zip(NEIGHBOURS.names, map(list, zip(*rows, strict=True)), strict=True)), schema=NEIGHBOURS)


def dense(table: pa.Table, n_items: int, count: int) -> np.ndarray:
    matrix, used = np.zeros((n_items, n_items)), np.zeros(n_items, int)
    for item, other, similarity in zip(*(table[name].to_pylist() for name in NEIGHBOURS.names), strict=True):
        if used[item] < count:
            matrix[item, other] = similarity
            used[item] += 1
    sums = matrix.sum(axis=1)
    roots = np.array([0.0 if value == 0 else value**-0.5 for value in sums])
    return roots[:, None] * matrix * roots[None, :]


@pytest.mark.parametrize("count", [1, 3, 9])
def test_the_nearest_are_kept_and_normalised_on_both_sides(count: int) -> None:
    table = neighbours(12, 5)
    found = normalised_neighbours(table, 12, count).toarray()
    assert found == pytest.approx(dense(table, 12, count), rel=1e-6)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_values_and_gradients_equal_dense_powers(layers: int) -> None:
    matrix = normalised_neighbours(neighbours(30, 4, 1), 30, 4)
    graph = ItemGraph(matrix, ItemGraphOptions(layers=layers), torch.device("cpu"))
    powers = sum(np.linalg.matrix_power(matrix.toarray().astype(np.float64), power) for power in range(layers + 1))
    items = torch.randn(30, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    smoothed = graph.smooth(items)
    assert smoothed.detach().numpy() == pytest.approx(powers @ items.detach().numpy(), abs=1e-5)
    gradient = torch.randn(30, 8, generator=torch.Generator().manual_seed(1))
    smoothed.backward(gradient)
    assert items.grad is not None
    assert items.grad.numpy() == pytest.approx(powers.T @ gradient.numpy(), abs=1e-5)


def test_neighbours_of_another_catalogue_are_refused() -> None:
    with pytest.raises(DataError, match="names item"):
        normalised_neighbours(neighbours(12, 5), 8, 3)
