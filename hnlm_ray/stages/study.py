"""The study: as many validation-chosen trials for every variant, several seeds of each, one table and one page."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hnlm_ray.cluster.connect import connected
from hnlm_ray.cluster.heartbeat import heartbeat
from hnlm_ray.config.tree import SELECTION_CUTOFF
from hnlm_ray.errors import StageError
from hnlm_ray.evaluation.inputs import read_held_out
from hnlm_ray.report.study import StudyPage, study_table
from hnlm_ray.run.ledger import Ledger
from hnlm_ray.run.places import Folder
from hnlm_ray.run.progress import WorkDone
from hnlm_ray.run.stage import StageContext, StageSummary
from hnlm_ray.run.store import Artifact, RunStore
from hnlm_ray.run.study import StudyFit, planned_trials
from hnlm_ray.tables import HISTORY
from hnlm_ray.training.inputs import FitInputs
from hnlm_ray.training.progress import epochs_done

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions
    from hnlm_ray.models.rankers import Ranker
    from hnlm_ray.training.loop import TrainingLoop

__all__ = ["PAGE", "run"]

PAGE = "study.html"
_UNDER_WAY_S = 2.0
"""Seconds between two notes of a fit about how far it is."""


def run(context: StageContext) -> StageSummary:
    """Fit what is missing and write ``study``, ``study_fits``, ``user_metrics`` and ``study.html``.

    Each trial of a variant is fitted with the screening seeds; the one with the best validation NDCG@20 is then fitted
    with all seeds. The fits run side by side, each in one thread, in processes that live as long as the study. A fit
    that has finished is an artifact of its own, so it is never made twice, whatever else of the study changes. Only
    what it gave on validation chooses; what it gave on the test split is kept beside that, and left alone unless the
    trial is chosen.

    Args:
        context: with everything that the fits read.

    Raises:
        ConfigError: the study does not suit the variants.
        ResourceError: the cluster has no room for a single fit.
        StageError: there is nothing to evaluate on, or too many fits failed for a comparison.
    """
    config, output = context.config, context.output
    for split in read_held_out(context.inputs["prepare"]).values():
        if not len(split.relevant.items):
            raise StageError(f"the {split.name} split is empty", "raise data.split.valid and data.split.test")
    fits = Ledger(planned_trials(config, RunStore(config.run)))
    waiting = fits.begin()
    context.say(f"{_counted(len(fits.trials), 'variant')}, {fits.done:,} of {_counted(fits.total, 'fit')} done")
    if waiting:
        running = _Running(output.folder("_under_way"))  # scratch, like all names with an underscore
        with connected(config.cluster), heartbeat(lambda: fits.look(running.read()), context.say):
            _run(context, fits, waiting, running)
    rows, users, errors = fits.table(), fits.user_metrics(), fits.reasons()
    against = config.study.against or fits.best
    judged = set(users["variant"].to_pylist())
    if against is None or against not in judged or len(judged) < 2:
        what = f"too many fits failed for a comparison, the first is {errors[0]}"
        raise StageError(what, "correct this and run again; what has finished is kept")
    table = study_table(rows, users, against, config.seed)
    seeds, space = config.study.screening_seeds, config.search.space
    page = StudyPage(config.run, table, rows, seeds, space, fits.histories())
    output.write("study_fits", rows)
    output.write("user_metrics", users)
    output.write("study", table)
    output.write_bytes(PAGE, page.render().encode())
    counts = {"fits": len(rows) - fits.failed, "failed": fits.failed}
    warnings = [f"{reason}; to try it again, delete {output.path} and repeat the command" for reason in errors]
    written = {"study": len(table), "study_fits": len(rows), "user_metrics": len(users)}
    return StageSummary(written, counts, warnings)


class _Running:
    """How far the fits are that run: each writes a file, which is left out when the fit has ended."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._ended: set[str] = set()
        folder.clear()
        folder.create()

    def listener(self, fit: StudyFit) -> Callable[[TrainingLoop], None]:
        """What is called in the process of a fit, after each validation."""
        last, trial = 0.0, fit.trial

        def on_validation(loop: TrainingLoop) -> None:
            nonlocal last
            if time.monotonic() - last < _UNDER_WAY_S:
                return
            last, at = time.monotonic(), loop.progress
            what = f"{trial.variant}, trial {trial.number}, seed {fit.seed}"
            done = epochs_done(what, at.epoch, trial.options.epochs, at.seconds, at.best_ndcg, at.best_epoch)
            self._folder.write_bytes(fit.artifact.fingerprint, json.dumps(dataclasses.asdict(done)).encode())

        return on_validation

    def end(self, fit: StudyFit) -> None:
        """Note that a fit has ended."""
        self._ended.add(fit.artifact.fingerprint)

    def read(self) -> list[WorkDone]:
        """How far the others were when they last wrote."""
        running = [name for name in self._folder.files() if name not in self._ended and not name.startswith("_")]
        return [WorkDone(**{**json.loads(self._folder.read_bytes(name)), "parts": ()}) for name in running]


def _run(context: StageContext, fits: Ledger, waiting: Sequence[StudyFit], running: _Running) -> None:
    """Run the fits that wait, and those that they make necessary."""
    from hnlm_ray.cluster.pool import Failure, Workers, run_pool  # imports Ray, which reads its settings then

    config = context.config
    use_gpu = config.train.accelerator == "gpu"
    workers: Workers[StudyFit] = Workers(
        _Worker,
        (context.inputs["prepare"], config.study.cpus, use_gpu, running),
        cpus=config.study.cpus,
        gpus=int(use_gpu),
        most=config.study.jobs,
    )
    fits.jobs = workers.size(config.cluster)

    def on_end(fit: StudyFit, result: Any) -> Sequence[StudyFit]:
        running.end(fit)
        is_failed = isinstance(result, Failure)
        new, line = fits.end(fit, result.reason if is_failed else result)
        if line:
            context.say(line)
        return new

    run_pool(workers, fits.jobs, waiting, on_end)


class _Worker:
    """One process of the pool: reads the interactions once, then fits and judges."""

    def __init__(self, prepare: Artifact, threads: int, use_gpu: bool, running: _Running) -> None:
        import numba
        import torch

        torch.set_num_threads(threads)
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        self._splits, self._device = read_held_out(prepare), "cuda" if use_gpu else "cpu"
        self._running = running

    def run(self, fit: StudyFit) -> dict[str, float]:
        """Write what the study keeps of a fit; returns the figures that its manifest has."""
        from hnlm_ray.evaluation.beyond import Reference
        from hnlm_ray.evaluation.blocks import evaluate
        from hnlm_ray.evaluation.outcome import user_metrics_table

        train, test = self._splits["valid"].seen, self._splits["test"]
        ranker, figures, history = self._fit(fit, train)
        k = SELECTION_CUTOFF
        found = evaluate(ranker, test, (k,), reference=Reference(train))
        figures |= {name: found.mean(name, k) for name in ("ndcg", "recall", "popularity")}
        figures["coverage"] = found.coverage[k]
        fit.artifact.clear()
        fit.artifact.create()
        fit.artifact.write("history", history)
        fit.artifact.write("user_metrics", user_metrics_table(fit.trial.variant, fit.seed, found, k))
        seconds, inputs = figures["seconds"], {name: one.fingerprint for name, one in fit.inputs.items()}
        fit.artifact.commit({"seconds": seconds, "rows": {}, "counts": figures, "inputs": inputs})
        return figures

    def _fit(self, fit: StudyFit, train: Interactions) -> tuple[Ranker, dict[str, float], pa.Table]:
        """The ranker of the test split, its figures on validation and its learning curve."""
        from hnlm_ray.models.rankers import VectorRanker
        from hnlm_ray.training.baseline import compute
        from hnlm_ray.training.fit import fit as fit_variant

        variant, valid = fit.trial.options, self._splits["valid"].relevant
        started = time.process_time()
        if not variant.is_trained:
            members = FitInputs.of_stage(fit.inputs).members(variant, train)
            baseline = compute(variant.backbone, train, valid, members)
            figures = {"valid_ndcg": baseline.valid_ndcg, "seconds": baseline.seconds, "epochs": 0, "best_epoch": 0}
            row = {"epoch": 0, **{name: figures[name] for name in ("seconds", "valid_ndcg")}}
            figures |= {"parameters": baseline.parameters, "cpu_seconds": time.process_time() - started}
            return baseline.ranker, figures, pa.Table.from_pylist([row], schema=HISTORY)
        side = FitInputs.of_stage(fit.inputs).of_variant(variant, train)
        listener = self._running.listener(fit)
        result = fit_variant(train, valid, variant, fit.seed, side=side, device=self._device, on_validation=listener)
        progress = result.progress
        figures = {
            "valid_ndcg": progress.best_ndcg,
            "seconds": progress.seconds,
            "epochs": progress.epoch,
            "best_epoch": progress.best_epoch,
            "parameters": result.counts["parameters"],
            "cpu_seconds": time.process_time() - started,
        }
        history = pa.Table.from_pylist([vars(record) for record in progress.history], schema=HISTORY)
        return VectorRanker(result.known_by(seen=True), result.item_vectors), figures, history


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
