"""What trackers are told of finished stages: curves, figures, files, and the trials of searches and studies."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hnlm_ray.config.tree import SELECTION_CUTOFF
from hnlm_ray.run.plan import PlannedStage
from hnlm_ray.tracking.desk import Log
from hnlm_ray.tracking.parameters import parameters_of
from hnlm_ray.tracking.protocol import Fit

__all__ = ["CURVES", "fit_of", "tell_of"]

CURVES = {"train": "history", "tune": "tuning"}
"""The table with the learning curve, by kind of stage."""

_ON_PIPELINE = ("ndcg", "recall")
"""Test metrics of every variant that are shown with the pipeline, too."""

_OF_TRIAL = ("valid_ndcg", "best_epoch", "epochs", "seconds", "ndcg", "recall")
"""Columns of ``trials`` and ``study_fits``."""


def fit_of(stage: PlannedStage) -> Fit:
    """A stage of a kind of :data:`CURVES` as trackers know it."""
    config, key = stage.config, stage.key
    if key.variant is None:
        options = config.tune.model_dump(mode="json")
    else:
        own = config.train.variants[key.variant].model_dump(mode="json")
        options = {"variant": key.variant, "seed": key.seed, **own}
    return Fit(stage.name, stage.artifact.fingerprint, parameters_of(options))


def tell_of(log: Log, stage: PlannedStage, fits: Mapping[str, Fit]) -> None:
    """Tell a tracker everything about a complete stage.

    Args:
        log: of the tracker.
        stage: complete.
        fits: of the pipeline, by the name of the stage.
    """
    if stage.kind in CURVES:
        _curve(log, stage, fits[stage.name])
    elif (tell := _TOLD.get(stage.kind)) is not None:
        tell(log, stage, fits)
    log.tracker.log_figures({f"seconds/{_plain(stage.name)}": stage.artifact.manifest().seconds})


def _curve(log: Log, stage: PlannedStage, fit: Fit) -> None:
    log.add_rows(fit, stage.artifact.read(CURVES[stage.kind]).to_pylist())
    counts = stage.artifact.manifest().counts
    log.tracker.log_figures(_finite({f"fit/{name}": value for name, value in counts.items()}), fit)
    log.tracker.end_fit(fit, "finished")


def _evaluation(log: Log, stage: PlannedStage, fits: Mapping[str, Fit]) -> None:
    """Metrics of every fit, and means over seeds of the chosen ones on the test split for the pipeline."""
    found: dict[str, dict[str, float]] = {}
    means: dict[str, list[float]] = {}
    for row in stage.artifact.read("metrics").to_pylist():
        name = f"{row['split']}/{row['metric']}_{row['k']}"
        fit = f"train.{row['variant']}.s{row['seed']}"
        if row["value"] is not None and fit in fits:
            found.setdefault(fit, {})[name] = row["value"]
            if row["split"] == "test" and row["metric"] in _ON_PIPELINE and row["k"] == SELECTION_CUTOFF:
                means.setdefault(f"{row['variant']}/test_{row['metric']}_{row['k']}", []).append(row["value"])
    for fit, figures in found.items():
        log.tracker.log_figures(_finite(figures), fits[fit])
    log.tracker.log_figures(_finite({name: sum(values) / len(values) for name, values in means.items()}))


def _report(log: Log, stage: PlannedStage, fits: Mapping[str, Fit]) -> None:
    log.tracker.log_file("report.html", stage.artifact.read_bytes("report.html"))


def _bundle(log: Log, stage: PlannedStage, fits: Mapping[str, Fit]) -> None:
    log.tracker.log_file(f"{stage.name}/bundle.json", stage.artifact.read_bytes("bundle.json"))


def _trials(log: Log, stage: PlannedStage, fits: Mapping[str, Fit]) -> None:
    """A fit for every trial, with what was drawn and what it gave."""
    for fit, row in _rows(stage):
        log.tracker.begin_fit(fit)
        log.tracker.log_figures(_finite({name: row.get(name) for name in _OF_TRIAL}), fit)
        log.tracker.end_fit(fit, "failed" if row["status"] == "failed" else "finished")


def _rows(stage: PlannedStage) -> Iterator[tuple[Fit, Mapping[str, Any]]]:
    table, drawn = ("trials", "parameters") if stage.kind == "search" else ("study_fits", "drawn")
    for row in stage.artifact.read(table).to_pylist():
        seed = f".s{row['seed']}" if "seed" in row else ""
        name = f"{stage.kind}.{row['variant']}.t{row['trial']}{seed}"
        options = {"variant": row["variant"], "trial": row["trial"], **json.loads(row[drawn])}
        yield Fit(name, stage.artifact.fingerprint, parameters_of(options)), row


_TOLD: Mapping[str, Callable[[Log, PlannedStage, Mapping[str, Fit]], None]] = {
    "evaluate": _evaluation, "report": _report, "bundle": _bundle, "search": _trials, "study": _trials,
}  # fmt: skip


def _finite(figures: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(one) for name, one in figures.items() if one is not None and math.isfinite(one)}


def _plain(name: str) -> str:
    """The name of a stage of a trial without the ``@``."""
    return name.replace("@", ".")
