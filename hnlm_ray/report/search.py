"""The result of a search: the best trial of each variant, and the page about all trials."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.report.page import render_page
from hnlm_ray.report.plots import Curve, Dots, learning_curves, scatter

__all__ = ["VariantSearch", "render_search", "summarise"]

_METRIC = "validation NDCG@20"


@dataclass(frozen=True)
class VariantSearch:
    """The trials of one variant.

    Attributes:
        variant: its name.
        rows: of the table ``trials``, by number.
    """

    variant: str
    rows: Sequence[Mapping[str, Any]]

    @property
    def finished(self) -> list[Mapping[str, Any]]:
        """The trials that succeeded."""
        return [row for row in self.rows if row["status"] == "ok"]

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """The trials that failed."""
        return [row for row in self.rows if row["status"] != "ok"]

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The successful trial with the best validation NDCG, the first of equals; None if all failed."""
        return max(self.finished, key=lambda row: row["valid_ndcg"], default=None)

    @property
    def configured(self) -> float | None:
        """Validation NDCG of the variant as configured (trial 0); None if that trial failed."""
        return next((row["valid_ndcg"] for row in self.finished if row["trial"] == 0), None)

    @property
    def gain(self) -> float | None:
        """Relative gain of the best trial over the variant as configured; None where one of them failed."""
        if self.best is None or not self.configured:
            return None
        return float(self.best["valid_ndcg"]) / self.configured - 1.0

    @property
    def chosen(self) -> dict[str, Any]:
        """Drawn options of the best trial, by path inside the variant; empty if it is the variant as configured."""
        return {} if self.best is None or self.best["trial"] == 0 else _inside(self.best)

    @property
    def seconds(self) -> float:
        """Training time of all trials together."""
        return float(sum(row["seconds"] for row in self.finished))


def summarise(trials: pa.Table) -> list[VariantSearch]:
    """The trials of each variant, in the order of the table ``trials``."""
    rows = trials.to_pylist()
    names = dict.fromkeys(row["variant"] for row in rows)
    return [VariantSearch(name, [row for row in rows if row["variant"] == name]) for name in names]


def render_search(run: str, trials: pa.Table) -> str:
    """The page about a search as HTML.

    Args:
        run: name of the run.
        trials: table ``trials``.
    """
    results = summarise(trials)
    failed = pc.sum(pc.not_equal(trials["status"], "ok")).as_py() or 0
    figures = [_progress(results), *(_against(path, results) for path in _paths(results))]
    return render_page("search.html.j2", run=run, results=results, total=len(trials), failed=failed, figures=figures)


def _inside(row: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f"train.variants.{row['variant']}."
    return {path.removeprefix(prefix): value for path, value in json.loads(row["parameters"]).items()}


def _paths(results: Sequence[VariantSearch]) -> list[str]:
    return list(dict.fromkeys(path for result in results for row in result.rows for path in _inside(row)))


def _progress(results: Sequence[VariantSearch]) -> str:
    """A figure of the best validation NDCG so far by number of trials."""
    curves = []
    for series, result in enumerate(results):
        values = [row["valid_ndcg"] for row in result.finished]
        numbers = [row["trial"] + 1 for row in result.finished]
        curves.append(Curve(series, numbers, np.maximum.accumulate(values).tolist() if values else []))
    return learning_curves(curves, "trials", f"best {_METRIC}", "Best validation NDCG@20 so far by number of trials")


def _against(path: str, results: Sequence[VariantSearch]) -> str:
    """A figure of every successful trial by the value of one option."""
    dots = []
    for series, result in enumerate(results):
        pairs = [(_inside(row), row["valid_ndcg"]) for row in result.finished]
        known = [(drawn[path], value) for drawn, value in pairs if path in drawn]
        dots.append(Dots(series, [_shown(x) for x, _ in known], [y for _, y in known]))
    return scatter(dots, path, _METRIC, f"Validation NDCG@20 by {path}")


def _shown(value: Any) -> float | str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else value if isinstance(value, str) else json.dumps(value)
