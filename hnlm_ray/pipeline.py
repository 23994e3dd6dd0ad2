"""The only file that knows the order: which stages a configuration asks for, what each reads, what may be reused."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hnlm_ray import __version__
from hnlm_ray.config import Config
from hnlm_ray.errors import ConfigError, HnlmError, StoreError
from hnlm_ray.identity import identity
from hnlm_ray.search import searched
from hnlm_ray.stage import StageContext, StageSummary, silent
from hnlm_ray.store import Artifact, RunStore, fingerprint

__all__ = ["LLM_STAGES", "STAGES", "PlannedStage", "Progress", "Run", "execute", "plan"]

LLM_STAGES = ("item_profiles", "user_profiles", "vectors", "negatives", "ground")
STAGES = ("prepare", *LLM_STAGES, "train", "evaluate", "report", "bundle")
"""Every stage, in order. ``train`` stands for one fit per variant and seed."""

_VERSIONS = {**dict.fromkeys((*STAGES, "search"), 1), "train": 2, "evaluate": 3, "report": 2}
"""Raised when the code of a stage changes what it writes, so that old results are not reused."""

_RESUMES = frozenset({"item_profiles", "user_profiles", "negatives", "vectors", "ground", "search", "train"})
"""Stages that go on from what an interrupted run left; the others start from an empty folder."""


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a run.

    Attributes:
        name: also its folder; ``train.<variant>.s<seed>`` for a fit.
        kind: one of :data:`STAGES`, or ``search``.
        inputs: names of the stages that it reads.
        artifact: where it writes.
        run: the stage's function.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    artifact: Artifact
    run: Callable[[StageContext], StageSummary]


@dataclass(frozen=True)
class Progress:
    """Listeners of a run; each hears the stage first."""

    started: Callable[[PlannedStage], None] = lambda stage: None
    skipped: Callable[[PlannedStage], None] = lambda stage: None
    finished: Callable[[PlannedStage], None] = lambda stage: None
    say: Callable[[str], None] = silent


@dataclass(frozen=True)
class Run:
    """A plan bound to its run folder."""

    store: RunStore
    stages: tuple[PlannedStage, ...]

    def __getitem__(self, name: str) -> PlannedStage:
        return next(stage for stage in self.stages if stage.name == name)

    def artifacts(self) -> dict[str, Artifact]:
        """The artefacts by stage name."""
        return {stage.name: stage.artifact for stage in self.stages}

    def pending(self) -> list[PlannedStage]:
        """The stages that have no complete artefact."""
        return [stage for stage in self.stages if not stage.artifact.is_complete]


def plan(config: Config, *, search: bool = False) -> Run:
    """The stages that a configuration asks for, each with its fingerprint, in an order that respects their inputs.

    Args:
        config: the configuration.
        search: add the stage ``search``, which no other stage reads.

    Raises:
        ConfigError: the search does not suit the variants.
        StoreError: the run folder's file system cannot be reached.
        DataError, EngineError: raw data or a model folder that the fingerprint covers is missing.
    """
    store = RunStore(config.run)
    prints: dict[str, str] = {}
    stages = []
    for name, kind, inputs, run in (*_graph(config), *(_search(config) if search else ())):
        parts = {
            "stage": name,
            "version": _VERSIONS[kind],
            "seed": config.seed,
            "depends": identity(config, kind, name),
            "inputs": {other: prints[other] for other in inputs},
        }
        prints[name] = fingerprint(parts)
        stages.append(PlannedStage(name, kind, inputs, store.artifact(name, prints[name]), run))
    return Run(store, tuple(stages))


def execute(config: Config, run: Run, only: Sequence[str] = (), progress: Progress | None = None) -> None:
    """Run what is not complete yet, in order.

    Args:
        config: the configuration that ``run`` was planned from.
        run: from :func:`plan`.
        only: kinds of stages to run; empty for all. What these read must be complete.
        progress: who listens.

    Raises:
        HnlmError: with the sentence that a user needs; nothing half-written is left that a later run would trust.
    """
    unknown = sorted(set(only) - {*STAGES, *(stage.kind for stage in run.stages)})
    if unknown:
        raise ConfigError(f"there is no stage {', '.join(unknown)}", f"choose from {', '.join(STAGES)}")
    progress = progress or Progress()
    artifacts = run.artifacts()
    with run.store.lock():
        run.store.write_text("run.json", _record(config, run))
        for stage in run.stages:
            if only and stage.kind not in only:
                continue
            if stage.artifact.is_complete:
                progress.skipped(stage)
                continue
            inputs = {name: artifacts[name] for name in stage.inputs}
            missing = [name for name, artifact in inputs.items() if not artifact.is_complete]
            if missing:
                raise StoreError(f"{stage.name} reads {', '.join(missing)}, which has not run", "run that stage first")
            progress.started(stage)
            _execute_stage(config, stage, inputs, progress.say)
            progress.finished(stage)


def _execute_stage(
    config: Config, stage: PlannedStage, inputs: Mapping[str, Artifact], say: Callable[[str], None]
) -> None:
    if stage.kind not in _RESUMES:
        stage.artifact.clear()
    stage.artifact.create()
    started = time.monotonic()
    try:
        summary = stage.run(StageContext(config, inputs, stage.artifact, say))
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
        if isinstance(current, OSError) and current.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            what = f"{stage.name} could not write to {stage.artifact.path}: {current.strerror}"
            return StoreError(what, "free some room or give a run folder that can be written, then run again")
        queue += [current.__cause__, current.__context__, getattr(current, "cause", None)]
        queue += list(getattr(current, "worker_failures", {}).values())
    return None


def _graph(
    config: Config,
) -> Iterator[tuple[str, str, tuple[str, ...], Callable[[StageContext], StageSummary]]]:
    """Name, kind, inputs and function of every stage, inputs first."""
    semantic = any(variant.semantic for variant in config.train.variants.values())
    yield "prepare", "prepare", (), _stage("prepare")
    if semantic:
        yield "item_profiles", "item_profiles", ("prepare",), _stage("item_profiles")
        yield "user_profiles", "user_profiles", ("prepare", "item_profiles"), _stage("user_profiles")
        yield "vectors", "vectors", ("prepare",), _stage("vectors")
        read = ("prepare", "item_profiles", "user_profiles")
        yield "negatives", "negatives", read, _stage("negatives")
        yield "ground", "ground", ("prepare", "vectors", "negatives"), _stage("ground")
    fits = []
    for variant, options in config.train.variants.items():
        for seed in config.train.seeds_of(variant):
            name = f"train.{variant}.s{seed}"
            reads = ("prepare", "vectors", "ground") if options.semantic else ("prepare",)
            fits.append(name)
            yield name, "train", reads, _stage("train", variant=variant, seed=seed)
    written = LLM_STAGES if semantic else ()
    judged = ("prepare", *(name for name in written if name in ("vectors", "ground")), *fits)
    yield "evaluate", "evaluate", judged, _stage("evaluate")
    yield "report", "report", ("prepare", *written, *fits, "evaluate"), _stage("report")
    served = [name for name in fits if name.startswith(f"train.{config.serve.variant}.s")]
    yield "bundle", "bundle", ("prepare", *served, "evaluate"), _stage("bundle")


def _search(config: Config) -> Iterator[tuple[str, str, tuple[str, ...], Callable[[StageContext], StageSummary]]]:
    names = searched(config.search, config.train.variants)
    semantic = any(config.train.variants[name].semantic for name in names)
    yield "search", "search", ("prepare", "vectors", "ground") if semantic else ("prepare",), _stage("search")


def _stage(module: str, **arguments: Any) -> Callable[[StageContext], StageSummary]:
    """The stage's function, imported when it runs: a plan costs no torch and no ray."""
    return partial(_import_and_run, module, arguments)


def _import_and_run(module: str, arguments: Mapping[str, Any], context: StageContext) -> StageSummary:
    from importlib import import_module

    summary: StageSummary = import_module(f"hnlm_ray.stages.{module}").run(context, **arguments)
    return summary


def _record(config: Config, run: Run) -> str:
    stages = [{"name": stage.name, "fingerprint": stage.artifact.fingerprint} for stage in run.stages]
    content = {"version": __version__, "config": config.model_dump(mode="json"), "stages": stages}
    return json.dumps(content, indent=2)
