from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.evaluation.significance import Interval
from hnlm_ray.report.comparison import Difference, compare, differences
from hnlm_ray.tables import METRICS, USER_METRICS


def metrics(*rows: tuple[str, int | None, str, float]) -> pa.Table:
    names = ("variant", "seed", "split", "value")
    return pa.Table.from_pylist(
        [{"metric": "ndcg", "k": 20, **dict(zip(names, row, strict=True))} for row in rows], schema=METRICS
    )


def user_metrics(*rows: tuple[str, int, int, float, float]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(USER_METRICS.names, row, strict=True)) for row in rows], schema=USER_METRICS)


def test_means_spread_and_difference_over_seeds() -> None:
    table = metrics(
        ("uniform", 0, "test", 0.10), ("uniform", 1, "test", 0.14), ("uniform", 0, "valid", 0.2),
        ("hnlm", 0, "test", 0.15), ("hnlm", 1, "test", 0.15), ("hnlm", 0, "valid", 0.3), ("hnlm", 1, "valid", 0.4),
        ("random", None, "test", 0.03), ("random", None, "valid", 0.01),
    )  # fmt: skip
    uniform, hnlm, chance = compare(table, "uniform", 20)
    assert (uniform.seeds, hnlm.seeds, chance.seeds) == (2, 2, 0)
    assert hnlm.valid_ndcg == pytest.approx(0.35)
    assert uniform.cells["ndcg", 20].mean == pytest.approx(0.12)
    assert uniform.cells["ndcg", 20].sd == pytest.approx(np.std([0.10, 0.14], ddof=1))
    assert uniform.cells["ndcg", 20].relative is None
    assert hnlm.cells["ndcg", 20].relative == pytest.approx(0.15 / 0.12 - 1)
    assert chance.cells["ndcg", 20].sd is None
    assert chance.cells["ndcg", 20].relative == pytest.approx(0.03 / 0.12 - 1)


@pytest.mark.parametrize("baseline", [None, "absent"])
def test_without_the_baseline_nothing_is_compared(baseline: str | None) -> None:
    (only,) = compare(metrics(("hnlm", 0, "test", 0.15)), baseline, 20)
    assert only.cells["ndcg", 20].relative is None
    assert np.isnan(only.valid_ndcg)


def test_a_baseline_of_nothing_has_no_relative_difference() -> None:
    _, hnlm = compare(metrics(("uniform", 0, "test", 0.0), ("hnlm", 0, "test", 0.1)), "uniform", 20)
    assert hnlm.cells["ndcg", 20].relative is None


def test_users_are_paired_whatever_their_order_and_averaged_over_seeds() -> None:
    table = user_metrics(
        ("uniform", 0, 7, 0.0, 0.0), ("uniform", 0, 2, 1.0, 1.0),
        ("hnlm", 0, 2, 1.0, 1.1), ("hnlm", 1, 2, 1.0, 1.3), ("hnlm", 0, 7, 0.0, 0.2), ("hnlm", 1, 7, 0.0, 0.2),
    )  # fmt: skip
    found = {(row.variant, row.metric): row for row in differences(table, "uniform", seed=0)}
    assert set(found) == {("hnlm", "ndcg"), ("hnlm", "recall")}
    ndcg = found["hnlm", "ndcg"]
    assert ndcg.baseline_mean == pytest.approx(0.5)
    # Both users gain exactly 0.2, so resampling them has no spread; pairing by position would have some.
    assert (ndcg.interval.low, ndcg.interval.high) == (pytest.approx(0.2), pytest.approx(0.2))
    assert ndcg.verdict == "better"
    assert found["hnlm", "recall"].verdict == "no clear difference"


def test_a_clear_loss_is_called_worse() -> None:
    rows = [("uniform", 0, user, 0.0, 0.5 + user / 100) for user in range(9)]
    rows += [("hnlm", 0, user, 0.0, 0.4 + user / 100) for user in range(9)]
    ndcg = next(row for row in differences(user_metrics(*rows), "uniform", seed=0) if row.metric == "ndcg")
    assert ndcg.verdict == "worse"


def test_no_baseline_no_differences() -> None:
    assert differences(user_metrics(("hnlm", 0, 1, 0.1, 0.1)), "uniform", seed=0) == []


def test_p_values_are_adjusted_for_the_number_of_variants_within_a_metric() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(60)
    gains = {name: base + rng.normal(0.05, 0.18, 60) for name in ("hnlm", "mixgcf")}
    two = [("uniform", 0, user, base[user], base[user]) for user in range(60)]
    two += [(name, 0, user, base[user], values[user]) for name, values in gains.items() for user in range(60)]
    of_two = {(row.variant, row.metric): row for row in differences(user_metrics(*two), "uniform", seed=0)}
    alone = {}
    for name in gains:
        rows = [row for row in two if row[0] in ("uniform", name)]
        alone |= {
            row.variant: row for row in differences(user_metrics(*rows), "uniform", seed=0) if row.metric == "ndcg"
        }
    smaller, larger = sorted(gains, key=lambda name: alone[name].t_test)
    assert of_two[smaller, "ndcg"].t_test == pytest.approx(2 * alone[smaller].t_test)
    assert of_two[larger, "ndcg"].t_test == pytest.approx(max(alone[larger].t_test, 2 * alone[smaller].t_test))
    assert of_two[smaller, "ndcg"].bootstrap > alone[smaller].bootstrap
    assert of_two[smaller, "ndcg"].interval == alone[smaller].interval
    assert [(row.variant, row.metric) for row in differences(user_metrics(*two), "uniform", seed=0)] == [
        (name, metric) for name in gains for metric in ("ndcg", "recall")
    ]


@pytest.mark.parametrize(("t_test", "bootstrap"), [(0.2, 0.01), (0.01, 0.2)])
def test_a_difference_is_clear_only_when_both_tests_say_so(t_test: float, bootstrap: float) -> None:
    row = Difference("hnlm", "ndcg", 0.1, Interval(0.01, 0.002, 0.02, bootstrap), t_test, bootstrap, t_test)
    assert row.verdict == "no clear difference"
    assert dataclasses.replace(row, t_test=0.01, bootstrap=0.01).verdict == "better"
