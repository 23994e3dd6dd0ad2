from __future__ import annotations

import numpy as np
import pytest

from hnlm_ray.evaluation.beyond import Reference
from hnlm_ray.evaluation.blocks import HeldOut, evaluate, evaluate_block, merge
from hnlm_ray.evaluation.metrics import METRICS
from hnlm_ray.evaluation.strata import strata
from hnlm_ray.models.rankers import RandomRanker, VectorRanker, popularity_ranker
from tests.interactions import Build


@pytest.fixture
def held_out(interactions: Build) -> HeldOut:
    rng = np.random.default_rng(1)
    n_users, n_items = 23, 30
    order = rng.permuted(np.tile(np.arange(n_items), (n_users, 1)), axis=1)
    # User 4 has nothing held out, user 22 nothing seen.
    relevant = [row[:3].tolist() if user != 4 else [] for user, row in enumerate(order)]
    seen = [row[3:10].tolist() if user != 22 else [] for user, row in enumerate(order)]
    return HeldOut("test", interactions(seen, n_items), interactions(relevant, n_items))


@pytest.fixture
def ranker() -> VectorRanker:
    rng = np.random.default_rng(2)
    return VectorRanker(rng.normal(size=(23, 5)).astype(np.float32), rng.normal(size=(30, 5)).astype(np.float32))


@pytest.fixture
def reference(held_out: HeldOut) -> Reference:
    return Reference(held_out.seen, np.random.default_rng(5).normal(size=(30, 7)).astype(np.float16))


@pytest.mark.parametrize("user_block", [1, 4, 22, 23, 100])
@pytest.mark.parametrize("levels", [None, 2])  # all scores differ; few values, so that most places are tied
def test_the_size_of_a_block_changes_nothing(
    held_out: HeldOut, ranker: VectorRanker, reference: Reference, user_block: int, levels: int | None
) -> None:
    if levels:
        ranker = VectorRanker(np.ones((23, 1), np.float32), np.arange(30, dtype=np.float32)[:, None] // (30 // levels))
    whole = evaluate(ranker, held_out, (2, 5), 23, reference)
    parts = evaluate(ranker, held_out, (2, 5), user_block, reference)
    assert {measure for measure, _ in whole.per_user} == {*METRICS, "tie_rate", *reference.measures}
    for field in ("users", "top"):
        np.testing.assert_array_equal(getattr(parts, field), getattr(whole, field))
    for name, values in whole.per_user.items():
        np.testing.assert_array_equal(parts.per_user[name], values)
    assert parts.means() == whole.means()
    assert bool(whole.mean("tie_rate", 5)) == bool(levels)
    strata_of = [strata(found, held_out.relevant, held_out.seen, 5) for found in (whole, parts)]
    assert strata_of[0] == strata_of[1]


def test_a_deeper_ranking_changes_no_figure(held_out: HeldOut, ranker: VectorRanker, reference: Reference) -> None:
    deep = evaluate_block(ranker, held_out, 0, 23, (2, 5), reference, depth=9)
    flat = evaluate_block(ranker, held_out, 0, 23, (2, 5), reference)
    assert deep.top.shape[1] == 9
    np.testing.assert_array_equal(deep.top[:, :5], flat.top)
    np.testing.assert_array_equal(deep.values, flat.values)


def test_users_without_a_value_are_left_out_of_its_mean(interactions: Build) -> None:
    # User 1 has seen all but one item: a list of one item has no pairs.
    held_out = HeldOut("test", interactions([[], [0, 1]], 3), interactions([[0], [2]], 3))
    ranker = VectorRanker(np.ones((2, 1), np.float32), np.array([[3], [2], [1]], np.float32))
    reference = Reference(held_out.seen, np.array([[1, 0], [0, 1], [1, 0]], np.float16))
    evaluation = evaluate(ranker, held_out, (2,), reference=reference)
    assert np.isnan(evaluation.per_user["intra_list_distance", 2][1])
    assert evaluation.mean("intra_list_distance", 2) == 1.0


def test_users_without_held_out_items_are_left_out(held_out: HeldOut, ranker: VectorRanker) -> None:
    evaluation = evaluate(ranker, held_out, (5,))
    assert evaluation.users.tolist() == [user for user in range(23) if user != 4]
    assert set(evaluation.per_user) == {(metric, 5) for metric in (*METRICS, "tie_rate")}
    assert all(np.isfinite(values).all() for values in evaluation.per_user.values())
    assert evaluation.mean("recall", 5) == pytest.approx(evaluation.per_user["recall", 5].mean())


def test_blocks_may_come_in_any_order(held_out: HeldOut, ranker: VectorRanker) -> None:
    blocks = [evaluate_block(ranker, held_out, start, min(start + 5, 23), (5,)) for start in range(0, 23, 5)]
    merged, whole = merge(blocks[::-1], held_out, (5,)), evaluate(ranker, held_out, (5,))
    np.testing.assert_array_equal(merged.per_user["ndcg", 5], whole.per_user["ndcg", 5])


@pytest.mark.parametrize("fault", ["lost", "twice"])
def test_a_lost_or_doubled_block_is_noticed(held_out: HeldOut, ranker: VectorRanker, fault: str) -> None:
    blocks = [evaluate_block(ranker, held_out, start, min(start + 5, 23), (5,)) for start in range(0, 23, 5)]
    blocks = blocks[1:] if fault == "lost" else [*blocks, blocks[2]]
    with pytest.raises(ValueError, match="each once"):
        merge(blocks, held_out, (5,))


def test_popularity_ranks_by_train_counts(interactions: Build) -> None:
    train = interactions([[0, 3], [3, 2], [3, 2, 1]], 5)
    nobody = interactions([[], [], []], 5)
    assert popularity_ranker(train).rank(0, 3, nobody, 5).items.tolist() == [[3, 2, 0, 1, 4]] * 3


def test_random_ranks_differ_by_user_and_seed_but_not_by_block(held_out: HeldOut) -> None:
    seen = held_out.seen
    top = RandomRanker(0).rank(0, 23, seen, 10).items
    np.testing.assert_array_equal(RandomRanker(0).rank(7, 9, seen.slice_users(7, 9), 10).items, top[7:9])
    assert not np.array_equal(top[0], top[1])
    assert not np.array_equal(RandomRanker(1).rank(0, 23, seen, 10).items, top)


@pytest.mark.parametrize("n_items", [1, 2, 12, 30, 31])
def test_random_ranks_hold_every_unseen_item_once(n_items: int, interactions: Build) -> None:
    met = [list(range(0, n_items, 1 + user)) for user in range(9)] + [[]]
    top = RandomRanker(0).rank(0, 10, interactions(met, n_items), n_items + 1).items
    for row, seen in zip(top, met, strict=True):
        unseen = [item for item in range(n_items) if item not in seen]
        assert sorted(row[: len(unseen)].tolist()) == unseen
        assert set(row[len(unseen) :].tolist()) == {-1}


def test_each_item_is_as_likely_as_any_other_at_each_rank(interactions: Build) -> None:
    n_users, n_items = 12_000, 12
    top = RandomRanker(3).rank(0, n_users, interactions([[]] * n_users, n_items), n_items).items
    counts = np.stack([np.bincount(column, minlength=n_items) for column in top.T])
    deviation = (counts - n_users / n_items) / np.sqrt(n_users / n_items)
    assert np.abs(deviation).max() < 4.5


def test_the_random_ranker_is_as_good_as_chance(interactions: Build) -> None:
    n_users, n_items = 3000, 40
    relevant = interactions([[user % n_items] for user in range(n_users)], n_items)
    nobody = interactions([[]] * n_users, n_items)
    evaluation = evaluate(RandomRanker(0), HeldOut("test", nobody, relevant), (10,))
    assert evaluation.mean("recall", 10) == pytest.approx(10 / n_items, abs=0.03)
