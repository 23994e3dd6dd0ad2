"""The page that compares the variants of several runs: its content, and the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hnlm_ray.config.tree import SELECTION_CUTOFF
from hnlm_ray.evaluation.significance import Interval
from hnlm_ray.report.comparison import ACCURACY, Difference, VariantResult
from hnlm_ray.report.figures import LearningCurves, StrataFigures
from hnlm_ray.report.page import render_page
from hnlm_ray.report.plots import Dots, scatter

__all__ = ["Cost", "Method", "RunComparison", "render_comparison"]

_BEYOND = {
    "popularity": "train interactions of recommended items",
    "gini": "Gini index of recommended items",
    "coverage": "share of the catalogue recommended",
    "novelty": "novelty of recommended items, bits",
}
"""Measures that accuracy is drawn against, and the titles of their axes."""


@dataclass(frozen=True)
class Cost:
    """The cost of the fits of a method, means over seeds; None if the manifests lack it.

    Attributes:
        seconds: of training, without evaluation.
        epochs: that were run.
        best_epoch: the one whose vectors were kept.
        parameters: number of parameters of the model.
    """

    seconds: float | None
    epochs: float | None
    best_epoch: float | None
    parameters: float | None

    @property
    def seconds_per_epoch(self) -> float | None:
        """None also for a model that is not trained in epochs."""
        return self.seconds / self.epochs if self.seconds is not None and self.epochs else None


@dataclass(frozen=True)
class Method:
    """One variant of one run.

    Attributes:
        name: ``run:variant``.
        result: means and deviations over seeds.
        intervals: of the mean over users, by ``ndcg`` and ``recall`` at the selection cut-off.
        differences: to the baseline, by the same names; empty for the baseline itself.
        cost: of its fits.
        options: those that are not the same for all methods.
    """

    name: str
    result: VariantResult
    intervals: Mapping[str, Interval | None]
    differences: Mapping[str, Difference]
    cost: Cost
    options: Mapping[str, str]


@dataclass(frozen=True)
class RunComparison:
    """The content of the page.

    Attributes:
        runs: their labels.
        facts: sizes of the data.
        baseline: the method that others are compared with.
        methods: the baseline first; the position of a method decides its colour.
        references: reference rankers, which are not trained.
        curves: learning curves of every fit.
        strata: accuracy by strata; None if a run lacks the table.
        cutoffs: those that all methods were measured at.
    """

    runs: Sequence[str]
    facts: Sequence[tuple[str, str]]
    baseline: str
    methods: Sequence[Method]
    references: Sequence[VariantResult]
    curves: LearningCurves
    strata: StrataFigures | None
    cutoffs: Sequence[int]

    @property
    def chosen(self) -> Method:
        """The method that is best on validation; the first one if none has a finite value."""
        finite = [method for method in self.methods if math.isfinite(method.result.valid_ndcg)]
        return max(finite or self.methods, key=lambda method: method.result.valid_ndcg)

    @property
    def accuracy(self) -> dict[str, str]:
        """Accuracy metrics that the runs have and their titles, in the order of the page."""
        return {name: title for name, title in ACCURACY.items() if self._has(name)}

    @property
    def numbered_names(self) -> list[str]:
        """Names of the methods with the numbers that stand beside their points."""
        return [f"{number} \N{MIDDLE DOT} {method.name}" for number, method in enumerate(self.methods, start=1)]

    def bias_figures(self) -> list[str]:
        """NDCG against what is recommended: one ``<svg>`` element for each measure that the runs have."""
        figures = []
        for metric, axis in _BEYOND.items():
            if self._has(metric):
                dots = [
                    Dots(series, [method.result.cells[metric, SELECTION_CUTOFF].mean], [_ndcg(method)], str(series + 1))
                    for series, method in enumerate(self.methods)
                    if (metric, SELECTION_CUTOFF) in method.result.cells
                ]
                figures.append(scatter(dots, axis, "test NDCG@20", f"Test NDCG@20 by {axis}"))
        return figures

    def _has(self, metric: str) -> bool:
        return any((metric, SELECTION_CUTOFF) in method.result.cells for method in self.methods)


def _ndcg(method: Method) -> float:
    return method.result.cells["ndcg", SELECTION_CUTOFF].mean


def render_comparison(comparison: RunComparison) -> str:
    """The page as HTML."""
    return render_page("compare.html.j2", comparison=comparison, cutoff=SELECTION_CUTOFF)
