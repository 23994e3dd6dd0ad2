"""The figures of a bundle with confidence intervals, from the run that made it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.tree import SELECTION_CUTOFF
from hnlm_ray.errors import DataError
from hnlm_ray.evaluation.significance import paired_bootstrap
from hnlm_ray.run.finished import FinishedRun, open_runs
from hnlm_ray.serving.bundle.info import BundleAbout

__all__ = ["Figure", "figures_of"]

_PER_USER = ("ndcg", "recall")
"""Metrics that a run keeps for every user, at the cut-off that epochs are selected by."""


@dataclass(frozen=True)
class Figure:
    """One metric of a bundle.

    Attributes:
        split: ``valid`` or ``test``.
        metric: for example ``ndcg``.
        k: the cut-off.
        value: mean over users.
        low: lower end of the 95 % interval over users; None where no run was given, or it does not have that.
        high: upper end.
    """

    split: str
    metric: str
    k: int
    value: float
    low: float | None = None
    high: float | None = None


def figures_of(about: BundleAbout, run: str | None) -> list[Figure]:
    """The figures that a bundle says, those on the test split first.

    Args:
        about: of the bundle.
        run: folder of the run that made it, for intervals; None for none.

    Raises:
        StoreError: the folder is no run that is evaluated.
        DataError: the run has other figures than the bundle.
    """
    said = sorted(map(_parsed, about.metrics.items()), key=lambda one: (one.split != "test", one.metric, one.k))
    if run is None:
        return said
    (finished,) = open_runs([run])
    measured = _measured(finished, about)
    if not said or any(not math.isclose(measured.get(_key(one), math.nan), one.value, rel_tol=1e-9) for one in said):
        what = f"the run {run} has other figures for {about.variant}, seed {about.seed}, than the bundle says"
        raise DataError(what, "give the run that made the bundle")
    users = finished.evaluate.read("user_metrics") if finished.evaluate.has("user_metrics") else None
    return said if users is None else [_with_interval(one, users, about) for one in said]


def _parsed(item: tuple[str, float]) -> Figure:
    split, _, rest = item[0].partition(" ")
    metric, _, cutoff = rest.partition("@")
    return Figure(split, metric, int(cutoff), item[1])


def _key(figure: Figure) -> tuple[str, str, int]:
    return figure.split, figure.metric, figure.k


def _measured(run: FinishedRun, about: BundleAbout) -> Mapping[tuple[str, str, int], float]:
    metrics = run.evaluate.read("metrics")
    own = metrics.filter((pc.field("variant") == about.variant) & (pc.field("seed") == about.seed))
    return {(row["split"], row["metric"], row["k"]): row["value"] for row in own.drop_null().to_pylist()}


def _with_interval(figure: Figure, users: pa.Table, about: BundleAbout) -> Figure:
    """The figure with the interval of its mean, where the run keeps it for every user."""
    if figure.split != "test" or figure.metric not in _PER_USER or figure.k != SELECTION_CUTOFF:
        return figure
    own = users.filter((pc.field("variant") == about.variant) & (pc.field("seed") == about.seed))
    values = own[figure.metric].drop_null().to_numpy()
    interval = paired_bootstrap(values, np.zeros_like(values), about.seed)
    if interval is None or not math.isclose(interval.mean, figure.value, rel_tol=1e-6, abs_tol=1e-9):
        return figure
    return replace(figure, low=interval.low, high=interval.high)
