"""Metrics of every variant beside the baseline: means over seeds, relative differences, confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.evaluation.significance import Interval, holm, paired_bootstrap, paired_t_test

__all__ = ["ACCURACY", "LEVEL", "Cell", "Difference", "VariantResult", "best_on_validation", "compare", "differences"]

ACCURACY = {
    "recall": "Recall",
    "ndcg": "NDCG",
    "precision": "Precision",
    "hit_rate": "Hit rate",
    "mrr": "MRR",
    "map": "MAP",
}
"""Accuracy metrics and their titles, in the order of the pages."""

LEVEL = 0.05
"""Probability, for one metric, of calling any difference clear if there is none."""


@dataclass(frozen=True)
class Cell:
    """One metric of one variant.

    Attributes:
        mean: over seeds.
        sd: sample standard deviation over seeds; None for a single seed.
        relative: difference to the baseline as a share of the baseline; None without a baseline.
    """

    mean: float
    sd: float | None
    relative: float | None


@dataclass(frozen=True)
class VariantResult:
    """One variant on the test split.

    Attributes:
        name: of the variant.
        seeds: number of fits; 0 for a reference ranker.
        valid_ndcg: validation NDCG at the selection cut-off, mean over seeds.
        cells: by metric and cut-off.
    """

    name: str
    seeds: int
    valid_ndcg: float
    cells: dict[tuple[str, int], Cell]


@dataclass(frozen=True)
class Difference:
    """A variant against the baseline in one metric.

    Attributes:
        variant: its name.
        metric: ``recall`` or ``ndcg``, at the selection cut-off.
        baseline_mean: mean of the baseline over users and seeds.
        interval: of the difference, bootstrapped over users.
        t_test: p-value of the paired t-test, adjusted by Holm's method for the number of variants compared.
        bootstrap: p-value of the bootstrap, adjusted in the same way.
        unadjusted: p-value of the paired t-test alone.
    """

    variant: str
    metric: str
    baseline_mean: float
    interval: Interval
    t_test: float
    bootstrap: float
    unadjusted: float

    @property
    def verdict(self) -> str:
        """The outcome of both tests: ``better``, ``worse`` or ``no clear difference``."""
        if max(self.t_test, self.bootstrap) >= LEVEL:
            return "no clear difference"
        return "better" if self.interval.mean > 0.0 else "worse"

    @property
    def relative_interval(self) -> tuple[float, float] | None:
        """The interval as shares of the baseline; None if the baseline is 0."""
        if not self.baseline_mean:
            return None
        return self.interval.low / self.baseline_mean, self.interval.high / self.baseline_mean


def compare(metrics: pa.Table, baseline: str | None, selection_cutoff: int) -> list[VariantResult]:
    """One result per variant, in the order of the table.

    Args:
        metrics: table ``metrics``.
        baseline: the variant that others are compared with; None, or a name that the table lacks, for none.
        selection_cutoff: cut-off of the validation NDCG.
    """
    keys = ["variant", "split", "metric", "k"]
    spread = pc.VarianceOptions(ddof=1)
    grouped = metrics.group_by(keys).aggregate([("value", "mean"), ("value", "stddev", spread), ("seed", "count")])
    means = {tuple(row[key] for key in keys): row for row in grouped.to_pylist()}
    results = []
    for variant in dict.fromkeys(metrics["variant"].to_pylist()):
        rows = {key[2:]: row for key, row in means.items() if key[:2] == (variant, "test")}
        cells = {
            key: _cell(row, means.get((baseline, "test", *key)))
            for key, row in rows.items()
            if row["value_mean"] is not None
        }
        selected = means.get((variant, "valid", "ndcg", selection_cutoff))
        valid = selected["value_mean"] if selected and selected["value_mean"] is not None else math.nan
        seeds = max((row["seed_count"] for row in rows.values()), default=0)
        results.append(VariantResult(variant, seeds, valid, cells))
    return results


def best_on_validation(results: Iterable[VariantResult]) -> VariantResult | None:
    """The variant with the best validation NDCG, the first of equals; reference rankers are left out.

    Args:
        results: from :func:`compare`.

    Returns:
        None where no variant has a validation NDCG, because nothing was held out for it.
    """
    fitted = [result for result in results if result.seeds and math.isfinite(result.valid_ndcg)]
    return max(fitted, key=lambda result: result.valid_ndcg, default=None)


def _cell(row: dict[str, float], base: dict[str, float] | None) -> Cell:
    sd = row["value_stddev"] if row["seed_count"] > 1 else None
    reference = base["value_mean"] if base is not None and base["variant"] != row["variant"] else None
    return Cell(row["value_mean"], sd, row["value_mean"] / reference - 1.0 if reference else None)


def differences(user_metrics: pa.Table, baseline: str, seed: int) -> list[Difference]:
    """Every other variant against the baseline, paired by user, with each user's value averaged over seeds.

    Args:
        user_metrics: table ``user_metrics``, in which every variant has the same users.
        baseline: a variant of the table; if the table lacks it, there is nothing to compare.
        seed: of the whole run.
    """
    names: Sequence[str] = list(dict.fromkeys(user_metrics["variant"].to_pylist()))
    if baseline not in names:
        return []
    averaged = user_metrics.group_by(["variant", "user"]).aggregate([("recall", "mean"), ("ndcg", "mean")])
    averaged = averaged.sort_by("user")
    of = {name: averaged.filter(pc.equal(averaged["variant"], name)) for name in names}
    found: list[Difference] = []
    for metric in ("ndcg", "recall"):
        base = of[baseline][f"{metric}_mean"].to_numpy()
        rows = []
        for name in names:
            values = of[name][f"{metric}_mean"].to_numpy()
            interval = paired_bootstrap(values, base, seed) if name != baseline else None
            if interval is not None:
                p_value = paired_t_test(values, base)
                rows.append(Difference(name, metric, float(base.mean()), interval, p_value, interval.p_value, p_value))
        t_tests, bootstraps = holm([row.t_test for row in rows]), holm([row.bootstrap for row in rows])
        adjusted = zip(rows, t_tests, bootstraps, strict=True)
        found += [replace(row, t_test=t, bootstrap=bootstrap) for row, t, bootstrap in adjusted]
    return sorted(found, key=lambda row: names.index(row.variant))
