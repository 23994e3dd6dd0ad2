from __future__ import annotations

from collections.abc import Callable

import ir_measures
import numpy as np
import pytest

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.evaluation.metrics import METRICS, average_precision, coverage, hit_rate, mrr, ndcg, precision, recall
from hnlm_ray.evaluation.ranking import rank_scores

from .conftest import Build, build

MEASURES = {
    "recall": ir_measures.R,
    "ndcg": ir_measures.nDCG,
    "precision": ir_measures.P,
    "hit_rate": ir_measures.Success,
    "mrr": ir_measures.RR,
    "map": ir_measures.AP,
}


def reference(top: np.ndarray, relevant: Interactions, name: str, k: int) -> np.ndarray:
    """The same metric by ir_measures; users in the order of their numbers."""
    qrels, run = [], []
    for user in range(relevant.n_users):
        held_out = relevant.items[relevant.offsets[user] : relevant.offsets[user + 1]]
        qrels += [ir_measures.Qrel(f"{user:06d}", str(item), 1) for item in held_out]
        ranked = [item for item in top[user] if item >= 0]
        run += [ir_measures.ScoredDoc(f"{user:06d}", str(item), 1000.0 - rank) for rank, item in enumerate(ranked)]
    values = {row.query_id: row.value for row in ir_measures.iter_calc([MEASURES[name] @ k], qrels, run)}
    return np.array([values[f"{user:06d}"] for user in range(relevant.n_users)])


def random_case(seed: int) -> tuple[np.ndarray, Interactions]:
    rng = np.random.default_rng(seed)
    n_users, n_items = 60, 45
    seen = [rng.choice(n_items, rng.integers(0, 20), replace=False).tolist() for _ in range(n_users)]
    held_out = [
        rng.choice(np.setdiff1d(np.arange(n_items), met), rng.integers(1, 25), replace=False).tolist() for met in seen
    ]
    scores = rng.permuted(np.tile(np.arange(n_items, dtype=np.float64), (n_users, 1)), axis=1)
    return rank_scores(scores, build(seen, n_items), 30), build(held_out, n_items)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [1, 5, 10, 20, 30])
@pytest.mark.parametrize("name", METRICS)
def test_agrees_with_ir_measures_on_random_rankings(name: str, k: int, seed: int) -> None:
    top, relevant = random_case(seed)
    np.testing.assert_allclose(METRICS[name](top, relevant, k), reference(top, relevant, name, k), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_agrees_with_ir_measures_at_the_edges(name: str, interactions: Build) -> None:
    top = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [5, -1, -1, -1], [4, 5, 6, 7], [0, 1, 2, 3]], dtype=np.int32)
    # all hits, one hit at the end, a short list, no hit, more held out than ranked
    relevant = interactions([[0, 1, 2, 3], [0], [5], [0, 1], [0, 1, 2, 3, 4, 5, 6, 7]], 8)
    np.testing.assert_allclose(METRICS[name](top, relevant, 4), reference(top, relevant, name, 4), rtol=0, atol=1e-9)


def test_figures_worked_out_by_hand(interactions: Build) -> None:
    top = np.array([[7, 3, 9, 1]], dtype=np.int32)
    relevant = interactions([[1, 3, 5]], 10)  # hits at ranks 2 and 4
    assert recall(top, relevant, 4)[0] == pytest.approx(2 / 3)
    assert precision(top, relevant, 4)[0] == pytest.approx(2 / 4)
    assert hit_rate(top, relevant, 1)[0] == 0.0
    assert hit_rate(top, relevant, 4)[0] == 1.0
    assert mrr(top, relevant, 4)[0] == pytest.approx(1 / 2)
    assert average_precision(top, relevant, 4)[0] == pytest.approx((1 / 2 + 2 / 4) / 3)
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    assert ndcg(top, relevant, 4)[0] == pytest.approx((1 / np.log2(3) + 1 / np.log2(5)) / ideal)


def test_average_precision_cannot_reach_one_with_more_held_out_than_places(interactions: Build) -> None:
    top = np.array([[0, 1]], dtype=np.int32)
    relevant = interactions([[0, 1, 2, 3]], 4)
    assert average_precision(top, relevant, 2)[0] == pytest.approx(2 / 4)
    assert ndcg(top, relevant, 2)[0] == pytest.approx(1.0)


@pytest.mark.parametrize("metric", METRICS.values())
def test_a_user_without_held_out_items_has_no_value(
    metric: Callable[[np.ndarray, Interactions, int], np.ndarray], interactions: Build
) -> None:
    values = metric(np.array([[0, 1], [0, 1]], dtype=np.int32), interactions([[], [1]], 3), 2)
    assert np.isnan(values[0])
    assert values[1] > 0.0


def test_a_constant_model_finds_k_of_n_items(interactions: Build) -> None:
    n_items, k = 40, 8
    relevant = interactions([[item] for item in range(n_items)], n_items)  # every item is held out once
    top = rank_scores(np.zeros((n_items, n_items)), None, k)
    assert recall(top, relevant, k).mean() == pytest.approx(k / n_items)
    assert ndcg(top, relevant, k).mean() == pytest.approx((1 / np.log2(np.arange(2, k + 2))).sum() / n_items)
    assert coverage(top, n_items, k) == pytest.approx(k / n_items)


def test_coverage_counts_items_once_and_holes_never() -> None:
    top = np.array([[0, 1, 5], [1, 0, -1], [2, -1, -1]], dtype=np.int32)
    assert coverage(top, 10, 1) == pytest.approx(3 / 10)
    assert coverage(top, 10, 3) == pytest.approx(4 / 10)


def test_a_ranking_that_is_too_short_is_refused(interactions: Build) -> None:
    with pytest.raises(ValueError, match="at least 3 items"):
        recall(np.zeros((1, 2), dtype=np.int32), interactions([[0]], 2), 3)
