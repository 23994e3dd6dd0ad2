"""Nearest rows against a sort of all similarities."""

from __future__ import annotations

import numpy as np
import pytest

from hnlm_ray.kernels.neighbours import nearest_by_scores, nearest_rows
from hnlm_ray.kernels.vectors import unit_rows


@pytest.mark.parametrize(("start", "stop"), [(0, 50), (13, 29), (49, 50)])
def test_nearest_rows_are_the_first_of_a_sort_without_themselves(start: int, stop: int) -> None:
    units = unit_rows(np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32))
    scores = units @ units.T
    for found in (nearest_rows(units, start, stop, 4), nearest_by_scores(scores[start:stop], start, 4)):
        for row in range(start, stop):
            order = [other for other in np.argsort(-scores[row], kind="stable") if other != row][:4]
            chosen = found.rows == row
            assert found.neighbours[chosen].tolist() == order
            assert found.similarities[chosen] == pytest.approx(scores[row, order], abs=1e-6)


def test_neighbours_without_any_similarity_are_left_out() -> None:
    units = np.array([[1, 0], [0, 1], [0, 0], [-1, 0], [0.6, 0.8]], np.float32)
    found = nearest_rows(units, 0, 5, 3)
    assert list(zip(found.rows.tolist(), found.neighbours.tolist(), strict=True)) == [(0, 4), (1, 4), (4, 1), (4, 0)]
