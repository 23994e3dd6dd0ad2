from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from hnlm_ray.evaluation.significance import holm, paired_bootstrap, paired_t_test


def test_the_interval_is_the_one_that_theory_gives() -> None:
    rng = np.random.default_rng(0)
    baseline = rng.random(2000)
    values = baseline + rng.normal(0.02, 0.1, 2000)
    difference = values - baseline
    error = 1.96 * difference.std(ddof=1) / np.sqrt(2000)
    interval = paired_bootstrap(values, baseline, seed=0)
    assert interval is not None
    assert interval.mean == pytest.approx(difference.mean())
    assert interval.low == pytest.approx(difference.mean() - error, abs=0.1 * error)
    assert interval.high == pytest.approx(difference.mean() + error, abs=0.1 * error)
    assert interval.low > 0.0


def test_pairing_sees_what_the_spread_over_users_hides() -> None:
    rng = np.random.default_rng(1)
    baseline = rng.normal(0.0, 10.0, 300)
    interval = paired_bootstrap(baseline + 0.01 + rng.normal(0, 0.01, 300), baseline, seed=0)
    assert interval is not None
    assert interval.low > 0.0


def test_noise_is_no_difference() -> None:
    rng = np.random.default_rng(2)
    values, baseline = rng.random(500), rng.random(500)
    interval = paired_bootstrap(values, baseline, seed=0)
    assert interval is not None
    assert interval.low < 0.0 < interval.high


def test_the_seed_decides_the_draws() -> None:
    rng = np.random.default_rng(3)
    values, baseline = rng.random(50), rng.random(50)
    assert paired_bootstrap(values, baseline, seed=5) == paired_bootstrap(values, baseline, seed=5)
    assert paired_bootstrap(values, baseline, seed=5) != paired_bootstrap(values, baseline, seed=6)


def test_equal_models_have_an_interval_of_no_width() -> None:
    values = np.random.default_rng(4).random(40)
    interval = paired_bootstrap(values, values, seed=0)
    assert interval is not None
    assert (interval.mean, interval.low, interval.high) == (0.0, 0.0, 0.0)


def test_one_user_has_no_interval_and_other_users_no_pairs() -> None:
    assert paired_bootstrap(np.array([1.0]), np.array([0.5]), seed=0) is None
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_bootstrap(np.zeros(2), np.zeros(3), seed=0)


@pytest.mark.parametrize("shift", [0.0, 0.01, -0.02])
def test_the_t_test_is_that_of_the_textbook_and_the_bootstrap_comes_near(shift: float) -> None:
    rng = np.random.default_rng(5)
    baseline = rng.random(800)
    values = baseline + rng.normal(shift, 0.2, 800)
    p_value = paired_t_test(values, baseline)
    # From the definition of the statistic, which does not go through scipy's paired test.
    difference = values - baseline
    statistic = difference.mean() / (difference.std(ddof=1) / np.sqrt(800))
    assert p_value == pytest.approx(2 * t.sf(abs(statistic), 799), rel=1e-9)
    interval = paired_bootstrap(values, baseline, seed=0)
    assert interval is not None
    assert interval.p_value == pytest.approx(p_value, abs=0.03)
    excludes_zero = interval.low > 0.0 or interval.high < 0.0
    assert excludes_zero == (interval.p_value < 0.05)


def test_without_spread_the_t_test_is_certain() -> None:
    assert paired_t_test(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 1.0
    assert paired_t_test(np.array([1.5, 2.5]), np.array([1.0, 2.0])) == 0.0


def test_the_bootstrap_never_claims_more_than_its_resamples_show() -> None:
    interval = paired_bootstrap(np.full(9, 1.0), np.zeros(9), seed=0, resamples=99)
    assert interval is not None
    assert interval.p_value == 2 / 100


def test_holm_by_hand() -> None:
    # 3 * .01, 2 * .02 and 1 * .04, none below a smaller one; given in another order.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_holm_rejects_no_more_than_alpha_when_nothing_is_there() -> None:
    draws = np.random.default_rng(6).random((4000, 5))
    false_alarms = np.mean([min(holm(row.tolist())) < 0.05 for row in draws])
    assert false_alarms == pytest.approx(0.05, abs=0.012)
