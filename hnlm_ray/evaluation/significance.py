"""Whether a difference between two models is more than chance over users.

Two tests of the same hypothesis: the bootstrap assumes nothing about the distribution of the differences, the t-test is
the one that publications report. With several models against one baseline, :func:`holm` keeps the chance of any false
discovery at the level of a single test.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnlm_ray.seeds import generator

__all__ = ["Interval", "holm", "paired_bootstrap", "paired_t_test"]


@dataclass(frozen=True)
class Interval:
    """A mean difference and its confidence interval.

    Attributes:
        mean: over users.
        low: lower end.
        high: upper end.
        p_value: two-sided, of the hypothesis that there is no difference: twice the share of resamples on the rarer
            side of 0, the given sample counted as one of them, so never below ``2 / (resamples + 1)``.
    """

    mean: float
    low: float
    high: float
    p_value: float


def paired_bootstrap(
    values: npt.NDArray[np.float64],
    baseline: npt.NDArray[np.float64],
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval | None:
    """Percentile bootstrap (Efron, Annals of Statistics 1979) of the mean difference, resampling users.

    Args:
        values: (n_users,) a metric of each user under one model.
        baseline: (n_users,) the same metric of the same users under another.
        seed: of the whole run.
        resamples: how often users are drawn anew, with replacement.
        confidence: of the interval, in (0, 1).

    Returns:
        The interval; None for fewer than two users, which have no spread to resample.

    Raises:
        ValueError: the two have different lengths.
    """
    from scipy.stats import bootstrap

    if values.shape != baseline.shape:
        raise ValueError(f"{values.shape} values cannot be paired with {baseline.shape}")
    if len(values) < 2:
        return None
    difference = values - baseline
    result = bootstrap(
        (difference,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, 4_000_000 // len(difference)),  # bounds memory to 32 MB
        confidence_level=confidence,
        method="percentile",
        rng=generator(seed, "evaluation", "bootstrap"),
    )
    low, high = result.confidence_interval
    means = result.bootstrap_distribution
    rarer = min(int((means <= 0.0).sum()), int((means >= 0.0).sum()))
    p_value = min(1.0, 2.0 * (rarer + 1) / (resamples + 1))
    return Interval(float(difference.mean()), float(low), float(high), p_value)


def paired_t_test(values: npt.NDArray[np.float64], baseline: npt.NDArray[np.float64]) -> float:
    """Two-sided p-value of Student's paired t-test.

    Args:
        values: (n_users,) a metric of each user under one model, at least two users.
        baseline: (n_users,) the same metric of the same users under another.

    Returns:
        The p-value; where all differences are the same, 1 if they are 0 and 0 otherwise.
    """
    from scipy.stats import ttest_rel

    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Precision loss occurred", RuntimeWarning
        )  # differences that are all the same
        p_value = float(ttest_rel(values, baseline).pvalue)
    return 1.0 if math.isnan(p_value) else p_value


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for multiple comparisons (Holm, Scandinavian Journal of Statistics 1979), in the order given.

    The smallest of m is multiplied by m, the next by m - 1 and so on, and none may end below a smaller one.
    """
    adjusted, floor = list(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = floor
    return adjusted
