"""Whether a difference between two models is more than chance over users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnlm_ray.seeds import generator

__all__ = ["Interval", "paired_bootstrap"]


@dataclass(frozen=True)
class Interval:
    """A mean difference and its confidence interval.

    Attributes:
        mean: over users.
        low: lower end.
        high: upper end.
    """

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0.0 or self.high < 0.0


def paired_bootstrap(
    values: npt.NDArray[np.float64],
    baseline: npt.NDArray[np.float64],
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval | None:
    """Percentile bootstrap (Efron, 1979) of the mean difference, resampling users.

    Args:
        values: (n_users,) a metric of each user under one model.
        baseline: (n_users,) the same metric of the same users under another.
        seed: of the whole run.
        resamples: how often users are drawn anew.
        confidence: of the interval.

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
    return Interval(float(difference.mean()), float(low), float(high))
