"""Sampling by popularity: the stated power of the train counts over what is unmet."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hnlm_ray.config.samplers import PopularitySamplerOptions as Options
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.samplers.popularity import PopularitySampler, popularity_weights
from hnlm_ray.testing.samplers import Tables, scene_of, setting_of

DEGREES = np.array([40, 12, 9, 5, 5, 3, 1, 0])
TRAIN = Interactions.from_pairs(
    np.concatenate([np.arange(degree) for degree in DEGREES]), np.repeat(np.arange(8), DEGREES), 40, 8
)


@pytest.mark.parametrize("exponent", [0.0, 0.75, 1.0, 2.0])
def test_unmet_items_come_in_proportion_to_the_power_of_their_interactions(exponent: float) -> None:
    sampler = PopularitySampler(Options(negatives=3000, exponent=exponent), setting_of(TRAIN, 2))
    scene = scene_of(TRAIN, Tables.random(TRAIN, dim=2))
    drawn = sampler(scene).items
    assert drawn is not None
    for user in (0, 4, 11, 39):
        met = TRAIN.row(user)
        counts = np.bincount(drawn[scene.users == user].ravel().numpy(), minlength=8)
        assert counts[met].sum() == 0
        expected = np.delete(np.maximum(DEGREES, 1.0) ** exponent, met)
        observed = np.delete(counts, met)
        if len(observed) > 1:
            assert stats.chisquare(observed, expected / expected.sum() * observed.sum()).pvalue > 1e-4


def test_popularity_is_counted_over_all_workers() -> None:
    block = setting_of(TRAIN, 2, (20, 40))
    assert (block.train.item_popularity != block.item_degrees).any()
    tables = Tables.random(TRAIN, dim=2)
    part = PopularitySampler(Options(negatives=50), block)(scene_of(TRAIN, tables, (20, 40))).items
    scene = scene_of(TRAIN, tables)
    whole = PopularitySampler(Options(negatives=50), setting_of(TRAIN, 2))(scene).items
    assert part is not None
    assert whole is not None
    np.testing.assert_array_equal(part, whole[scene.users >= 20])


@pytest.mark.parametrize("exponent", [0.0, 0.75, 500.0])
def test_weights_are_finite_in_the_stated_proportions(exponent: float) -> None:
    weights = popularity_weights(np.array([0, 1, 10**6, 3]), exponent)
    assert np.isfinite(weights).all()
    assert weights[0] == weights[1]
    np.testing.assert_allclose(weights / weights[2], (np.array([1, 1, 10**6, 3]) / 10**6) ** exponent, rtol=1e-12)
