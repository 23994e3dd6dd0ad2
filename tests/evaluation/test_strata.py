from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hnlm_ray.evaluation.blocks import Evaluation, HeldOut, evaluate
from hnlm_ray.evaluation.strata import Stratum, item_strata, strata, user_strata
from hnlm_ray.models.rankers import VectorRanker
from tests.interactions import Build

COUNTS = arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 30))


@given(COUNTS, st.integers(1, 6))
def test_strata_are_ordered_ranges_without_gaps(counts: np.ndarray, n_strata: int) -> None:
    for groups in (user_strata(counts, n_strata), item_strata(counts, n_strata)):
        assert sorted(set(groups.tolist())) == list(range(groups.max() + 1))
        assert groups.max() < n_strata
        bounds = [
            (counts[groups == number].min(), counts[groups == number].max()) for number in range(groups.max() + 1)
        ]
        assert all(high < low for (_, high), (low, _) in itertools.pairwise(bounds))


def test_users_stand_in_quantiles() -> None:
    activity = np.random.default_rng(0).permutation(100)
    assert np.bincount(user_strata(activity)).tolist() == [20] * 5
    assert user_strata(np.array([7, 7, 7, 7, 9])).tolist() == [0, 0, 0, 0, 1]  # equals go together


def test_items_stand_in_equal_shares_of_the_interactions() -> None:
    # 40 items met once, 4 met ten times, 1 met forty times: three thirds.
    popularity = np.array([40] + [1] * 40 + [10] * 4)
    groups = item_strata(popularity, 3)
    assert groups.tolist() == [2] + [0] * 40 + [1] * 4
    assert [popularity[groups == number].sum() for number in range(3)] == [40, 40, 40]
    assert item_strata(np.zeros(3, dtype=np.int64)).tolist() == [0, 0, 0]


def figures(found: list[Stratum], kind: str, metric: str) -> list[float]:
    return [row.value for row in found if (row.kind, row.metric) == (kind, metric)]


@pytest.fixture
def case(interactions: Build) -> tuple[Evaluation, HeldOut]:
    rng = np.random.default_rng(3)
    n_users, n_items = 40, 60
    order = rng.permuted(np.tile(np.arange(n_items), (n_users, 1)), axis=1)
    seen = [np.minimum(row[: user % 7], row[1 : user % 7 + 1]).tolist() for user, row in enumerate(order)]
    train = interactions([sorted(set(items)) for items in seen], n_items)
    relevant = [[i for i in row[10 : 10 + user % 6].tolist() if i not in seen[user]] for user, row in enumerate(order)]
    held_out = HeldOut("test", train, interactions(relevant, n_items))
    ranker = VectorRanker(
        rng.normal(size=(n_users, 6)).astype(np.float32), rng.normal(size=(n_items, 6)).astype(np.float32)
    )
    return evaluate(ranker, held_out, (2, 8)), held_out


@pytest.mark.parametrize("k", [2, 8])  # fewer and more than a user has held out
def test_figures_of_strata_agree_with_one_user_and_one_item_at_a_time(case: tuple[Evaluation, HeldOut], k: int) -> None:
    evaluation, held_out = case
    train, relevant = held_out.seen, held_out.relevant
    found = strata(evaluation, relevant, train, k)
    groups = item_strata(train.item_popularity)
    for number in range(groups.max() + 1):
        hits = total = gain = ideal = 0.0
        for row, user in enumerate(evaluation.users):
            wanted = [item for item in relevant.row(user) if groups[item] == number]
            ranks = [r for r, item in enumerate(evaluation.top[row, :k], start=1) if item in wanted]
            hits, total = hits + len(ranks), total + len(wanted)
            gain += sum(1 / np.log2(r + 1) for r in ranks)
            ideal += sum(1 / np.log2(r + 1) for r in range(1, min(k, len(wanted)) + 1))
        assert figures(found, "item_popularity", "recall")[number] == pytest.approx(hits / total, abs=1e-12)
        assert figures(found, "item_popularity", "ndcg")[number] == pytest.approx(gain / ideal, abs=1e-12)


def test_strata_cover_everybody_and_every_held_out_item_once(case: tuple[Evaluation, HeldOut]) -> None:
    evaluation, held_out = case
    found = strata(evaluation, held_out.relevant, held_out.seen, 8)
    sizes = {
        kind: [row.size for row in found if (row.kind, row.metric) == (kind, "ndcg")]
        for kind in {r.kind for r in found}
    }
    assert sum(sizes["user_activity"]) == len(evaluation.users)
    assert sum(sizes["item_popularity"]) == len(held_out.relevant)
    # The mean of all users is that of the strata, weighted by size.
    mean = np.average(figures(found, "user_activity", "ndcg"), weights=sizes["user_activity"])
    assert mean == pytest.approx(evaluation.mean("ndcg", 8), abs=1e-12)


def test_bounds_are_those_of_the_users_and_items_in_it(case: tuple[Evaluation, HeldOut]) -> None:
    evaluation, held_out = case
    activity, popularity = held_out.seen.degree[evaluation.users], held_out.seen.item_popularity
    found = strata(evaluation, held_out.relevant, held_out.seen, 8)
    for kind, counts in (("user_activity", activity), ("item_popularity", popularity)):
        rows = [row for row in found if (row.kind, row.metric) == (kind, "recall")]
        assert (rows[0].low, rows[-1].high) == (counts.min(), counts.max())
        if kind == "user_activity":
            assert [row.size for row in rows] == [((row.low <= counts) & (counts <= row.high)).sum() for row in rows]


def test_a_stratum_without_held_out_items_has_no_value(interactions: Build) -> None:
    train = interactions([[0, 1], [0], [0]], 3)
    held_out = HeldOut("test", train, interactions([[2], [], []], 3))
    ranker = VectorRanker(np.ones((3, 1), dtype=np.float32), np.ones((3, 1), dtype=np.float32))
    found = strata(evaluate(ranker, held_out, (1,)), held_out.relevant, train, 1)
    last = [row for row in found if row.kind == "item_popularity"][-1]
    assert (last.low, last.high, last.size) == (3, 3, 0)
    assert np.isnan(last.value)
    assert figures(found, "item_popularity", "recall")[0] == 1.0
