from __future__ import annotations

import numpy as np
import pytest

from hnlm_ray.kernels.incidence import incidence
from hnlm_ray.kernels.vectors import unit_rows
from tests.interactions import Build


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_get_the_length_1_and_keep_their_direction(dtype: type) -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 7)).astype(dtype) * dtype(30)
    units = unit_rows(vectors)
    assert units.dtype == np.float32
    exact = vectors.astype(np.float64)
    np.testing.assert_allclose(units, exact / np.sqrt((exact**2).sum(axis=1))[:, None], rtol=1e-5, atol=1e-7)


def test_a_row_of_zeros_stays_one() -> None:
    assert unit_rows(np.array([[0, 0], [3, 4]], np.float16)).tolist() == [[0.0, 0.0], pytest.approx([0.6, 0.8])]


def test_incidence_is_one_at_every_pair_or_the_value_given_for_it(interactions: Build) -> None:
    pairs = interactions([[0, 2], [], [1]], 4)
    assert incidence(pairs).toarray().tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    weighted = incidence(pairs, np.array([0.5, 2.0, 3.0], np.float32))
    assert weighted.dtype == np.float32
    assert weighted.toarray().tolist() == [[0.5, 0, 2, 0], [0, 0, 0, 0], [0, 3, 0, 0]]
