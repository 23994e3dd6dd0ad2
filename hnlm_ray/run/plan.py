"""The only file that knows the order: which stages a configuration asks for, what each reads, what may be reused."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hnlm_ray import __version__
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError, HnlmError, StoreError
from hnlm_ray.run.identity import identity
from hnlm_ray.run.stage import StageContext, StageSummary, silent
from hnlm_ray.run.store import Artifact, RunStore, fingerprint
from hnlm_ray.run.trials import draw_trials, searched, with_upstream

__all__ = [
    "LLM_STAGES",
    "STAGES",
    "TUNING_STAGES",
    "PlannedStage",
    "Progress",
    "Run",
    "Wanted",
    "bundle_stage",
    "execute",
    "plan",
]

LLM_STAGES = ("item_profiles", "user_profiles", "vectors", "negatives", "ground")
TUNING_STAGES = ("fold_in", "supervise", "tokens", "tune", "encode")
STAGES = ("prepare", *LLM_STAGES, "train", *TUNING_STAGES, "evaluate", "report", "bundle")
"""Every stage, in order. ``train`` stands for one fit per variant and seed; variants that use the tuned encoder are
fitted after it."""

_VERSIONS = dict.fromkeys((*STAGES, "search"), 1)
_VERSIONS |= {"train": 3, "tune": 2, "encode": 2, "evaluate": 4, "report": 2, "bundle": 2}
"""Raised when the code of a stage changes what it writes, so that old results are not reused."""

_RESUMES = frozenset({*LLM_STAGES, "search", "train", "tune", "encode"})
"""Stages that go on from what an interrupted run left; the others start from an empty folder."""


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a run.

    Attributes:
        name: ``train.<variant>.s<seed>`` for a fit, ``bundle.<variant>`` for a second bundle; also its folder, but for
            what a trial of the search needs: ``tune@3`` lies in the folder ``tune``.
        kind: one of :data:`STAGES`, or ``search``.
        inputs: the stages that it reads, by the names under which it knows them.
        artifact: where it writes.
        run: the stage's function.
        config: what it runs with: that of the run, or of a trial of the search.
    """

    name: str
    kind: str
    inputs: Mapping[str, str]
    artifact: Artifact
    run: Callable[[StageContext], StageSummary]
    config: Config


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

    def before(self, name: str) -> tuple[str, ...]:
        """The stages that a stage reads, and those that these read, in order."""
        needed: set[str] = {name}
        for stage in reversed(self.stages):
            if stage.name in needed:
                needed.update(stage.inputs.values())
        return tuple(stage.name for stage in self.stages if stage.name in needed - {name})

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
        search: add the stage ``search``, which no other stage reads, and what its trials need.

    Raises:
        ConfigError: the search does not suit the variants.
        StoreError: the run folder's file system cannot be reached.
        DataError, EngineError: raw data or a model folder that the fingerprint covers is missing.
    """
    store = RunStore(config.run)
    stages = _planned(config, store)
    return Run(store, _with_search(config, store, stages) if search else stages)


def _planned(config: Config, store: RunStore) -> tuple[PlannedStage, ...]:
    prints: dict[str, str] = {}
    stages = []
    for name, kind, inputs, run in _graph(config):
        prints[name] = _fingerprint(config, kind, name, {other: prints[other] for other in inputs})
        known = {other: other for other in inputs}
        stages.append(PlannedStage(name, kind, known, store.artifact(name, prints[name]), run, config))
    return tuple(stages)


def _fingerprint(config: Config, kind: str, name: str, inputs: Mapping[str, str]) -> str:
    """Of a stage that reads artefacts with these fingerprints."""
    parts = {
        "stage": name,
        "version": _VERSIONS[kind],
        "seed": config.seed,
        "depends": identity(config, kind, name),
        "inputs": dict(inputs),
    }
    return fingerprint(parts)


def execute(config: Config, run: Run, only: Sequence[str] = (), progress: Progress | None = None) -> None:
    """Run what is not complete yet, in order.

    Args:
        config: the configuration that ``run`` was planned from.
        run: from :func:`plan`.
        only: kinds or names of stages to run; empty for all. What these read must be complete.
        progress: who listens.

    Raises:
        HnlmError: with the sentence that a user needs; nothing half-written is left that a later run would trust.
    """
    unknown = sorted(set(only) - {*STAGES, *(name for stage in run.stages for name in (stage.kind, stage.name))})
    if unknown:
        raise ConfigError(f"there is no stage {', '.join(unknown)}", f"choose from {', '.join(STAGES)}")
    progress = progress or Progress()
    artifacts = run.artifacts()
    with run.store.lock():
        run.store.write_text("run.json", _record(config, run))
        for stage in run.stages:
            if only and not {stage.kind, stage.name} & set(only):
                continue
            if stage.artifact.is_complete:
                progress.skipped(stage)
                continue
            inputs = {known: artifacts[name] for known, name in stage.inputs.items()}
            missing = [name for name, artifact in inputs.items() if not artifact.is_complete]
            if missing:
                raise StoreError(f"{stage.name} reads {', '.join(missing)}, which has not run", "run that stage first")
            progress.started(stage)
            _execute_stage(stage, inputs, progress.say)
            progress.finished(stage)


def _execute_stage(stage: PlannedStage, inputs: Mapping[str, Artifact], say: Callable[[str], None]) -> None:
    if stage.kind not in _RESUMES:
        stage.artifact.clear()
    stage.artifact.create()
    started = time.monotonic()
    try:
        summary = stage.run(StageContext(stage.config, inputs, stage.artifact, say))
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


@dataclass(frozen=True)
class Wanted:
    """Which parts of the language model's work the variants ask for.

    Attributes:
        profiles: written profiles.
        vectors: text vectors of items.
        answers: written negatives, matched to the catalogue.
        tuning: a tuned encoder's vectors.
    """

    profiles: bool
    vectors: bool
    answers: bool
    tuning: bool

    @classmethod
    def by(cls, config: Config) -> Wanted:
        """Of a configuration."""
        variants, tune = config.train.variants.values(), config.tune
        tuning = any(variant.is_tuned for variant in variants)
        answers = any(variant.semantic and not variant.is_tuned for variant in variants)
        answers = answers or (tuning and tune.keep is None and tune.supervision.strategy == "answer")
        profiles = answers or (tuning and tune.texts == "profiles")
        return cls(profiles, answers or tuning or any(variant.item_text for variant in variants), answers, tuning)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages before training that these parts need."""
        parts = {"item_profiles": self.profiles, "user_profiles": self.profiles, "vectors": self.vectors}
        parts |= {"negatives": self.answers, "ground": self.answers}
        return tuple(name for name, is_wanted in parts.items() if is_wanted)


def bundle_stage(config: Config, variant: str) -> str:
    """Name of the stage that makes the bundle of a served variant."""
    return "bundle" if variant == config.serve.variant else f"bundle.{variant}"


_Node = tuple[str, str, tuple[str, ...], Callable[[StageContext], StageSummary]]
"""Name, kind, inputs and function of a stage."""

_LLM_READS = {
    "item_profiles": ("prepare",),
    "user_profiles": ("prepare", "item_profiles"),
    "vectors": ("prepare",),
    "negatives": ("prepare", "item_profiles", "user_profiles"),
    "ground": ("prepare", "vectors", "negatives"),
}


def _graph(config: Config) -> Iterator[_Node]:
    """Every stage, inputs first."""
    wanted, variants = Wanted.by(config), config.train.variants
    yield "prepare", "prepare", (), _stage("prepare")
    for name in wanted.stages:
        yield name, name, _LLM_READS[name], _stage(name)
    yield from _fits(config, [name for name, variant in variants.items() if not variant.is_tuned])
    if wanted.tuning:
        yield from _tuning(config)
    yield from _fits(config, [name for name, variant in variants.items() if variant.is_tuned])
    fits = [f"train.{variant}.s{seed}" for variant in variants for seed in config.train.seeds_of(variant)]
    tuning = [node[0] for node in _tuning(config)] if wanted.tuning else []
    told = (*wanted.stages, *tuning)
    judged = ("prepare", *(name for name in told if name in ("vectors", "ground", "encode")), *fits)
    yield "evaluate", "evaluate", judged, _stage("evaluate")
    yield "report", "report", ("prepare", *told, *fits, "evaluate"), _stage("report")
    for variant in (config.serve.variant, *config.serve.also):
        served = [f"train.{variant}.s{seed}" for seed in config.train.seeds_of(variant)]
        yield (
            bundle_stage(config, variant),
            "bundle",
            ("prepare", *wanted.stages, *served, "evaluate"),
            _stage("bundle", variant=variant),
        )


def _fits(config: Config, variants: Sequence[str]) -> Iterator[_Node]:
    for variant in variants:
        reads = ("prepare", *_semantic_inputs(config, [variant]))
        for seed in config.train.seeds_of(variant):
            yield f"train.{variant}.s{seed}", "train", reads, _stage("train", variant=variant, seed=seed)


def _semantic_inputs(config: Config, names: Sequence[str]) -> tuple[str, ...]:
    """What some variants read beside ``prepare``."""
    chosen = [config.train.variants[name] for name in names]
    answers = any(variant.semantic and not variant.is_tuned for variant in chosen)
    needs = {
        "vectors": answers or any(variant.item_text for variant in chosen),
        "ground": answers,
        "encode": any(variant.is_tuned for variant in chosen),
    }
    return tuple(name for name, is_needed in needs.items() if is_needed)


def _tuning(config: Config) -> Iterator[_Node]:
    teacher = config.tune.teacher_of(config.train.variants)
    assert teacher is not None
    fit = config.train.first_fit(teacher)
    profiles = ("item_profiles", "user_profiles") if config.tune.texts == "profiles" else ()
    yield "tokens", "tokens", ("prepare", *profiles), _stage("tokens")
    if config.tune.keep is not None:
        yield "fold_in", "fold_in", ("prepare",), _stage("fold_in")
        yield "encode", "encode", ("prepare", "vectors", "tokens", "fold_in"), _stage("encode", teacher=teacher)
        return
    answers = ("ground",) if config.tune.supervision.strategy == "answer" else ()
    yield "supervise", "supervise", ("prepare", "vectors", *answers, fit), _stage("supervise", teacher=teacher)
    yield "tune", "tune", ("prepare", "supervise", "tokens", fit), _stage("tune", teacher=teacher)
    yield "encode", "encode", ("prepare", "vectors", "tokens", "tune", fit), _stage("encode", teacher=teacher)


def _with_search(config: Config, store: RunStore, stages: tuple[PlannedStage, ...]) -> tuple[PlannedStage, ...]:
    """The stages, those that trials with options outside the variants need beside them, and the search.

    Such a stage is called ``tune@3``, where 3 is the number of the trial; the search knows what it reads by such names.
    It lies where a run with those options would look for it.
    """
    reads = _semantic_inputs(config, searched(config.search, config.train.variants))
    names = {(stage.artifact.stage, stage.artifact.fingerprint): stage.name for stage in stages}
    inputs = {name: name for name in ("prepare", *reads)}
    found = list(stages)
    settings: dict[int, dict[str, Any]] = {}
    for one in draw_trials(config):
        settings.setdefault(one.number, {}).update(one.upstream)  # each variant has those that it depends on
    for number, upstream in settings.items():
        if not upstream:
            continue
        trial = Run(store, _planned(with_upstream(config, upstream), store))
        needed = {*reads, *(name for read in reads for name in trial.before(read))}
        own: dict[str, str] = {}
        for stage in trial.stages:
            if stage.name not in needed:
                continue
            key = stage.artifact.stage, stage.artifact.fingerprint
            if key not in names:
                names[key] = f"{stage.name}@{number}"
                found.append(replace(stage, name=names[key], inputs={read: own[read] for read in stage.inputs}))
            own[stage.name] = names[key]
        inputs |= {f"{read}@{number}": own[read] for read in reads}
    prints = {stage.name: stage.artifact.fingerprint for stage in found}
    own_print = _fingerprint(config, "search", "search", {known: prints[name] for known, name in inputs.items()})
    artifact = store.artifact("search", own_print)
    return (*found, PlannedStage("search", "search", inputs, artifact, _stage("search"), config))


def _stage(module: str, **arguments: Any) -> Callable[[StageContext], StageSummary]:
    """The stage's function, imported when it runs: a plan costs no torch and no ray."""
    return partial(_import_and_run, module, arguments)


def _import_and_run(module: str, arguments: Mapping[str, Any], context: StageContext) -> StageSummary:
    from importlib import import_module

    summary: StageSummary = import_module(f"hnlm_ray.stages.{module}").run(context, **arguments)
    return summary


def _record(config: Config, run: Run) -> str:
    own = [stage for stage in run.stages if stage.config == config]  # the others belong to trials of a search
    stages = [{"name": stage.name, "fingerprint": stage.artifact.fingerprint} for stage in own]
    content = {"version": __version__, "config": config.model_dump(mode="json"), "stages": stages}
    return json.dumps(content, indent=2)
