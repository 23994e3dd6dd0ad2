"""Recommendations of a bundle whose histories vote, against sums over whole matrices."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_array

from hnlm_ray.errors import BundleError
from hnlm_ray.kernels.incidence import incidence
from hnlm_ray.kernels.votes import scaled_votes
from hnlm_ray.serving.bundle.bundle import load_bundle
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.info import INFO
from hnlm_ray.serving.bundle.writing import write_bundle
from hnlm_ray.serving.offline import recommendation_table
from hnlm_ray.serving.recommend.explanation import Explainer
from hnlm_ray.serving.recommend.index import build_index
from hnlm_ray.serving.recommend.new_items import with_new_items
from hnlm_ray.serving.recommend.options import RankingOptions
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.tables import NEW_ITEMS
from tests.serving.conftest import ABOUT, bundle_of, make_contents

N_USERS, N_ITEMS = 130, 700


def voting(n_users: int = N_USERS, n_items: int = N_ITEMS) -> Contents:
    rng = np.random.default_rng(1)
    seen = [rng.choice(n_items, size=rng.integers(1, 20), replace=False).tolist() for _ in range(n_users)]
    seen[0] = []
    contents = make_contents(rng.normal(size=(n_users, 4)), rng.normal(size=(n_items, 4)), seen)
    weights = np.where(rng.random((n_items, n_items)) < 0.02, 5.0 * rng.random((n_items, n_items)), 0.0)
    return dataclasses.replace(contents, lists=csr_array(weights.astype(np.float32)))


@pytest.fixture(scope="module")
def contents() -> Contents:
    return voting()


@pytest.fixture(scope="module")
def folder(contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("voting")
    write_bundle(str(path), contents, ABOUT)
    return path


def expected(contents: Contents) -> np.ndarray:
    """Scores (U, I) of all items."""
    history = contents.histories(np.arange(contents.n_users))
    votes = incidence(history).toarray().astype(np.float64) @ contents.lists.toarray()
    spread = votes.std(axis=1, keepdims=True)
    scaled = np.divide(votes, spread, out=np.zeros_like(votes), where=spread > 0)
    return contents.user_vectors.astype(np.float64) @ contents.item_vectors.T + scaled


def best(contents: Contents, user: int, k: int, *, left: np.ndarray | None = None) -> list[str]:
    scores = expected(contents)[user]
    scores[contents.histories(np.array([user])).items] = -np.inf
    if left is not None:
        scores[~left] = -np.inf
    return [f"i{item}" for item in np.argsort(-scores, kind="stable")[:k]]


def test_every_way_to_rank_agrees_with_the_sum(contents: Contents, folder: Path) -> None:
    recommender = Recommender(load_bundle(str(folder)))
    assert recommender.info.format == 3
    users = [f"u{row}" for row in range(1, N_USERS)]
    together = recommender.recommend_many(users, 10)
    plain = dataclasses.replace(contents, lists=None)
    changed = 0
    for row, user_id in enumerate(users, start=1):
        answer = [item.item_id for item in recommender.recommend(user_id, 10).items]
        assert answer == [item.item_id for item in together[row - 1].items] == best(contents, row, 10)
        changed += answer != best(voting_less(plain), row, 10)
    assert changed > N_USERS / 2
    table, popular = recommendation_table(recommender, 0, N_USERS, 10)
    assert popular == 1
    rows = table.filter(np.array(table["user_id"].to_pylist()) == "u7")
    assert rows["item_id"].to_pylist() == best(contents, 7, 10)
    of_user = expected(contents)[7]
    assert rows["score"].to_pylist() == pytest.approx(np.sort(of_user[unseen(contents, 7)])[::-1][:10], rel=1e-5)


def voting_less(contents: Contents) -> Contents:
    return dataclasses.replace(contents, lists=csr_array((N_ITEMS, N_ITEMS), dtype=np.float32))


def unseen(contents: Contents, user: int) -> np.ndarray:
    left = np.ones(contents.n_items, bool)
    left[contents.histories(np.array([user])).items] = False
    return left


def test_scores_of_items_and_explanations_count_the_votes(contents: Contents, folder: Path) -> None:
    recommender = Recommender(load_bundle(str(folder)))
    scores = recommender.score("u7", [f"i{item}" for item in range(N_ITEMS)])
    assert [one.score for one in scores] == pytest.approx(expected(contents)[7], rel=1e-4, abs=1e-5)
    explained = Explainer(recommender).explain("u7")
    assert [f"i{explained.item}"] == best(contents, 7, 1)
    assert (explained.rank, explained.score) == (1, pytest.approx(expected(contents)[7][explained.item], rel=1e-4))


def test_the_history_of_a_stranger_votes_and_a_text_does_not(contents: Contents) -> None:
    recommender = Recommender(bundle_of(contents))  # its map from histories gives the zero vector
    history = contents.histories(np.array([7])).items
    answer = recommender.recommend_from_history([f"i{item}" for item in history], 5)
    votes = scaled_votes(contents.histories(np.array([7])), contents.lists).toarray()[0]
    votes[history] = -np.inf
    assert [item.item_id for item in answer.items] == [f"i{item}" for item in np.argsort(-votes, kind="stable")[:5]]
    assert not recommender.scores.of_vector(np.zeros(4, np.float32)).any()


def test_an_index_finds_what_the_votes_raise_and_nothing_unavailable() -> None:
    pytest.importorskip("faiss")
    contents = voting(20, 4000)
    recommender = Recommender(bundle_of(contents))
    recommender.use_index(build_index(contents.item_vectors))
    shares = []
    for row in range(1, 20):
        found = [item.item_id for item in recommender.recommend(f"u{row}", 10).items]
        shares.append(len(set(found) & set(best(contents, row, 10))))
    assert np.mean(shares) > 9
    gone = best(contents, 7, 3)
    recommender.catalogue.set_unavailable(gone)
    assert not {*gone} & {item.item_id for item in recommender.recommend("u7", 10).items}


def test_a_penalty_and_filters_work_on_the_sum(contents: Contents) -> None:
    recommender = Recommender(bundle_of(contents))
    kept = [f"i{item}" for item in range(0, N_ITEMS, 3)]
    [answer] = recommender.rank(["u7"], RankingOptions(k=5, include_items=tuple(kept)))
    left = np.zeros(N_ITEMS, bool)
    left[::3] = True
    assert [f"i{item}" for item in answer.items] == best(contents, 7, 5, left=left)
    assert recommender.recommend("u7", 5, popularity_penalty=1.0) != recommender.recommend("u7", 5)


def test_lists_of_another_catalogue_are_refused(contents: Contents, folder: Path) -> None:
    with pytest.raises(BundleError, match="lists are not finite weights between 700 items"):
        dataclasses.replace(contents, lists=csr_array((3, 3), dtype=np.float32))
    wrong = csr_array(contents.lists, copy=True)
    wrong.indices[0] = N_ITEMS
    with pytest.raises(BundleError, match="lists name an item outside 0 to 699"):
        dataclasses.replace(contents, lists=wrong)
    assert json.loads((folder / INFO).read_text())["files"].keys() >= {"lists.safetensors"}


def test_a_new_item_has_no_list_and_gets_no_vote(rich: Recommender) -> None:
    n_items = rich.bundle.contents.n_items
    weights = np.random.default_rng(0).random((n_items, n_items)).astype(np.float32)
    contents = dataclasses.replace(rich.bundle.contents, lists=csr_array(weights))
    new = pa.Table.from_pylist(
        [{"item_id": "new", "title": "Red lamp", "brand": "", "categories": [], "description": ""}], schema=NEW_ITEMS
    )
    extended = with_new_items(dataclasses.replace(rich.bundle, contents=contents), new).contents
    assert extended.lists is not None
    dense = extended.lists.toarray()
    assert np.array_equal(dense[:-1, :-1], weights)
    assert not dense[-1].any()
    assert not dense[:, -1].any()
