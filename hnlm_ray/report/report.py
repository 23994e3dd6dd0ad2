"""The report of a run: what is on the page, and the page.

The page is one file without scripts and without anything fetched. All text comes from data or from a language model
and is escaped; only the figures, which hold no such text, go in as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.report.comparison import Difference, VariantResult
from hnlm_ray.report.page import render_page
from hnlm_ray.report.plots import Curve, horizontal_bars, learning_curves
from hnlm_ray.report.samples import ItemSample, NegativeSample, UserSample

__all__ = [
    "ACCURACY",
    "FalseNegatives",
    "LearningCurves",
    "Report",
    "StageLine",
    "StatusShare",
    "StrataFigures",
    "render",
]

ACCURACY = {
    "recall": "Recall",
    "ndcg": "NDCG",
    "precision": "Precision",
    "hit_rate": "Hit rate",
    "mrr": "MRR",
    "map": "MAP",
}
"""Metrics in the order of the page."""

_BEYOND = {
    "coverage": "Coverage",
    "gini": "Gini index",
    "popularity": "Popularity",
    "novelty": "Novelty, bits",
    "intra_list_distance": "Intra-list distance",
    "tie_rate": "Tie rate",
}
"""Measures beyond accuracy in the order of the page; a run without text vectors lacks one."""


@dataclass(frozen=True)
class StageLine:
    """One stage that ran.

    Attributes:
        name: of the stage.
        rows: of each table it wrote.
        seconds: how long it took; None where the manifest does not say.
        counts: whatever it counted.
    """

    name: str
    rows: Mapping[str, int]
    seconds: float | None
    counts: Mapping[str, int | float]


@dataclass(frozen=True)
class StatusShare:
    """What became of the answers of one stage.

    Attributes:
        title: of the bar.
        parts: status and number of rows, the usable one first.
        prompt_tokens: read by the model; None where the table does not count them.
        output_tokens: written by the model.
        reasons: why rows were rejected, the most frequent first.
    """

    title: str
    parts: tuple[tuple[str, int], ...]
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    reasons: tuple[tuple[str, int], ...] = ()

    @property
    def total(self) -> int:
        """All rows."""
        return sum(count for _, count in self.parts)

    @classmethod
    def of(cls, title: str, table: pa.Table, usable: str) -> StatusShare:
        """Count a table with a ``status`` column, and its tokens and reasons where it has them."""
        tally = table.group_by("status").aggregate([("status", "count")]).to_pylist()
        parts = sorted(((row["status"], row["status_count"]) for row in tally), key=lambda part: -part[1])
        parts.sort(key=lambda part: part[0] != usable)
        if "prompt_tokens" not in table.column_names:
            return cls(title, tuple(parts))
        rejected = table.filter(pc.not_equal(table["status"], usable))
        why = rejected.group_by("reason").aggregate([("reason", "count")]).to_pylist()
        reasons = sorted(((row["reason"], row["reason_count"]) for row in why), key=lambda reason: -reason[1])
        read, written = (pc.sum(table[name]).as_py() or 0 for name in ("prompt_tokens", "output_tokens"))
        return cls(title, tuple(parts), read, written, tuple(reasons[:3]))


@dataclass(frozen=True)
class LearningCurves:
    """Validation and loss of every fit.

    Attributes:
        names: the variants; their position is the colour.
        fits: number of the variant and its table ``history``.
    """

    names: Sequence[str]
    fits: Sequence[tuple[int, pa.Table]]

    def figures(self) -> list[str]:
        """Three ``<svg>`` elements: validation by epoch and by time, and the loss."""
        by_epoch = [self._curve(series, table, "epoch", "valid_ndcg") for series, table in self.fits]
        by_time = [self._curve(series, table, "seconds", "valid_ndcg") for series, table in self.fits]
        loss = [self._curve(series, table, "epoch", "loss") for series, table in self.fits]
        return [
            learning_curves(by_epoch, "epoch", "validation NDCG@20", "Validation NDCG@20 by epoch"),
            learning_curves(by_time, "seconds of training", "validation NDCG@20", "Validation NDCG@20 by time"),
            learning_curves(loss, "epoch", "loss", "Training loss by epoch"),
        ]

    @staticmethod
    def _curve(series: int, table: pa.Table, x: str, y: str) -> Curve:
        rows = table.select([x, y]).drop_null()
        return Curve(series, rows[x].to_pylist(), rows[y].to_pylist())


@dataclass(frozen=True)
class StrataFigures:
    """Where each variant is good.

    Attributes:
        names: the variants; their position is the colour.
        table: ``strata``.
    """

    names: Sequence[str]
    table: pa.Table

    def figures(self) -> list[str]:
        """Two ``<svg>`` elements: NDCG by activity of users, and by popularity of items; means over seeds."""
        return [
            self._figure("user_activity", "train interactions of the user", "NDCG@20 of users by their activity"),
            self._figure("item_popularity", "train interactions of the item", "NDCG@20 of items by their popularity"),
        ]

    def _figure(self, kind: str, x_label: str, description: str) -> str:
        table = self.table.filter((pc.field("kind") == kind) & (pc.field("metric") == "ndcg"))
        means = table.group_by(["variant", "stratum"]).aggregate([("value", "mean")]).sort_by("stratum")
        curves = []
        for series, name in enumerate(self.names):
            rows = means.filter((pc.field("variant") == name) & ~pc.is_nan(pc.field("value_mean")))
            curves.append(Curve(series, rows["stratum"].to_pylist(), rows["value_mean"].to_pylist()))
        bounds = table.group_by(["stratum", "low", "high"]).aggregate([]).sort_by("stratum").to_pylist()
        ticks = ["\N{EN DASH}".join(f"{end:,}" for end in sorted({row["low"], row["high"]})) for row in bounds]
        return learning_curves(curves, x_label, description, description, ticks)


@dataclass(frozen=True)
class FalseNegatives:
    """Rates on a generated world: sampler, rate, number of pairs, and mean score of the teacher where it is known."""

    rows: Sequence[tuple[str, float, int, float | None]]

    def figure(self) -> str:
        """An ``<svg>`` element."""
        names, rates = [row[0] for row in self.rows], [row[1] for row in self.rows]
        return horizontal_bars(names, rates, "language model", "False-negative rate of each sampler")


@dataclass(frozen=True)
class Report:
    """Everything on the page; an empty part is left out, and ``absent`` says so."""

    run: str
    facts: Sequence[tuple[str, str]]
    stages: Sequence[StageLine]
    results: Sequence[VariantResult]
    cutoffs: Sequence[int]
    baseline: str | None
    settings: Mapping[str, Mapping[str, str]]
    differences: Sequence[Difference]
    curves: LearningCurves
    statuses: Sequence[StatusShare] = ()
    items: Sequence[ItemSample] = ()
    users: Sequence[UserSample] = ()
    negatives: Sequence[NegativeSample] = ()
    false_negatives: FalseNegatives | None = None
    tuning: Sequence[Mapping[str, Any]] = ()
    """Rows of the table ``tuning``."""
    strata: StrataFigures | None = None
    absent: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def beyond(self) -> dict[str, str]:
        """Measures beyond accuracy that this run has, and their names."""
        return {
            key: name for key, name in _BEYOND.items() if any(key == cell for r in self.results for cell, _ in r.cells)
        }

    @property
    def chosen(self) -> VariantResult | None:
        """The fitted variant that is best on validation."""
        fitted = [result for result in self.results if result.seeds and math.isfinite(result.valid_ndcg)]
        return max(fitted, key=lambda result: result.valid_ndcg, default=None)


def render(report: Report) -> str:
    """The page as HTML."""
    return render_page("report.html.j2", report=report, columns=ACCURACY, chosen=report.chosen)
