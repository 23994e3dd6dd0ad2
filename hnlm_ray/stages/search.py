"""The hyper-parameter search: every trial a fit in a process of its own, the same number of trials per variant."""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import yaml

from hnlm_ray.cluster.connect import connected, remote_address
from hnlm_ray.cluster.heartbeat import Look, heartbeat
from hnlm_ray.config.paths import assign
from hnlm_ray.config.tree import Config
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.errors import StageError
from hnlm_ray.report.search import VariantSearch, described, render_search, summarise
from hnlm_ray.run.progress import WorkDone
from hnlm_ray.run.stage import StageContext, StageSummary
from hnlm_ray.run.store import Artifact
from hnlm_ray.run.trials import Trial, draw_trials
from hnlm_ray.tables import SEARCH_TRIALS
from hnlm_ray.training.inputs import FitInputs
from hnlm_ray.training.progress import epochs_done

if TYPE_CHECKING:
    from hnlm_ray.training.loop import TrainingLoop
    from hnlm_ray.training.progress import Progress

__all__ = ["BEST", "PAGE", "run"]

PAGE = "search.html"
BEST = "best.yaml"
"""The configuration with the best options of every searched variant, for ``hnlm run -c``."""

_SCRATCH = "_trials"
"""Scratch folder with a JSON file per trial that ended, and the state of Ray Tune."""

_FIGURES = ("epochs", "best_epoch", "valid_ndcg", "seconds")
"""Columns of the table ``trials`` that the fit of a trial gives."""

_Rows = dict[tuple[str, int], dict[str, Any]]
"""Rows of the table ``trials`` by variant and number."""
_Running = dict[int, WorkDone]
"""How far the trials are that have reported and not ended, by their place among those that are run."""


@dataclass(frozen=True)
class _Task:
    """What the process of a trial gets: where to read, not what was read.

    Attributes:
        prepare: users, items and interactions.
        semantics: what each trial reads of the language model's work.
        variants: what each trial trains.
        seed: of every fit.
        use_gpu: where to train.
    """

    prepare: Artifact
    sides: tuple[FitInputs, ...]
    variants: tuple[VariantConfig, ...]
    seed: int
    use_gpu: bool


def run(context: StageContext) -> StageSummary:
    """Run every trial of the search and write ``trials``, ``search.html`` and ``best.yaml``.

    Ray Tune runs the trials and, with ``search.stopping``, ends poor ones early; what a trial draws is decided before,
    by :func:`hnlm_ray.run.trials.draw_trials`, so that it depends neither on the order of the trials nor on what the
    others found. A trial that ended is on disk: an interrupted search goes on with the others, which are then stopped
    by comparison among themselves. A trial that failed is a row with its reason.

    Args:
        context: inputs ``prepare`` and, where searched variants are semantic, ``ground``, ``vectors`` and ``encode``;
            for trials with options outside the variants, such as ``encode@3``, where 3 is the number of the trial.

    Raises:
        ConfigError: the search section does not suit the variants.
        ResourceError: the cluster has no room for a single trial.
        StageError: every trial failed.
    """
    config, output = context.config, context.output
    trials = draw_trials(config)
    output.folder(_SCRATCH).create()
    rows = _read_rows(output)
    pending = [trial for trial in trials if _key(trial) not in rows]
    size = f"{_counted(len(trials), 'trial')} of {_counted(len({trial.variant for trial in trials}), 'variant')}"
    context.say(size if len(pending) == len(trials) else f"{size}, {len(pending):,} still to run")
    if pending:
        running = _Running()
        with connected(config.cluster), heartbeat(_progress(rows, pending, len(trials), running), context.say):
            _run_trials(context, pending, rows, running)
    table = pa.Table.from_pylist([rows[_key(trial)] for trial in trials], schema=SEARCH_TRIALS)
    table = table.sort_by([("variant", "ascending"), ("trial", "ascending")])
    if set(table["status"].to_pylist()) == {"failed"}:
        raise StageError(f"every trial failed, the first with: {table['error'][0].as_py()}", "fix that and run again")
    output.write("trials", table)
    output.write_bytes(PAGE, render_search(config.run, table, config.search.space).encode())
    output.write_bytes(BEST, _overlay(config, table, trials).encode())
    status = Counter(table["status"].to_pylist())
    return StageSummary({"trials": len(table)}, {name: status[name] for name in ("ok", "stopped", "failed")})


def _run_trials(context: StageContext, pending: Sequence[Trial], rows: _Rows, running: _Running) -> None:
    """Run the trials that are missing; as soon as one ends, its row is added, and written unless it failed.

    A row says at first only that the trial failed; the reason comes when all have ended.
    """
    from hnlm_ray.cluster.trial_runner import TrialPool, run_trials  # imports Ray, which reads its settings then

    config, scratch = context.config, context.output.folder(_SCRATCH)
    most = config.search.epochs or math.inf
    variants = tuple(trial.options.model_copy(update={"epochs": min(most, trial.options.epochs)}) for trial in pending)
    task = _Task(
        prepare=context.inputs["prepare"],
        sides=tuple(_side(context.inputs, trial) for trial in pending),
        variants=variants,
        seed=config.search.seed,
        use_gpu=config.train.accelerator == "gpu",
    )
    is_local = remote_address(config.cluster) is None
    pool = TrialPool(
        use_gpu=task.use_gpu,
        # A local Ray has more logical CPUs than the machine has cores, and a trial is one busy core.
        most=os.cpu_count() if is_local else None,
        stopping=config.search.stopping,
        epochs=max(variant.epochs for variant in variants),
    )

    def on_report(number: int, figures: Mapping[str, Any]) -> None:
        trial = pending[number]
        what, at = f"{trial.variant}, trial {trial.number}", {name: figures[name] for name in _FIGURES}
        running[number] = epochs_done(
            what, at["epochs"], variants[number].epochs, at["seconds"], at["valid_ndcg"], at["best_epoch"]
        )

    def on_end(number: int, figures: Mapping[str, Any], is_finished: bool) -> None:
        trial = pending[number]
        running.pop(number, None)
        row = _row(trial, "ok" if is_finished else "stopped") | {name: figures[name] for name in _FIGURES}
        rows[_key(trial)] = row
        scratch.write_bytes(f"{trial.variant}.{trial.number}.json", json.dumps(row).encode())

    def on_fail(number: int) -> None:
        running.pop(number, None)
        rows[_key(pending[number])] = _row(pending[number], "failed")

    groups = [trial.variant for trial in pending]
    errors = run_trials(_fit, task, groups, pool, scratch, on_end, on_fail, on_report)
    for trial, error in zip(pending, errors, strict=True):
        if error is not None:
            rows[_key(trial)] = _row(trial, "failed", error)


def _side(inputs: Mapping[str, Artifact], trial: Trial) -> FitInputs:
    """What a trial reads: made with its own options outside the variants, where it has some."""
    return FitInputs.of_stage(inputs, trial.number if trial.upstream else None)


def _fit(task: _Task, number: int, report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The body of one trial."""
    import torch

    from hnlm_ray.training.fit import fit

    def on_validation(loop: TrainingLoop) -> None:
        if not loop.is_finished:  # its last figures are what the body returns
            report(_figures(loop.progress))

    torch.set_num_threads(1)
    splits = read_splits(task.prepare)
    variant = task.variants[number]
    result = fit(
        splits.train,
        splits.valid,
        variant,
        task.seed,
        side=task.sides[number].of_variant(variant, splits.train),
        device="cuda" if task.use_gpu else "cpu",
        on_validation=on_validation,
    )
    return _figures(result.progress)


def _figures(progress: Progress) -> dict[str, Any]:
    values = (progress.epoch, progress.best_epoch, progress.best_ndcg, progress.seconds)
    return dict(zip(_FIGURES, values, strict=True))


def _key(trial: Trial) -> tuple[str, int]:
    return trial.variant, trial.number


def _row(trial: Trial, status: str, error: str = "") -> dict[str, Any]:
    own = {"variant": trial.variant, "trial": trial.number, "parameters": json.dumps(trial.parameters)}
    return {**own, "status": status, "error": error}


def _read_rows(output: Artifact) -> _Rows:
    """The trials that ended before the search was interrupted."""
    folder = output.folder(_SCRATCH)
    rows = [json.loads(folder.read_bytes(name)) for name in folder.files() if name.endswith(".json")]
    return {(row["variant"], row["trial"]): row for row in rows}


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _progress(rows: _Rows, pending: Sequence[Trial], total: int, running: _Running) -> Look:
    """Trials done, the best so far, and the time left at the rate of those that have ended since now."""
    started = time.monotonic()

    def look() -> WorkDone:
        known, seconds = list(rows.values()), time.monotonic() - started
        line, rate, left, note = f"{len(known):,} of {_counted(total, 'trial')} done", None, None, ""
        if failed := sum(row["status"] == "failed" for row in known):
            line += f", {failed:,} failed"
        if ended := len(known) - total + len(pending):
            rate = ended / seconds
            left = (total - len(known)) / rate
            line += f", about {left:.0f} s left"
        best = max((row for row in known if row["status"] != "failed"), key=lambda row: row["valid_ndcg"], default=None)
        if best is not None:
            note = f"best valid NDCG@20 so far {best['valid_ndcg']:.4f} ({best['variant']})"
        line += f", {note}" if note else f", {seconds:.0f} s so far"
        parts = tuple(running[number] for number in sorted([*running]))
        return WorkDone("search", len(known), total, "trials", line, rate, left, note, parts)

    return look


def _overlay(config: Config, table: pa.Table, trials: Sequence[Trial]) -> str:
    """What was configured, with the best options of every searched variant.

    A configuration has one value for an option outside the variants: that of the best trial that depends on any.
    """
    by_key = {_key(trial): trial for trial in trials}
    results = sorted(summarise(table), key=lambda result: -1.0 if result.best is None else -result.best["valid_ndcg"])
    best = {one.variant: by_key[one.variant, one.best["trial"]] for one in results if one.best is not None}
    outside = next((trial.outside for trial in best.values() if trial.outside), {})
    comments = (_comment(result, best.get(result.variant), outside) for result in results)
    tree = config.model_dump(mode="json", exclude_unset=True)
    variants = {name: best[name].options if name in best else one for name, one in config.train.variants.items()}
    tree.setdefault("train", {})["variants"] = {name: one.model_dump(mode="json") for name, one in variants.items()}
    tree.pop("search", None)
    for path, value in outside.items():
        assign(tree, path, value)
    return "\n".join(["# Best on validation NDCG@20:", *comments, yaml.safe_dump(tree, sort_keys=False)])


def _comment(result: VariantSearch, best: Trial | None, outside: Mapping[str, Any]) -> str:
    if result.best is None or best is None:
        return f"# {result.variant}: every trial failed, so it stays as it was configured"
    line = f"# {result.variant}: {result.best['valid_ndcg']:.4f} in trial {best.number}"
    others = {path: value for path, value in best.outside.items() if outside.get(path) != value}
    return line + (f", with {described(others)} instead of what stands below" if others else "")
