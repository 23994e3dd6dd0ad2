from __future__ import annotations

import itertools

import numpy as np
import pytest

from hnlm_ray.evaluation.beyond import (
    Reference,
    beyond_accuracy,
    exposure,
    gini,
    intra_list_distance,
    mean_over_list,
    tie_rate,
)
from hnlm_ray.kernels.ranking import Ranked, ranked_scores
from tests.interactions import Build, build

TOP = np.array([[0, 1, 2], [2, 1, -1], [-1, -1, -1]], dtype=np.int32)


def test_popularity_and_novelty_worked_out_by_hand(interactions: Build) -> None:
    train = interactions([[0, 1], [0, 1], [0], [0]], 4)  # items 2 and 3 met nobody
    reference = Reference(train)
    popularity, novelty = (values.tolist() for values in beyond_accuracy(TOP, reference, (3,)))
    assert popularity[:2] == pytest.approx([(4 + 2 + 0) / 3, (0 + 2) / 2])
    # All four users met item 0, half of them item 1; item 2 counts as met by one of four.
    assert novelty[:2] == pytest.approx([(0 + 1 + 2) / 3, (2 + 1) / 2])
    assert np.isnan([popularity[2], novelty[2]]).all()


def test_a_list_shorter_than_the_cutoff_is_averaged_over_what_it_has() -> None:
    of_item = np.array([3.0, 5.0, 7.0])
    assert mean_over_list(TOP, of_item, 2)[:2].tolist() == [4.0, 6.0]
    assert mean_over_list(TOP, of_item, 3)[:2].tolist() == [5.0, 6.0]


def test_tie_rate_counts_places_that_a_number_decided() -> None:
    ranked = ranked_scores(np.array([[4.0, 4.0, 4.0, 1.0, 0.0], [5.0, 4.0, 3.0, 2.0, 2.0]]), None, 4)
    assert tie_rate(ranked, 2).tolist() == [1.0, 0.0]
    assert tie_rate(ranked, 4).tolist() == [2 / 4, 1 / 4]
    assert np.isnan(tie_rate(Ranked.nothing(1, 4), 4)).all()


def test_a_constant_model_is_all_ties_and_a_strict_one_has_none() -> None:
    assert tie_rate(ranked_scores(np.zeros((3, 50)), None, 20), 20).tolist() == [1.0] * 3
    assert tie_rate(ranked_scores(np.arange(150.0).reshape(3, 50), None, 20), 20).tolist() == [0.0] * 3


def test_intra_list_distance_is_one_minus_the_mean_cosine_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    text = rng.normal(size=(30, 6)).astype(np.float16)
    reference_directions = text.astype(np.float64) / np.linalg.norm(text.astype(np.float64), axis=1, keepdims=True)
    top = np.stack([rng.permutation(30)[:8] for _ in range(5)]).astype(np.int32)
    top[1, 3:] = -1
    distances = intra_list_distance(top, reference_of(text).directions, (2, 8))
    for k, user in itertools.product((2, 8), range(5)):
        listed = [item for item in top[user, :k] if item >= 0]
        cosines = [reference_directions[a] @ reference_directions[b] for a, b in itertools.combinations(listed, 2)]
        assert distances[k][user] == pytest.approx(1 - np.mean(cosines), abs=1e-6)


def reference_of(text: np.ndarray) -> Reference:
    return Reference(build([[]], len(text)), text)


def test_intra_list_distance_at_the_edges() -> None:
    text = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 0.0]])  # equal, orthogonal, and no text
    directions = reference_of(text).directions
    top = np.array([[0, 1], [0, 2], [0, 3], [0, -1]], dtype=np.int32)
    assert intra_list_distance(top, directions, (2,))[2][:3].tolist() == [0.0, 1.0, 1.0]
    assert np.isnan(intra_list_distance(top, directions, (2,))[2][3])
    assert np.isnan(intra_list_distance(top, directions, (1,))[1]).all()


def test_gini_of_even_and_of_single_exposure() -> None:
    assert gini(exposure(np.array([[0, 1], [2, 3]], dtype=np.int32), 4, 2)) == 0.0
    assert gini(exposure(np.array([[1], [1], [1]], dtype=np.int32), 4, 1)) == pytest.approx(1 - 1 / 4)
    assert np.isnan(gini(exposure(np.full((2, 3), -1, dtype=np.int32), 4, 3)))


def test_gini_is_half_the_relative_mean_difference() -> None:
    exposures = np.r_[np.random.default_rng(0).integers(0, 9, size=9), 0, 0, 0]
    differences = np.abs(exposures[:, None] - exposures).sum()
    assert gini(exposures) == pytest.approx(differences / (2 * 12**2 * exposures.mean()), abs=1e-12)


def test_exposure_counts_the_items_of_all_lists_above_the_cutoff() -> None:
    assert exposure(TOP, 4, 2).tolist() == [1, 2, 1, 0]
    assert exposure(TOP, 4, 3).tolist() == [1, 2, 2, 0]
