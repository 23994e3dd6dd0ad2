"""Ray Tune around :func:`hnlm_ray.training.fit.fit`: one process per trial, the same number of trials per variant."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from hnlm_ray.cluster.connect import connected, require
from hnlm_ray.cluster.heartbeat import heartbeat
from hnlm_ray.config.paths import assign
from hnlm_ray.config.tree import Config
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.errors import HnlmError, StageError
from hnlm_ray.report.search import VariantSearch, render_search, summarise
from hnlm_ray.run.stage import StageContext, StageKey, StageSummary
from hnlm_ray.run.store import Artifact
from hnlm_ray.run.trials import Trial, draw_trials
from hnlm_ray.tables import SEARCH_TRIALS
from hnlm_ray.training.inputs import SemanticInputs

__all__ = ["BEST", "PAGE", "run"]

PAGE = "search.html"
BEST = "best.yaml"
"""The configuration with the best options of every searched variant, for ``hnlm run -c``."""

_ROWS = "_trials"
"""Scratch folder with a file per finished trial."""


@dataclass(frozen=True)
class _Task:
    """What a trial gets: where to read, not what was read."""

    prepare: Artifact
    semantics: tuple[SemanticInputs, ...]
    """Of each trial."""
    output: Artifact
    trials: tuple[Trial, ...]
    seed: int
    epochs: int | None
    use_gpu: bool


def run(context: StageContext) -> StageSummary:
    """Try every trial of the search and write ``trials``, ``search.html`` and ``best.yaml``.

    A trial that finished is on disk; an interrupted search goes on with the others. A trial that failed is a row with
    its reason.

    Args:
        context: inputs ``prepare`` and, where searched variants are semantic, ``ground``, ``vectors`` and ``encode``;
            for trials with options outside the variants, such as ``encode@3``, where 3 is the number of the trial.

    Raises:
        ConfigError: the search section does not suit the variants.
        ResourceError: the cluster has no room for a single trial.
        StageError: every trial failed.
    """
    config, output = context.config, context.output
    trials = tuple(draw_trials(config))
    output.folder(_ROWS).create()
    finished = _finished(output)
    pending = tuple(trial for trial in trials if _key(trial) not in finished)
    context.say(f"{len(trials)} trials of {len({trial.variant for trial in trials})} variants, {len(pending)} to run")
    failed = {}
    if pending:
        with connected(config.cluster), heartbeat(lambda: _progress_line(output, len(trials)), context.say):
            failed = _tune(_task(context, pending), config)
    rows = [finished.get(_key(trial)) or failed.get(_key(trial)) or _read(output, trial) for trial in trials]
    table = pa.Table.from_pylist(rows, schema=SEARCH_TRIALS).sort_by([("variant", "ascending"), ("trial", "ascending")])
    _check(table)
    output.write("trials", table)
    output.write_bytes(PAGE, render_search(config.run, table).encode())
    output.write_bytes(BEST, _overlay(config, table, trials).encode())
    counts = {"ok": len(trials) - len(failed), "failed": len(failed)}
    return StageSummary({"trials": len(table)}, counts)


def _task(context: StageContext, pending: tuple[Trial, ...]) -> _Task:
    inputs, search = context.inputs, context.config.search
    return _Task(
        prepare=inputs["prepare"],
        semantics=tuple(_semantics(inputs, trial) for trial in pending),
        output=context.output,
        trials=pending,
        seed=search.seed,
        epochs=search.epochs,
        use_gpu=context.config.train.accelerator == "gpu",
    )


def _semantics(inputs: Mapping[str, Artifact], trial: Trial) -> SemanticInputs:
    """What a trial reads: made with its own options outside the variants, where it has some."""
    number = trial.number if trial.upstream else None
    kinds = ("vectors", "ground", "encode")
    return SemanticInputs(*(inputs.get(StageKey(kind, trial=number).name) for kind in kinds))


def _tune(task: _Task, config: Config) -> dict[str, dict[str, Any]]:
    """Run Ray Tune to its end; the rows of the trials that failed, by key."""
    # Read when Tune is imported or fits: no tables on the console, no event files, and Ctrl-C ends the command.
    quiet = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_DISABLE_SIGINT_HANDLER": "1"}
    os.environ.update(quiet)
    from ray import tune

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failure is a row of the table
    needs = {"CPU": 1.0, "GPU": 1.0} if task.use_gpu else {"CPU": 1.0}
    require(needs, "a trial of the search")
    is_local = not (config.cluster.address or os.environ.get("RAY_ADDRESS"))
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_try, task=task), needs),
        param_space={"trial": tune.grid_search(list(range(len(task.trials))))},
        # A local Ray has more logical CPUs than the machine has cores, and a trial is one busy core.
        tune_config=tune.TuneConfig(max_concurrent_trials=os.cpu_count() if is_local else None),
        run_config=tune.RunConfig(
            name="search",
            storage_path=task.output.folder("_ray_tune").path,
            storage_filesystem=task.output.filesystem,
            verbose=0,
        ),
    )
    failed = {}
    for trial, result in zip(task.trials, tuner.fit(), strict=True):  # Tune keeps the order of the grid
        error = str(result.error).splitlines()[0] if result.error else result.metrics["error"]
        if error:
            failed[_key(trial)] = {**_row(trial), "status": "failed", "error": error}
    return failed


def _try(config: dict[str, int], task: _Task) -> dict[str, str]:
    """The body of one trial."""
    import torch

    from hnlm_ray.training.fit import fit

    trial, semantics = task.trials[config["trial"]], task.semantics[config["trial"]]
    epochs = min(task.epochs or trial.options.epochs, trial.options.epochs)
    torch.set_num_threads(1)
    try:
        splits = read_splits(task.prepare)
        result = fit(
            splits.train,
            splits.valid,
            trial.options.model_copy(update={"epochs": epochs}),
            task.seed,
            **semantics.arguments(trial.options, splits.train),
            device="cuda" if task.use_gpu else "cpu",
        )
    except Exception as error:  # whatever it is, the other trials go on and the table says it
        return {"error": str(error) if isinstance(error, HnlmError) else f"{type(error).__name__}: {error}"}
    progress = result.progress
    found = {"best_epoch": progress.best_epoch, "valid_ndcg": progress.best_ndcg, "seconds": progress.seconds}
    row = {**_row(trial), **found, "status": "ok", "error": ""}
    task.output.write_bytes(f"{_ROWS}/{_key(trial)}.json", json.dumps(row).encode())
    return {"error": ""}


def _row(trial: Trial) -> dict[str, Any]:
    return {"variant": trial.variant, "trial": trial.number, "parameters": json.dumps(trial.parameters)}


def _key(trial: Trial) -> str:
    return f"{trial.variant}.{trial.number}"


def _finished(output: Artifact) -> dict[str, dict[str, Any]]:
    folder = output.folder(_ROWS)
    rows = [json.loads(folder.read_bytes(name)) for name in folder.files() if name.endswith(".json")]
    return {f"{row['variant']}.{row['trial']}": row for row in rows}


def _progress_line(output: Artifact, total: int) -> str | None:
    rows = list(_finished(output).values())
    if not rows:
        return None
    best = max(rows, key=lambda row: float(row["valid_ndcg"]))
    return f"{len(rows)} of {total} trials, best valid NDCG@20 {best['valid_ndcg']:.4f} ({best['variant']})"


def _read(output: Artifact, trial: Trial) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(output.read_bytes(f"{_ROWS}/{_key(trial)}.json"))
    return row


def _check(table: pa.Table) -> None:
    if "ok" not in table["status"].to_pylist():
        raise StageError(f"every trial failed, the first with: {table['error'][0].as_py()}", "mend that and run again")


def _overlay(config: Config, table: pa.Table, trials: Sequence[Trial]) -> str:
    """What was configured, with the best options of every searched variant.

    A configuration has one value for an option outside the variants: that of the best trial that depends on any.
    """
    by_key = {_key(trial): trial for trial in trials}
    results = sorted(summarise(table), key=lambda result: -1.0 if result.best is None else -result.best["valid_ndcg"])
    best = {one.variant: by_key[f"{one.variant}.{one.best['trial']}"] for one in results if one.best is not None}
    outside = next((trial.outside for trial in best.values() if trial.outside), {})
    lines = [
        "# Best on validation NDCG@20:",
        *(_comment(result, best.get(result.variant), outside) for result in results),
    ]
    tree = config.model_dump(mode="json", exclude_unset=True)
    variants = {name: best[name].options if name in best else one for name, one in config.train.variants.items()}
    tree["train"] = {
        **tree.get("train", {}),
        "variants": {n: one.model_dump(mode="json") for n, one in variants.items()},
    }
    tree.pop("search", None)
    for path, value in outside.items():
        assign(tree, path, value)
    return "\n".join(lines) + "\n" + yaml.safe_dump(tree, sort_keys=False)


def _comment(result: VariantSearch, best: Trial | None, outside: Mapping[str, Any]) -> str:
    if result.best is None or best is None:
        return f"# {result.variant}: every trial failed, so it stands here as it was configured"
    line = f"# {result.variant}: {result.best['valid_ndcg']:.4f} in trial {best.number}"
    others = [f"{path}={value}" for path, value in best.outside.items() if outside.get(path) != value]
    return line + (f", with {', '.join(others)} instead of what stands below" if others else "")
