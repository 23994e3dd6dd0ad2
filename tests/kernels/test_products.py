"""The product of sparse and dense against NumPy in float64, and what it may leave out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from hnlm_ray.kernels.products import SparseBlock


def block_of(rows: int, columns: int, density: float, seed: int) -> tuple[SparseBlock, np.ndarray]:
    matrix = sparse.random_array((rows, columns), density=density, format="csr", dtype=np.float32, rng=seed)
    return SparseBlock(sparse.csr_array(matrix), torch.device("cpu")), matrix.toarray().astype(np.float64)


@given(rows=st.integers(1, 40), columns=st.integers(1, 30), density=st.floats(0.0, 1.0), seed=st.integers(0, 1000))
@settings(max_examples=40)
def test_the_product_is_that_of_the_dense_matrix(rows: int, columns: int, density: float, seed: int) -> None:
    block, dense = block_of(rows, columns, density, seed)
    generator = torch.Generator().manual_seed(seed)
    table, added = torch.randn(columns, 8, generator=generator), torch.randn(rows, 8, generator=generator)
    expected = dense @ table.double().numpy()
    np.testing.assert_allclose(block.multiply(table), expected, rtol=1e-4, atol=1e-5)
    found = block.multiply(table, 0.5, added, 0.25)
    np.testing.assert_allclose(found, 0.5 * expected + 0.25 * added.double().numpy(), rtol=1e-4, atol=1e-5)


def test_rows_that_are_not_read_are_passed_over_where_that_pays() -> None:
    block, dense = block_of(50, 40, 0.5, 0)
    table = torch.full((40, 8), torch.nan)
    table[[3, 17]] = torch.randn(2, 8)
    wanted = dense[:, [3, 17]] @ table[[3, 17]].double().numpy()
    np.testing.assert_allclose(block.multiply(table, reads=torch.tensor([17, 3, 3])), wanted, rtol=1e-4, atol=1e-5)


def test_wanted_rows_are_right_whatever_the_others_hold() -> None:
    block, dense = block_of(50, 40, 0.5, 1)
    table, added, only = torch.randn(40, 8), torch.randn(50, 8), torch.tensor([4, 4, 49, 0])
    found = block.multiply(table, 1.0, added, 2.0, only=only)[only]
    expected = (dense @ table.double().numpy() + 2.0 * added.double().numpy())[only]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("strided", [False, True])
def test_tables_may_be_strided_and_are_left_as_they_are(strided: bool) -> None:
    block, dense = block_of(9, 7, 0.6, 2)
    table = torch.randn(8, 7).T if strided else torch.randn(7, 8)
    before = table.clone()
    np.testing.assert_allclose(block.multiply(table), dense @ table.double().numpy(), rtol=1e-4, atol=1e-5)
    assert torch.equal(table, before)
