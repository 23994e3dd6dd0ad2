"""Joined vectors against the sum of z-scores on whole matrices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnlm_ray.config.backbones import EnsembleOptions
from hnlm_ray.models.blend import Blend, Teacher
from hnlm_ray.models.closed_form import closed_form
from hnlm_ray.models.joined import JoinedVectors
from hnlm_ray.models.rankers import VectorRanker
from hnlm_ray.testing.worlds import random_world

TRAIN, _ = random_world(20, 31, 0.2, 4)
OPTIONS = EnsembleOptions.model_validate({"members": [{"variant": "one"}, {"variant": "other", "weight": 0.5}]})


def ranker(seed: int, dim: int, length: float) -> VectorRanker:
    rng = np.random.default_rng(seed)
    users, items = rng.normal(size=(20, dim)), rng.normal(1.0, length, size=(31, dim))
    return VectorRanker(users.astype(np.float32), items.astype(np.float32))


PARTS = [(ranker(0, 4, 1.0), 1.0), (ranker(1, 6, 30.0), 0.5)]
JOINED = JoinedVectors(PARTS)
TENSORS = closed_form(OPTIONS, TRAIN, JOINED)


def summed() -> npt.NDArray[np.float64]:
    total = np.zeros((20, 31))
    for one, weight in PARTS:
        scores = one.user_vectors.astype(np.float64) @ one.item_vectors.T
        total += weight * (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)
    return total


def test_scores_are_the_summed_z_scores_but_for_a_constant_per_user() -> None:
    expected = summed()
    for scores in (JOINED.users(0, 20) @ JOINED.items.T, TENSORS["user_vectors"] @ TENSORS["item_vectors"].T):
        np.testing.assert_allclose(scores - scores.mean(1, keepdims=True), expected, atol=1e-4)
        assert np.array_equal(np.argsort(-scores, axis=1), np.argsort(-expected, axis=1))


def test_an_ensemble_ranks_as_the_blend_of_its_members_does() -> None:
    blend = Blend([Teacher(one, weight) for one, weight in PARTS], TRAIN)
    assert np.array_equal(VectorRanker(**TENSORS).rank(0, 20, TRAIN, 9).items, blend.first(0, 20, 9))


def test_members_count_alike_where_items_are_compared() -> None:
    lengths = [np.linalg.norm(part, axis=1).mean() for part in np.split(TENSORS["item_vectors"], [4], axis=1)]
    np.testing.assert_allclose(lengths, 1.0, rtol=1e-5)
    assert TENSORS["item_vectors"].dtype == TENSORS["user_vectors"].dtype == np.float32


def test_a_user_without_an_opinion_changes_nothing() -> None:
    """Such a user has no interactions: the vector stays zero, and no score is infinite."""
    flat = VectorRanker(np.zeros((20, 3), np.float32), PARTS[0][0].item_vectors[:, :3])
    tensors = closed_form(OPTIONS, TRAIN, JoinedVectors([PARTS[0], (flat, 1.0)]))
    alone = closed_form(OPTIONS, TRAIN, JoinedVectors([PARTS[0]]))
    scores = [one["user_vectors"] @ one["item_vectors"].T for one in (tensors, alone)]
    np.testing.assert_allclose(*scores, rtol=1e-5)


def test_it_is_shown_by_its_fits() -> None:
    assert str(OPTIONS) == "ensemble(one.s0 + 0.5 other.s0)"
