"""Every variant of several finished runs side by side, as one page.

The tables of the runs are put together with each variant under the name ``run:variant``, so that what compares the
variants of one run compares these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.backbones import Backbone
from hnlm_ray.config.named import kinds
from hnlm_ray.config.semantic import SemanticOptions
from hnlm_ray.config.tree import SELECTION_CUTOFF
from hnlm_ray.errors import ConfigError, DataError
from hnlm_ray.evaluation.significance import Interval, paired_bootstrap
from hnlm_ray.report.comparison import Difference, VariantResult, compare, differences
from hnlm_ray.report.page import render_page
from hnlm_ray.report.plots import Dots, scatter
from hnlm_ray.report.report import ACCURACY, LearningCurves, StrataFigures
from hnlm_ray.run.finished import FinishedRun, sizes

__all__ = ["Cost", "Method", "RunComparison", "compare_runs", "render_comparison"]

_USUAL_BASELINE = "uniform"
_BEYOND = {
    "popularity": "train interactions of what is shown",
    "gini": "Gini index of what is shown",
    "coverage": "share of the catalogue shown",
    "novelty": "novelty of what is shown, bits",
}
"""Metrics against which accuracy is drawn, and the names of their axes."""


@dataclass(frozen=True)
class Cost:
    """What the fits of a method took, means over seeds; None where the manifests do not say.

    Attributes:
        seconds: of training, evaluation excluded.
        epochs: that were run.
        best_epoch: the one that was kept.
        parameters: numbers in the model.
    """

    seconds: float | None
    epochs: float | None
    best_epoch: float | None
    parameters: float | None


@dataclass(frozen=True)
class Method:
    """One variant of one run.

    Attributes:
        name: ``run:variant``.
        result: means and deviations over seeds.
        intervals: of the mean over users, by ``ndcg`` and ``recall`` at the selection cut-off.
        differences: to the baseline, by the same names; none for the baseline itself.
        cost: of its fits.
        options: those that are not the same for every method.
    """

    name: str
    result: VariantResult
    intervals: Mapping[str, Interval | None]
    differences: Mapping[str, Difference]
    cost: Cost
    options: Mapping[str, str]


@dataclass(frozen=True)
class RunComparison:
    """Everything on the page.

    Attributes:
        runs: their labels.
        facts: sizes of the data.
        baseline: the method that others are compared with.
        methods: the baseline first, whose position is the colour.
        references: rankers that are not trained.
        curves: learning curves of every fit.
        strata: where each method is good; None where a run lacks the table.
        cutoffs: that every run has measured.
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
        """The method that is best on validation."""
        finite = [method for method in self.methods if math.isfinite(method.result.valid_ndcg)]
        return max(finite or self.methods, key=lambda method: method.result.valid_ndcg)

    @property
    def accuracy(self) -> dict[str, str]:
        """Accuracy metrics in the order of the page."""
        return {name: title for name, title in ACCURACY.items() if self._has(name)}

    def bias_figures(self) -> list[str]:
        """NDCG against what is shown: one ``<svg>`` element per measure that the runs have."""
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


def compare_runs(runs: Sequence[FinishedRun], baseline: str | None = None, seed: int = 0) -> RunComparison:
    """Put runs together.

    Args:
        runs: from :func:`hnlm_ray.run.finished.open_runs`.
        baseline: ``run:variant``; by default the variant ``uniform`` of the first run that has it, else its first.
        seed: of the bootstrap.

    Raises:
        ConfigError: there is no such baseline.
        DataError: runs evaluated different users.
    """
    sources = {f"{run.label}:{variant}": (run, variant) for run in runs for variant in run.variants}
    names = list(sources)
    chosen = _baseline(runs, names, baseline)
    metrics, users = (_together(runs, table) for table in ("metrics", "user_metrics"))
    _check_users(users, names)
    results = {result.name: result for result in compare(metrics, chosen, SELECTION_CUTOFF)}
    found = differences(users, chosen, seed)
    order = sorted(names, key=lambda name: name != chosen)
    options = _unlike({name: run.variants[variant] for name, (run, variant) in sources.items()})
    methods = [
        Method(
            name=name,
            result=results[name],
            intervals={metric: _interval(users, name, metric, seed) for metric in ("ndcg", "recall")},
            differences={row.metric: row for row in found if row.variant == name},
            cost=_cost(*sources[name]),
            options=options[name],
        )
        for name in order
    ]
    fits = [
        (series, artifact.read("history"))
        for series, name in enumerate(order)
        for artifact in sources[name][0].fits(sources[name][1])
    ]
    has_strata = all(run.evaluate.has("strata") for run in runs)
    return RunComparison(
        runs=[run.label for run in runs],
        facts=[(name, f"{size:,}") for name, size in sizes(runs[0]).items()],
        baseline=chosen,
        methods=methods,
        references=[result for name, result in results.items() if name not in sources],
        curves=LearningCurves(order, fits),
        strata=StrataFigures(order, _together(runs, "strata")) if has_strata else None,
        cutoffs=_cutoffs(metrics, names),
    )


def render_comparison(comparison: RunComparison) -> str:
    """The page as HTML."""
    return render_page("compare.html.j2", comparison=comparison, cutoff=SELECTION_CUTOFF)


def _baseline(runs: Sequence[FinishedRun], names: Sequence[str], wanted: str | None) -> str:
    if wanted is None:
        return next((name for name in names if name.endswith(f":{_USUAL_BASELINE}")), names[0])
    run, _, variant = wanted.rpartition(":")
    wanted = next((f"{other.label}:{variant}" for other in runs if run.rstrip("/") == other.path.rstrip("/")), wanted)
    if wanted not in names:
        raise ConfigError(f"there is no {wanted!r} to compare with, there are {', '.join(names)}", "name one of them")
    return wanted


def _together(runs: Sequence[FinishedRun], name: str) -> pa.Table:
    """A table of every run, variants under their full names; rankers that no run trains stand there once."""
    parts = []
    for place, run in enumerate(runs):
        table = run.evaluate.read(name)
        own = pa.array(list(run.variants), pa.string())
        is_own = pc.is_in(table["variant"], value_set=own)
        full = pc.binary_join_element_wise(run.label, table["variant"], ":")
        named = table.set_column(0, table.schema.field("variant"), pc.if_else(is_own, full, table["variant"]))
        parts.append(named if place == 0 else named.filter(is_own))
    return pa.concat_tables(parts)


def _check_users(users: pa.Table, names: Sequence[str]) -> None:
    seen = {name: np.unique(users.filter(pc.equal(users["variant"], name))["user"].to_numpy()) for name in names}
    for name in names:
        if not np.array_equal(seen[name], seen[names[0]]):
            what = f"{name} was evaluated on other users than {names[0]}"
            raise DataError(what, "run the stage evaluate of both again")


def _interval(users: pa.Table, name: str, metric: str, seed: int) -> Interval | None:
    """Of the mean over users, each user averaged over seeds."""
    rows = users.filter(pc.equal(users["variant"], name)).group_by("user").aggregate([(metric, "mean")])
    values = rows.sort_by("user")[f"{metric}_mean"].to_numpy()
    return paired_bootstrap(values, np.zeros_like(values), seed)


def _cost(run: FinishedRun, variant: str) -> Cost:
    counts = [artifact.manifest().get("counts", {}) for artifact in run.fits(variant)]

    def mean(name: str) -> float | None:
        values = [float(row[name]) for row in counts if name in row]
        return sum(values) / len(values) if values else None

    return Cost(mean("seconds"), mean("epochs"), mean("best_epoch"), mean("parameters"))


def _unlike(variants: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Options of each method in words, without those in which all agree."""
    keys = list(dict.fromkeys(key for options in variants.values() for key in options))
    read = {name: _read_options(options) for name, options in variants.items()}
    shown = {name: {key: _shown(options.get(key)) for key in keys} for name, options in read.items()}
    kept = [key for key in keys if len({options[key] for options in shown.values()}) > 1 or key == "backbone"]
    return {name: {key: options[key] for key in kept} for name, options in shown.items()}


def _read_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """What has an effect: a baseline in closed form reads nothing but its backbone."""
    backbone = kinds(Backbone).get(options.get("backbone", {}).get("name"))
    if backbone and not backbone.is_trained:
        return {"backbone": options["backbone"]}
    semantic = options.get("semantic")
    shown = str(SemanticOptions.model_validate(semantic)) if isinstance(semantic, dict) else semantic
    return {**options, "semantic": shown}


def _shown(option: Any) -> str:
    if isinstance(option, dict):
        inner = ", ".join(f"{key}={value}" for key, value in option.items() if key != "name")
        return f"{option.get('name', '')}({inner})" if inner else str(option.get("name", ""))
    if isinstance(option, bool):
        return "yes" if option else "no"
    return "\N{EN DASH}" if option is None else str(option)


def _cutoffs(metrics: pa.Table, names: Sequence[str]) -> list[int]:
    """Cut-offs that every run has measured."""
    rows = metrics.group_by(["variant", "k"]).aggregate([]).to_pylist()
    of = {name: {row["k"] for row in rows if row["variant"] == name} for name in names}
    return sorted(set.intersection(*of.values()))
