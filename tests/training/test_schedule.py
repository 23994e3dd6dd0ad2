from __future__ import annotations

import pytest

from hnlm_ray.training.schedule import half_cosine


def test_it_falls_from_one_over_a_half_to_nothing() -> None:
    assert half_cosine(0.0) == 1.0
    assert half_cosine(0.5) == pytest.approx(0.5)
    assert half_cosine(1.0) == 0.0
    values = [half_cosine(step / 10) for step in range(11)]
    assert values == sorted(values, reverse=True)
