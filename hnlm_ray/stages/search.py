"""The hyper-parameter search: every trial a fit in a process of its own, the same budget for every variant."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

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
from hnlm_ray.run.proposals import Told
from hnlm_ray.run.stage import StageContext, StageSummary
from hnlm_ray.run.store import Artifact
from hnlm_ray.run.trials import Trial, draw_trials, is_proposed, proposed, with_parameters
from hnlm_ray.tables import SEARCH_TRIALS
from hnlm_ray.training.inputs import FitInputs
from hnlm_ray.training.progress import epochs_done

if TYPE_CHECKING:
    from hnlm_ray.cluster.trial_runner import Ended, Past, Start
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

_REPORTS = "reports"
"""What a trial's file has beside its row: epochs and best validation NDCG@20 of every report."""

_TOLD: Mapping[str, Literal["complete", "pruned"]] = {"ok": "complete", "stopped": "pruned", "cut": "pruned"}
"""What a sampler is told of a trial by its status; of one that failed it hears nothing."""

_Rows = dict[tuple[str, int], dict[str, Any]]
"""Rows of the table ``trials``, with their reports, by variant and number."""
_Shown = dict[int, WorkDone]
"""How far the trials are that have reported and not ended, by their place among those that are run."""


@dataclass(frozen=True)
class _Task:
    """What the process of a trial gets: where to read, not what was read.

    Attributes:
        prepare: users, items and interactions.
        sides: what each trial reads of the language model's work.
        seed: of every fit.
        use_gpu: where to train.
    """

    prepare: Artifact
    sides: tuple[FitInputs, ...]
    seed: int
    use_gpu: bool


def run(context: StageContext) -> StageSummary:
    """Run every trial of the search and write ``trials``, ``search.html`` and ``best.yaml``.

    Ray Tune runs the trials and, with ``search.stopping``, ends poor ones early. What a trial draws at random is
    decided before, by :func:`hnlm_ray.run.trials.draw_trials`; what ``search.algorithm: tpe`` proposes, as late as
    possible. A trial that ended is on disk with its reports: an interrupted search goes on with the others, which are
    compared with it, and the sampler is told of it. A trial that failed is a row with its reason.

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
        shown = _Shown()
        with connected(config.cluster), heartbeat(_progress(rows, pending, len(trials), shown), context.say):
            _run_trials(context, pending, rows, shown)
    found = [(trial, rows[_key(trial)]) for trial in trials if _key(trial) in rows]
    table = pa.Table.from_pylist([row for _, row in found], schema=SEARCH_TRIALS)
    table = table.sort_by([("variant", "ascending"), ("trial", "ascending")])
    if set(table["status"].to_pylist()) == {"failed"}:
        raise StageError(f"every trial failed, the first with: {table['error'][0].as_py()}", "fix that and run again")
    tried = [_as_tried(config, trial, row) for trial, row in found]
    output.write("trials", table)
    output.write_bytes(PAGE, render_search(config.run, table, config.search).encode())
    output.write_bytes(BEST, _overlay(config, table, tried).encode())
    status = Counter(table["status"].to_pylist())
    return StageSummary({"trials": len(table)}, {name: status[name] for name in ("ok", "stopped", "cut", "failed")})


def _as_tried(config: Config, trial: Trial, row: Mapping[str, Any]) -> Trial:
    """A trial with the options that it ran with, which for a proposal are not those of its draw."""
    is_same = row["status"] == "failed" or not is_proposed(config, trial)
    return trial if is_same else with_parameters(config, trial, json.loads(row["parameters"]))


def _run_trials(context: StageContext, pending: list[Trial], rows: _Rows, shown: _Shown) -> None:
    """Run the trials that are missing; as soon as one ends, its row is added, and written unless it failed.

    A row says at first only that the trial failed; the reason comes when all have ended.
    """
    from hnlm_ray.cluster.trial_runner import TrialPool, run_trials  # imports Ray, which reads its settings then

    config, scratch = context.config, context.output.folder(_SCRATCH)
    task = _Task(
        prepare=context.inputs["prepare"],
        sides=tuple(_side(context.inputs, trial) for trial in pending),
        seed=config.search.seed,
        use_gpu=config.train.accelerator == "gpu",
    )
    is_local = remote_address(config.cluster) is None
    pool = TrialPool(
        use_gpu=task.use_gpu,
        # A local Ray has more logical CPUs than the machine has cores, and a trial is one busy core.
        most=config.search.jobs or (os.cpu_count() if is_local else None),
        stopping=config.search.stopping,
        budget=config.search.epoch_budget,
        past=_past(rows),
    )
    running: dict[tuple[str, int], Trial] = {}

    def start(number: int) -> Start:
        trial = pending[number]
        if is_proposed(config, trial):
            running.pop(_key(trial), None)  # it was held back by the budget, and is asked for again
            pending[number] = trial = proposed(config, trial, _told(trial.variant, rows, running))
        running[_key(trial)] = trial
        return _start(config, trial)

    def on_report(number: int, figures: Mapping[str, Any]) -> None:
        trial, (epoch, best_epoch, ndcg, seconds) = pending[number], (figures[name] for name in _FIGURES)
        what = f"{trial.variant}, trial {trial.number}"
        shown[number] = epochs_done(what, epoch, _last_epoch(config, trial), seconds, ndcg, best_epoch)

    def on_end(number: int, ended: Ended) -> None:
        trial = pending[number]
        shown.pop(number, None)
        row = _row(trial, ended.status) | {name: ended.figures[name] for name in _FIGURES}
        rows[_key(trial)] = row | {_REPORTS: ended.reports}
        running.pop(_key(trial))
        scratch.write_bytes(f"{trial.variant}.{trial.number}.json", json.dumps(rows[_key(trial)]).encode())

    def on_fail(number: int) -> None:
        shown.pop(number, None)
        running.pop(_key(pending[number]), None)
        rows[_key(pending[number])] = _row(pending[number], "failed")

    groups = [trial.variant for trial in pending]
    errors = run_trials(_fit, task, groups, start, pool, scratch, on_end, on_fail, on_report)
    for trial, error in zip(pending, errors, strict=True):
        if error is not None:
            rows[_key(trial)] = _row(trial, "failed", error)


def _start(config: Config, trial: Trial) -> Start:
    """What the process of a trial gets, and when it reports."""
    from hnlm_ray.cluster.trial_runner import Start

    epochs = _last_epoch(config, trial)
    options = trial.options.model_copy(update={"epochs": epochs})
    return Start(options.model_dump_json(), epochs, options.validate_every)


def _last_epoch(config: Config, trial: Trial) -> int:
    return min(config.search.epochs or trial.options.epochs, trial.options.epochs)


def _told(variant: str, rows: _Rows, running: Mapping[tuple[str, int], Trial]) -> list[Told]:
    """What the sampler hears of a variant's trials: those that ended, then those that run, each in their order."""
    ended = sorted((row for row in rows.values() if row["variant"] == variant), key=lambda row: row["trial"])
    told = [
        Told(json.loads(row["parameters"]), _TOLD[row["status"]], row["valid_ndcg"], row["epochs"])
        for row in ended
        if row["status"] in _TOLD
    ]
    return told + [Told(running[key].parameters, "running") for key in sorted(running) if key[0] == variant]


def _past(rows: _Rows) -> list[Past]:
    from hnlm_ray.cluster.trial_runner import Past

    ended = [row for row in rows.values() if row["status"] != "failed"]
    return [Past(row["variant"], [(epochs, ndcg) for epochs, ndcg in row[_REPORTS]]) for row in ended]


def _side(inputs: Mapping[str, Artifact], trial: Trial) -> FitInputs:
    """What a trial reads: made with its own options outside the variants, where it has some."""
    return FitInputs.of_stage(inputs, trial.number if trial.upstream else None)


def _fit(task: _Task, number: int, given: str, report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The body of one trial, given the options of its variant as JSON."""
    import torch

    from hnlm_ray.training.fit import fit

    def on_validation(loop: TrainingLoop) -> None:
        if not loop.is_finished:  # its last figures are what the body returns
            report(_figures(loop.progress))

    torch.set_num_threads(1)
    splits = read_splits(task.prepare)
    variant = VariantConfig.model_validate_json(given)
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


def _progress(rows: _Rows, pending: Sequence[Trial], total: int, shown: _Shown) -> Look:
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
        parts = tuple(shown[number] for number in sorted([*shown]))
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
