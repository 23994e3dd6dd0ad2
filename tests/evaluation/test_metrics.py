from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable

import ir_measures
import numpy as np
import pytest

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.evaluation.beyond import Reference, beyond_accuracy, coverage, exposure, gini
from hnlm_ray.evaluation.metrics import METRICS, accuracy
from hnlm_ray.kernels.ranking import ranked_scores
from tests.interactions import Build, build

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


def measured(name: str, top: np.ndarray, relevant: Interactions, k: int) -> np.ndarray:
    return accuracy(top, relevant, (k,))[name, k]


def random_case(seed: int) -> tuple[np.ndarray, Interactions]:
    rng = np.random.default_rng(seed)
    n_users, n_items = 60, 45
    seen = [rng.choice(n_items, rng.integers(0, 20), replace=False).tolist() for _ in range(n_users)]
    held_out = [
        rng.choice(np.setdiff1d(np.arange(n_items), met), rng.integers(1, 25), replace=False).tolist() for met in seen
    ]
    scores = rng.permuted(np.tile(np.arange(n_items, dtype=np.float64), (n_users, 1)), axis=1)
    return ranked_scores(scores, build(seen, n_items), 30).items, build(held_out, n_items)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [1, 5, 10, 20, 30])
@pytest.mark.parametrize("name", METRICS)
def test_agrees_with_ir_measures_on_random_rankings(name: str, k: int, seed: int) -> None:
    top, relevant = random_case(seed)
    np.testing.assert_allclose(measured(name, top, relevant, k), reference(top, relevant, name, k), rtol=0, atol=1e-9)


def edges() -> tuple[np.ndarray, Interactions]:
    """All hits, one hit at the end, a short list, no hit, more held out than ranked, nothing ranked at all."""
    lists = [[0, 1, 2, 3], [3, 2, 1, 0], [5, -1, -1, -1], [4, 5, 6, 7], [0, 1, 2, 3], [-1] * 4]
    return np.array(lists, dtype=np.int32), build([[0, 1, 2, 3], [0], [5], [0, 1], list(range(8)), [1, 2]], 8)


@pytest.mark.parametrize("name", METRICS)
def test_agrees_with_ir_measures_at_the_edges(name: str) -> None:
    top, relevant = edges()
    np.testing.assert_allclose(measured(name, top, relevant, 4), reference(top, relevant, name, 4), rtol=0, atol=1e-9)


RANX = """
import json, sys
from ranx import Qrels, Run, evaluate
cases = json.load(sys.stdin)
for case in cases:
    values = evaluate(Qrels(case["qrels"]), Run(case["run"]), case["metrics"], return_mean=False)
    case["values"] = {name: [float(value) for value in column] for name, column in values.items()}
json.dump([case["values"] for case in cases], sys.stdout)
"""


@pytest.mark.skipif(importlib.util.find_spec("ranx") is None, reason="ranx is no part of the core's tests")
def test_agrees_with_ranx() -> None:
    """In a process of its own, where numba compiles nothing: that would take longer than everything else here."""
    inputs = [(*random_case(seed), (1, 5, 20, 30)) for seed in range(3)] + [(*edges(), (1, 2, 4))]
    cases = []
    for top, relevant, cutoffs in inputs:
        qrels = {f"{user:06d}": {str(item): 1 for item in relevant.row(user)} for user in range(relevant.n_users)}
        # ranx has no user without a list: an item that is nobody's stands in.
        run = {
            user: {str(item): 1000 - rank for rank, item in enumerate(top[row]) if item >= 0} or {"none": 1}
            for row, user in enumerate(qrels)
        }
        names = [f"{name}@{k}" for name, k in itertools.product(METRICS, cutoffs)]  # both call them alike
        cases.append({"qrels": qrels, "run": run, "metrics": names})
    answer = subprocess.run(
        [sys.executable, "-c", RANX],
        input=json.dumps(cases),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        check=True,
    )
    for (top, relevant, cutoffs), theirs in zip(inputs, json.loads(answer.stdout), strict=True):
        for name, k in itertools.product(METRICS, cutoffs):
            ours = measured(name, top, relevant, k)
            np.testing.assert_allclose(ours, theirs[f"{name}@{k}"], rtol=0, atol=1e-9, err_msg=f"{name}@{k}")


@pytest.mark.parametrize("k", [1, 4, 20, 30])
def test_ndcg_is_that_of_rectools_when_divided_by_what_can_be_achieved(k: int) -> None:
    """The formula of ``rectools.metrics.NDCG(k, divide_by_achievable=True)``, from its documentation.

    RecTools wants another NumPy than Ray and vLLM, so it cannot be installed here. Version 0.19.0 in an environment of
    its own gave these metrics, popularity, novelty and coverage to 2e-15 on the same random cases.
    """
    for top, relevant in [random_case(7), *([edges()] if k <= 4 else [])]:
        for user, value in enumerate(measured("ndcg", top, relevant, k)):
            held_out = set(relevant.row(user).tolist())
            dcg = sum(math.log(2) / math.log(rank + 1) for rank, i in enumerate(top[user, :k], 1) if int(i) in held_out)
            achievable = sum(math.log(2) / math.log(rank + 1) for rank in range(1, min(k, len(held_out)) + 1))
            assert value == pytest.approx(dcg / achievable, abs=1e-12)


def test_figures_worked_out_by_hand(interactions: Build) -> None:
    top = np.array([[7, 3, 9, 1]], dtype=np.int32)
    relevant = interactions([[1, 3, 5]], 10)  # hits at ranks 2 and 4
    assert measured("recall", top, relevant, 4)[0] == pytest.approx(2 / 3)
    assert measured("precision", top, relevant, 4)[0] == pytest.approx(2 / 4)
    assert measured("hit_rate", top, relevant, 1)[0] == 0.0
    assert measured("hit_rate", top, relevant, 4)[0] == 1.0
    assert measured("mrr", top, relevant, 4)[0] == pytest.approx(1 / 2)
    assert measured("map", top, relevant, 4)[0] == pytest.approx((1 / 2 + 2 / 4) / 3)
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    assert measured("ndcg", top, relevant, 4)[0] == pytest.approx((1 / np.log2(3) + 1 / np.log2(5)) / ideal)


def test_average_precision_cannot_reach_one_with_more_held_out_than_places(interactions: Build) -> None:
    top = np.array([[0, 1]], dtype=np.int32)
    relevant = interactions([[0, 1, 2, 3]], 4)
    assert measured("map", top, relevant, 2)[0] == pytest.approx(2 / 4)
    assert measured("ndcg", top, relevant, 2)[0] == pytest.approx(1.0)


@pytest.mark.parametrize("name", METRICS)
def test_a_user_without_held_out_items_has_no_value(name: str, interactions: Build) -> None:
    values = measured(name, np.array([[0, 1], [0, 1]], dtype=np.int32), interactions([[], [1]], 3), 2)
    assert np.isnan(values[0])
    assert values[1] > 0.0


@pytest.mark.parametrize(("n_items", "k"), [(40, 8), (1500, 20)])
def test_a_constant_model_finds_k_of_n_items(n_items: int, k: int, interactions: Build) -> None:
    relevant = interactions([[item] for item in range(n_items)], n_items)  # every item is held out once
    top = ranked_scores(np.zeros((n_items, n_items)), None, k).items
    assert measured("recall", top, relevant, k).mean() == pytest.approx(k / n_items)
    assert measured("ndcg", top, relevant, k).mean() == pytest.approx(
        (1 / np.log2(np.arange(2, k + 2))).sum() / n_items
    )
    assert coverage(exposure(top, n_items, k)) == pytest.approx(k / n_items)


def test_coverage_counts_items_once_and_holes_never() -> None:
    top = np.array([[0, 1, 5], [1, 0, -1], [2, -1, -1]], dtype=np.int32)
    assert coverage(exposure(top, 10, 1)) == pytest.approx(3 / 10)
    assert coverage(exposure(top, 10, 3)) == pytest.approx(4 / 10)


def test_several_cutoffs_are_those_measured_alone() -> None:
    top, relevant = random_case(4)
    for (name, k), values in accuracy(top, relevant, (1, 7, 30)).items():
        np.testing.assert_array_equal(values, measured(name, top, relevant, k))


MEASURED: dict[str, Callable[[np.ndarray, Interactions], object]] = {
    "accuracy": lambda top, relevant: accuracy(top, relevant, (2, 3)),
    "beyond accuracy": lambda top, train: beyond_accuracy(top, Reference(train, np.eye(train.n_items)), (3,)),
    "coverage": lambda top, known: coverage(exposure(top, known.n_items, 3)),
    "gini": lambda top, known: gini(exposure(top, known.n_items, 3)),
}


@pytest.mark.parametrize("measure", MEASURED.values(), ids=MEASURED)
@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ([1, 4, 1], "item 1 twice, in row 1"),
        ([0, 2, 5], "from -1 to 5, expected -1 to 4"),
        ([0, 1, -2], "from -2 to 4, expected -1 to 4"),
    ],
)
def test_a_ranking_with_an_item_twice_or_out_of_range_is_refused(
    row: list[int], sentence: str, measure: Callable[[np.ndarray, Interactions], object], interactions: Build
) -> None:
    known, good = interactions([[1], [0, 1]], 5), [4, -1, -1]
    measure(np.array([good, [0, 1, 2]], dtype=np.int32), known)
    with pytest.raises(ValueError, match=sentence):
        measure(np.array([good, row], dtype=np.int32), known)


def test_what_stands_below_the_cutoff_is_not_looked_at(interactions: Build) -> None:
    top = np.array([[0, 1, 1]], dtype=np.int32)
    assert measured("recall", top, interactions([[1]], 2), 2).tolist() == [1.0]


def test_a_ranking_that_is_too_short_is_refused(interactions: Build) -> None:
    with pytest.raises(ValueError, match="at least 3 items"):
        measured("recall", np.zeros((1, 2), dtype=np.int32), interactions([[0]], 2), 3)
