"""The figures of the pages, from the tables of the stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.report.plots import Curve, learning_curves

__all__ = ["Bar", "FalseNegatives", "LearningCurves", "StrataFigures"]


@dataclass(frozen=True)
class LearningCurves:
    """Validation NDCG and loss of every fit, by epoch and by time.

    Attributes:
        names: the variants; the position of a name decides its colour.
        fits: position of the variant and its table ``history``.
    """

    names: Sequence[str]
    fits: Sequence[tuple[int, pa.Table]]

    def figures(self) -> list[str]:
        """Three ``<svg>`` elements: validation NDCG by epoch, by time, and the loss by epoch."""
        by_epoch, by_time = self._curves("epoch", "valid_ndcg"), self._curves("seconds", "valid_ndcg")
        return [
            learning_curves(by_epoch, "epoch", "validation NDCG@20", "Validation NDCG@20 by epoch"),
            learning_curves(by_time, "seconds of training", "validation NDCG@20", "Validation NDCG@20 by time"),
            learning_curves(self._curves("epoch", "loss"), "epoch", "loss", "Training loss by epoch"),
        ]

    def _curves(self, x: str, y: str) -> list[Curve]:
        fits = [(series, table.select([x, y]).drop_null()) for series, table in self.fits]
        return [Curve(series, rows[x].to_pylist(), rows[y].to_pylist()) for series, rows in fits]


@dataclass(frozen=True)
class StrataFigures:
    """Accuracy of each variant by strata of users and of items.

    Attributes:
        names: the variants; the position of a name decides its colour.
        table: the table ``strata``.
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
            rows = means.filter((pc.field("variant") == name) & pc.field("value_mean").is_valid())
            curves.append(Curve(series, rows["stratum"].to_pylist(), rows["value_mean"].to_pylist()))
        bounds = table.group_by(["stratum", "low", "high"]).aggregate([]).sort_by("stratum").to_pylist()
        ticks = ["\N{EN DASH}".join(f"{end:,}" for end in sorted({row["low"], row["high"]})) for row in bounds]
        return learning_curves(curves, x_label, description, description, ticks)


@dataclass(frozen=True)
class Bar:
    """One sampler among its rivals.

    Attributes:
        sampler: its name.
        rate: share of its negatives that the user would like.
        length: ``rate`` as a share of the highest one.
        pairs: number of its negatives.
        hardness: their mean score under the teacher; None where there is no teacher.
    """

    sampler: str
    rate: float
    length: float
    pairs: int
    hardness: float | None

    @property
    def is_model(self) -> bool:
        """Whether the language model wrote these negatives."""
        return self.sampler == "language model"


@dataclass(frozen=True)
class FalseNegatives:
    """False-negative rates on generated data: rows of sampler, rate, pairs, and hardness or None."""

    rows: Sequence[tuple[str, float, int, float | None]]

    def bars(self) -> list[Bar]:
        """The samplers, the highest rate first."""
        highest = max((rate for _, rate, *_ in self.rows), default=0.0) or 1.0
        rows = sorted(self.rows, key=lambda row: -row[1])
        return [Bar(name, rate, rate / highest, pairs, hardness) for name, rate, pairs, hardness in rows]
