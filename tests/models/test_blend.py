"""The blend of teachers against its definition on whole matrices."""

from __future__ import annotations

import numpy as np
import pytest

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.models.blend import Blend, Teacher, guarding_weights
from hnlm_ray.models.item_knn import fit_item_knn
from hnlm_ray.models.rankers import ItemItemRanker, VectorRanker
from hnlm_ray.testing.worlds import random_world

TRAIN, DOUBTED = random_world(20, 31, 0.2, 4)


def vectors(seed: int, dim: int) -> VectorRanker:
    rng = np.random.default_rng(seed)
    # The items have a mean, which a score of the mean alone must not count.
    return VectorRanker(
        rng.normal(size=(20, dim)).astype(np.float32) * 3, rng.normal(1.0, size=(31, dim)).astype(np.float32)
    )


TEACHERS = [
    Teacher(vectors(0, 4)),
    Teacher(vectors(1, 6), 0.5),
    Teacher(ItemItemRanker(fit_item_knn(TRAIN, 5), TRAIN), 2.0),
]


def whole(teacher: Teacher) -> np.ndarray:
    ranker = teacher.ranker
    if isinstance(ranker, VectorRanker):
        return ranker.user_vectors.astype(np.float64) @ ranker.item_vectors.T
    assert isinstance(ranker, ItemItemRanker)
    return ranker.model.scores(TRAIN).astype(np.float64)


def expected(combine: str, doubted: Interactions | None) -> np.ndarray:
    total = np.zeros((20, 31))
    for teacher in TEACHERS:
        scores = whole(teacher)
        if combine == "zscores":
            total += teacher.weight * (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)
        else:
            ranks = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1) + 1
            total -= teacher.weight * np.log(ranks)
    if doubted is not None:
        total[doubted.users, doubted.items] -= 1.5
    total[TRAIN.users, TRAIN.items] = -np.inf
    return total


@pytest.mark.parametrize("combine", ["zscores", "ranks"])
@pytest.mark.parametrize("doubted", [None, DOUBTED])
def test_the_first_items_are_those_of_the_summed_scales(combine: str, doubted: Interactions | None) -> None:
    blend = Blend(TEACHERS, TRAIN, combine, doubted, 1.5)  # type: ignore[arg-type]
    order = np.argsort(-expected(combine, doubted), axis=1, kind="stable")
    for start, stop in ((0, 20), (7, 12), (19, 20), (5, 5)):
        assert np.array_equal(blend.first(start, stop, 10), order[start:stop, :10])


def test_past_the_last_unseen_item_there_is_none() -> None:
    found = Blend(TEACHERS, TRAIN).first(0, 20, 40)
    assert np.array_equal((found >= 0).sum(axis=1), 31 - TRAIN.degree)
    assert not TRAIN.contains(np.arange(20)[:, None], np.maximum(found, 0))[found >= 0].any()


def test_weights_rise_with_the_rank_towards_one() -> None:
    weights = guarding_weights(np.arange(1, 201), 30.0)
    assert weights[0] == pytest.approx(1 - np.exp(-1 / 30))
    assert (np.diff(weights) > 0).all()
    assert weights[-1] > 0.998
