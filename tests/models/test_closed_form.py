"""Each baseline equals the formula of its paper, written densely and independently."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from hnlm_ray.config.backbones import (
    Backbone,
    BackboneOptions,
    EASEOptions,
    ItemKNNOptions,
    MFOptions,
    PopularityOptions,
)
from hnlm_ray.config.section import kinds
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import DataError, ResourceError
from hnlm_ray.evaluation.blocks import HeldOut, evaluate
from hnlm_ray.models import ease, item_knn
from hnlm_ray.models.closed_form import closed_form
from hnlm_ray.models.ease import fit_ease
from hnlm_ray.models.item_item import ItemItem, incidence
from hnlm_ray.models.item_knn import fit_item_knn
from hnlm_ray.models.rankers import ItemItemRanker, popularity_ranker
from hnlm_ray.testing.worlds import checkerboard, random_world

WORLDS = [random_world(40, 30, 0.2, 1)[0], random_world(25, 60, 0.1, 2)[0], random_world(12, 7, 0.5, 3)[0]]


def dense(interactions: Interactions) -> npt.NDArray[np.float64]:
    matrix = np.zeros((interactions.n_users, interactions.n_items))
    matrix[interactions.users, interactions.items] = 1.0
    return matrix


def as_array(model: ItemItem) -> npt.NDArray[np.float32]:
    return model.weights if isinstance(model.weights, np.ndarray) else model.weights.toarray()


def knn_by_hand(met: npt.NDArray[np.float64], neighbours: int, shrink: float) -> npt.NDArray[np.float64]:
    n_items = met.shape[1]
    weights = np.zeros((n_items, n_items))
    for j in range(n_items):
        near = []
        for i in range(n_items):
            common = float((met[:, i] * met[:, j]).sum())
            if i != j and common:
                near.append((-common / (np.linalg.norm(met[:, i]) * np.linalg.norm(met[:, j]) + shrink), i))
        for similarity, i in sorted((round(value, 12), i) for value, i in near)[:neighbours]:
            weights[i, j] = -similarity
    return weights


@pytest.fixture(params=[7, 1024], ids=["blocks", "one block"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small worlds cut into several blocks must give what one block gives."""
    monkeypatch.setattr(ease, "_ITEM_BLOCK", request.param)
    monkeypatch.setattr(item_knn, "_ITEM_BLOCK", request.param)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("train", WORLDS)
@pytest.mark.parametrize("ridge", [1.0, 50.0])
def test_ease_is_equation_8(train: Interactions, ridge: float) -> None:
    met = dense(train)
    inverse = np.linalg.inv(met.T @ met + ridge * np.eye(train.n_items))
    expected = np.eye(train.n_items) - inverse @ np.diag(1.0 / np.diag(inverse))
    weights = as_array(fit_ease(train, ridge))
    np.testing.assert_allclose(weights, expected, atol=2e-5)
    assert weights.dtype == np.float32
    assert not weights.diagonal().any()


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("train", WORLDS)
@pytest.mark.parametrize(("neighbours", "shrink"), [(3, 0.0), (5, 10.0), (1000, 2.5)])
def test_item_knn_is_the_shrunk_cosine(train: Interactions, neighbours: int, shrink: float) -> None:
    weights = as_array(fit_item_knn(train, neighbours, shrink))
    np.testing.assert_allclose(weights, knn_by_hand(dense(train), neighbours, shrink), atol=1e-6)
    assert not weights.diagonal().any()
    assert (weights > 0).sum(axis=0).max() <= neighbours


@pytest.mark.parametrize("backbone", [ItemKNNOptions(neighbours=4), EASEOptions(ridge=3.0)])
def test_a_model_comes_back_from_its_tensors_and_scores_block_by_block(backbone: ItemKNNOptions | EASEOptions) -> None:
    train = WORLDS[0]
    tensors = closed_form(backbone, train)
    model = ItemItem.from_tensors(tensors, train.n_items)
    assert model is not None
    whole = model.scores(train)
    np.testing.assert_allclose(whole, dense(train) @ as_array(model), atol=1e-5)
    parts = [model.scores(train.slice_users(start, start + 16)) for start in (0, 16, 32)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_weights_that_do_not_fit_are_refused() -> None:
    square = np.zeros((3, 3), dtype=np.float32)
    assert ItemItem.from_tensors({"user_vectors": square}, 3) is None
    with pytest.raises(ValueError, match=r"shape \(3, 3\), expected \(4, 4\)"):
        ItemItem.from_tensors({"item_weights": square}, 4)
    with pytest.raises(ValueError, match="not finite"):
        ItemItem.from_tensors({"item_weights": square * np.nan}, 3)
    sparse = closed_form(ItemKNNOptions(), WORLDS[2])
    with pytest.raises(ValueError, match="index"):
        ItemItem.from_tensors(sparse, 9)
    with pytest.raises(ValueError, match="indices span 0 to 9"):
        ItemItem.from_tensors({**sparse, "indices": np.minimum(sparse["indices"], 5) // 5 * 9}, 7)


@pytest.mark.parametrize("backbone", [ItemKNNOptions(), EASEOptions(ridge=1.0)])
def test_the_withheld_item_of_a_checkerboard_comes_first(backbone: ItemKNNOptions | EASEOptions) -> None:
    train, held, withheld = checkerboard(40, 20)
    model = ItemItem.from_tensors(closed_form(backbone, train), 20)
    assert model is not None
    top = ItemItemRanker(model, train).rank(0, 40, train, 1).items
    np.testing.assert_array_equal(top[:, 0], withheld)
    assert (
        evaluate(ItemItemRanker(model, train), HeldOut("valid", train, held), (1,), user_block=7).mean("recall", 1) == 1
    )


def test_a_ranker_votes_with_train_and_masks_what_was_seen() -> None:
    """Validation items are masked on the test split, but no model was fitted on them."""
    train, valid = random_world(30, 20, 0.2, 5)
    both = Interactions.from_pairs(
        np.concatenate([train.users, valid.users]), np.concatenate([train.items, valid.items]), 30, 20
    )
    model = fit_ease(train, 2.0)
    scores = model.scores(train)
    scores[both.users, both.items] = -np.inf
    ranker = ItemItemRanker(model, train)
    best = ranker.rank(10, 20, both.slice_users(10, 20), 1).items[:, 0]
    np.testing.assert_array_equal(best, scores[10:20].argmax(axis=1))


def test_popularity_has_one_definition() -> None:
    tensors, ranker = closed_form(PopularityOptions(), WORLDS[0]), popularity_ranker(WORLDS[0])
    np.testing.assert_array_equal(tensors["user_vectors"], ranker.user_vectors)
    np.testing.assert_array_equal(tensors["item_vectors"], ranker.item_vectors)
    np.testing.assert_array_equal(tensors["item_vectors"][:, 0], dense(WORLDS[0]).sum(axis=0))


def test_what_ease_cannot_solve_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ResourceError, match=r"has 46,341 items, at most 46,340"):
        fit_ease(Interactions(np.zeros(2, dtype=np.int64), np.zeros(0, dtype=np.int32), 46_341))
    duplicates = Interactions.from_pairs(np.repeat(np.arange(5000), 2), np.tile([0, 1], 5000), 5000, 2)
    with pytest.raises(DataError, match="a ridge of 1e-12 is too small"):
        fit_ease(duplicates, 1e-12)
    monkeypatch.setattr("os.sysconf", lambda name: 10)
    with pytest.raises(ResourceError, match=r"EASE with 30 items needs .* this machine has"):
        fit_ease(WORLDS[0])


def test_a_trained_backbone_is_not_computed() -> None:
    with pytest.raises(ValueError, match="mf is trained"):
        closed_form(MFOptions(), WORLDS[0])


def test_incidence_holds_each_pair_once() -> None:
    np.testing.assert_array_equal(incidence(WORLDS[1]).toarray(), dense(WORLDS[1]))


BASELINES = [kind for name, kind in kinds(Backbone).items() if not kind.is_trained and name != "ensemble"]


@pytest.mark.parametrize("kind", BASELINES)
def test_a_baseline_has_user_vectors_where_its_options_say_so(kind: type[BackboneOptions]) -> None:
    tensors = closed_form(kind(), WORLDS[0])  # type: ignore[arg-type]
    assert ("user_vectors" in tensors) == kind.has_user_vectors


@pytest.mark.data
def test_on_movielens_ease_and_neighbours_beat_popularity_by_far(real_data: Path) -> None:
    table = pq.read_table(real_data / "ml-100k" / "interactions.parquet")
    users, items = (
        np.unique(table[name].to_numpy(zero_copy_only=False), return_inverse=True)[1] for name in ("user_id", "item_id")
    )
    n_users, n_items = users.max() + 1, items.max() + 1
    is_held = np.random.default_rng(0).random(len(users)) < 0.2
    train = Interactions.from_pairs(users[~is_held], items[~is_held], n_users, n_items)
    held_out = HeldOut("test", train, Interactions.from_pairs(users[is_held], items[is_held], n_users, n_items))
    found = {"popularity": evaluate(popularity_ranker(train), held_out, (20,)).mean("ndcg", 20)}
    for name, model in (("ease", fit_ease(train, 300.0)), ("item_knn", fit_item_knn(train))):
        found[name] = evaluate(ItemItemRanker(model, train), held_out, (20,)).mean("ndcg", 20)
    assert found["ease"] > 1.5 * found["popularity"]
    assert found["item_knn"] > 1.3 * found["popularity"]
