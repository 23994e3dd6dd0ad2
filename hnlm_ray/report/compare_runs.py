"""Compares the variants of several finished runs.

The tables of the runs are concatenated with each variant under the name ``run:variant``, so that they can be compared
like the variants of one run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.tree import SELECTION_CUTOFF
from hnlm_ray.errors import ConfigError, DataError
from hnlm_ray.evaluation.significance import Interval, paired_bootstrap
from hnlm_ray.report.comparison import compare, differences
from hnlm_ray.report.figures import LearningCurves, StrataFigures
from hnlm_ray.report.options import differing_options
from hnlm_ray.report.run_comparison import Cost, Method, RunComparison
from hnlm_ray.run.finished import FinishedRun, sizes

__all__ = ["compare_runs"]

_USUAL_BASELINE = "uniform"


def compare_runs(runs: Sequence[FinishedRun], baseline: str | None = None, seed: int = 0) -> RunComparison:
    """Compare all variants of several runs.

    Args:
        runs: from :func:`hnlm_ray.run.finished.open_runs`.
        baseline: ``run:variant``; by default the first variant called ``uniform``, or else the first variant.
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
    options = differing_options({name: run.variants[variant] for name, (run, variant) in sources.items()})
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


def _baseline(runs: Sequence[FinishedRun], names: Sequence[str], wanted: str | None) -> str:
    if wanted is None:
        return next((name for name in names if name.endswith(f":{_USUAL_BASELINE}")), names[0])
    run, _, variant = wanted.rpartition(":")
    wanted = next((f"{other.label}:{variant}" for other in runs if run.rstrip("/") == other.path.rstrip("/")), wanted)
    if wanted not in names:
        raise ConfigError(f"there is no {wanted!r} to compare with, there are {', '.join(names)}", "name one of them")
    return wanted


def _together(runs: Sequence[FinishedRun], name: str) -> pa.Table:
    """A table of all runs with variants called ``run:variant``; the reference rankers are in it once."""
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
    """The interval of the mean over users, with each user averaged over seeds."""
    rows = users.filter(pc.equal(users["variant"], name)).group_by("user").aggregate([(metric, "mean")])
    values = rows.sort_by("user")[f"{metric}_mean"].to_numpy()
    return paired_bootstrap(values, np.zeros_like(values), seed)


def _cost(run: FinishedRun, variant: str) -> Cost:
    counts = [artifact.manifest().counts for artifact in run.fits(variant)]

    def mean(name: str) -> float | None:
        values = [float(row[name]) for row in counts if name in row]
        return sum(values) / len(values) if values else None

    return Cost(mean("seconds"), mean("epochs"), mean("best_epoch"), mean("parameters"))


def _cutoffs(metrics: pa.Table, names: Sequence[str]) -> list[int]:
    """Cut-offs that all methods were measured at."""
    rows = metrics.group_by(["variant", "k"]).aggregate([]).to_pylist()
    of = {name: {row["k"] for row in rows if row["variant"] == name} for name in names}
    return sorted(set.intersection(*of.values()))
