"""Run the stages of a plan that are not complete yet, in order."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from hnlm_ray import __version__
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import HnlmError, ResourceError, StoreError
from hnlm_ray.run.deaths import way_of_death
from hnlm_ray.run.places import refusal
from hnlm_ray.run.plan import PlannedStage, Run
from hnlm_ray.run.progress import Say, silent
from hnlm_ray.run.record import RunRecord
from hnlm_ray.run.stage import StageContext, StageSummary
from hnlm_ray.run.store import Artifact
from hnlm_ray.tables import TABLES

__all__ = ["Progress", "execute"]

StageFunction = Callable[[PlannedStage, StageContext], StageSummary]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_DENIED = (errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Progress:
    """Listeners of a run; each hears the stage first."""

    started: Callable[[PlannedStage], None] = lambda stage: None
    skipped: Callable[[PlannedStage], None] = lambda stage: None
    finished: Callable[[PlannedStage], None] = lambda stage: None
    say: Say = silent


def run_stage(stage: PlannedStage, context: StageContext) -> StageSummary:
    """Call the stage's function, imported when it runs: a plan costs no torch and no ray."""
    named = {name: value for name, value in stage.key.fields().items() if name in ("variant", "seed")}
    summary: StageSummary = import_module(f"hnlm_ray.stages.{stage.kind}").run(context, **named)
    undeclared = (summary.rows.keys() & TABLES.keys()) - set(stage.spec.writes)
    assert not undeclared, f"{stage.kind} writes {undeclared}, which its description does not say"
    return summary


def execute(
    config: Config,
    run: Run,
    only: Sequence[str] = (),
    progress: Progress | None = None,
    *,
    record: bool = True,
    function: StageFunction = run_stage,
) -> None:
    """Run what is not complete yet, in order.

    Args:
        config: the configuration that ``run`` was planned from.
        run: from :func:`hnlm_ray.run.plan.plan`.
        only: names of the stages to run; empty for all. What these read must be complete.
        progress: who listens.
        record: write ``run.json``, which says what the run folder holds. A command that only needs some stage of a run
            in order to read it leaves the record as it is.
        function: runs one stage.

    Raises:
        HnlmError: with the sentence that a user needs; nothing half-written is left that a later run would trust.
    """
    progress = progress or Progress()
    artifacts = run.artifacts()
    assert set(only) <= artifacts.keys(), f"the run has no stage {sorted(set(only) - artifacts.keys())}"
    with run.store.lock():
        if record:
            RunRecord.of(config, {stage.key: stage.artifact for stage in run.stages}).write(run.store)
        for stage in run.stages:
            if only and stage.name not in only:
                continue
            if stage.artifact.is_complete:
                stage.artifact.delete_scratch()  # left by a run that was killed right after the commit
                progress.skipped(stage)
                continue
            inputs = {known: artifacts[name] for known, name in stage.inputs.items()}
            missing = [name for name, artifact in inputs.items() if not artifact.is_complete]
            if missing:
                raise StoreError(f"{stage.name} reads {', '.join(missing)}, which has not run", "run that stage first")
            progress.started(stage)
            _execute_stage(stage, inputs, progress.say, function)
            progress.finished(stage)


def _execute_stage(stage: PlannedStage, inputs: Mapping[str, Artifact], say: Say, function: StageFunction) -> None:
    if not stage.spec.resumes:
        stage.artifact.clear()
    stage.artifact.create()
    started = time.monotonic()
    try:
        summary = function(stage, StageContext(stage.config, inputs, stage.artifact, say))
    except Exception as error:
        known = _user_error(error, stage)
        if known is None or known is error:
            raise
        raise known from error
    stage.artifact.commit(
        {
            "seconds": round(time.monotonic() - started, 3),
            "rows": dict(summary.rows),
            "counts": dict(summary.counts),
            "warnings": list(summary.warnings),
            "inputs": {name: artifact.fingerprint for name, artifact in inputs.items()},
            "version": __version__,
        }
    )


def _user_error(error: BaseException, stage: PlannedStage) -> HnlmError | None:
    """The error of a user inside an engine's wrapping, or None for a bug."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        # Ray's own error of a task derives from the task's error too; the one that was raised is its cause.
        if isinstance(current, HnlmError) and not hasattr(current, "cause"):
            return current
        if (way := way_of_death(current)) is not None:
            what = f"{stage.name} lost the process of a worker, again and again ({way})"
            return ResourceError(what, "see Ray's logs, give the machine more memory, then run again")
        if (said := refusal(current)) is not None:
            action = "check the place, your access to it and its network, then run the same command again"
            return StoreError(f"{stage.name}: {said}", action)
        if isinstance(current, OSError) and current.errno in (*_NO_ROOM, *_DENIED):
            return _storage_error(current, stage)
        queue += [current.__cause__, current.__context__, getattr(current, "cause", None)]
        queue += list(getattr(current, "worker_failures", {}).values())
    return None


def _storage_error(error: OSError, stage: PlannedStage) -> StoreError:
    """A place that is full or may not be used; what is denied may be a file that the stage reads."""
    reason = str(error.strerror).split(" Detail:")[0].rstrip(". ")
    if error.errno in _NO_ROOM:
        what = f"{stage.name} could not write to {stage.artifact.path}: {reason}"
        return StoreError(what, "free some room or give a run folder that can be written, then run again")
    where = f"{error.filename}: " if error.filename else ""
    action = f"give this user the right to read its inputs and to write to {stage.artifact.path}, then run again"
    return StoreError(f"{stage.name} was denied access ({where}{reason})", action)
