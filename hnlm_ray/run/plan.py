"""Which stages a configuration asks for, what each reads, and where it writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError
from hnlm_ray.run.models import missing_models
from hnlm_ray.run.specs import SPECS, StageSpec, goals, with_inputs
from hnlm_ray.run.stage import StageKey
from hnlm_ray.run.store import Artifact, RunStore, fingerprint
from hnlm_ray.run.trials import draw_trials, with_upstream

__all__ = ["PlannedStage", "Run", "add_stages", "plan", "planned_stages", "stage_fingerprint"]


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a run.

    Attributes:
        key: which stage it is.
        inputs: the names of the stages that it reads, by the names under which it knows them. They differ for the
            stages of a trial alone: ``encode@3`` knows ``tune@3`` as ``tune``.
        artifact: where it writes.
        config: what it runs with: that of the run, or of a trial of the search.
    """

    key: StageKey
    inputs: Mapping[str, str]
    artifact: Artifact
    config: Config

    @property
    def name(self) -> str:
        """What it is called."""
        return self.key.name

    @property
    def kind(self) -> str:
        """Which kind of stage it is."""
        return self.key.kind

    @property
    def spec(self) -> StageSpec:
        """The description of its kind."""
        return SPECS[self.key.kind]


@dataclass(frozen=True)
class Run:
    """A plan bound to its run folder.

    Attributes:
        store: the folder.
        stages: inputs first.
    """

    store: RunStore
    stages: tuple[PlannedStage, ...]

    def __getitem__(self, name: str) -> PlannedStage:
        return next(stage for stage in self.stages if stage.name == name)

    def before(self, name: str) -> tuple[str, ...]:
        """The names of the stages that a stage reads, and of those that these read, in order.

        Args:
            name: of a stage, or a kind: then of every stage of the kind.
        """
        needed = {stage.name for stage in self.stages if name in (stage.name, stage.kind)}
        for stage in reversed(self.stages):
            if stage.name in needed:
                needed.update(stage.inputs.values())
        return tuple(stage.name for stage in self.stages if stage.name in needed - {name})

    def names_of(self, stages: Iterable[str]) -> tuple[str, ...]:
        """The names of some stages, in order; a kind stands for every stage of it, and nothing at all for every stage.

        Raises:
            ConfigError: there is neither a stage nor a kind of that name.
        """
        wanted, known = set(stages), {*SPECS, *(stage.name for stage in self.stages)}
        if unknown := sorted(wanted - known):
            raise ConfigError(f"there is no stage {', '.join(unknown)}", f"choose from {', '.join(SPECS)}")
        return tuple(stage.name for stage in self.stages if not wanted or {stage.kind, stage.name} & wanted)

    def artifacts(self) -> dict[str, Artifact]:
        """The artifacts by the name of the stage."""
        return {stage.name: stage.artifact for stage in self.stages}

    def pending(self) -> list[PlannedStage]:
        """The stages that have no complete artifact."""
        return [stage for stage in self.stages if not stage.artifact.is_complete]


def plan(config: Config, *, search: bool = False) -> Run:
    """The stages that a configuration asks for, each with its fingerprint, in an order that respects their inputs.

    Args:
        config: the configuration.
        search: add the stage ``search``, which no other stage reads, and what its trials need.

    Raises:
        ConfigError: the search does not suit the variants, or a variant needs a model that is not named.
        StoreError: the run folder's file system cannot be reached.
        DataError, EngineError: raw data or a model folder that the fingerprint covers is missing.
    """
    if (missing := missing_models(config)) is not None:
        raise missing
    store = RunStore(config.run)
    stages = planned_stages(config, store, goals(config))
    return Run(store, _with_search(config, store, stages) if search else stages)


def planned_stages(config: Config, store: RunStore, wanted: Iterable[StageKey]) -> tuple[PlannedStage, ...]:
    """Some stages of a configuration and everything that they read, inputs first."""
    prints: dict[str, str] = {}
    stages = []
    for key in with_inputs(config, wanted):
        inputs = [read.name for read in SPECS[key.kind].reads(config, key)]
        prints[key.name] = stage_fingerprint(config, key, {name: prints[name] for name in inputs})
        artifact = store.artifact(key.folder, prints[key.name])
        stages.append(PlannedStage(key, {name: name for name in inputs}, artifact, config))
    return tuple(stages)


def stage_fingerprint(config: Config, key: StageKey, inputs: Mapping[str, str]) -> str:
    """Of a stage that reads artifacts with these fingerprints."""
    spec = SPECS[key.kind]
    parts = {"stage": key.folder, "version": spec.version, "seed": config.seed, "inputs": dict(inputs)}
    return fingerprint({**parts, "depends": spec.depends_on(config, key)})


def _with_search(config: Config, store: RunStore, stages: tuple[PlannedStage, ...]) -> tuple[PlannedStage, ...]:
    """The stages, those that trials with options outside the variants need beside them, and the search.

    Such a stage has the number of the trial in its key; the search knows what it reads by such names.
    """
    key = StageKey("search")
    reads = [read.name for read in SPECS["search"].reads(config, key) if read.kind != "prepare"]
    inputs = {name: name for name in ("prepare", *reads)}
    found = list(stages)
    for number, upstream in _drawn_outside(config).items():
        trial_config = with_upstream(config, upstream)
        trial = Run(store, planned_stages(trial_config, store, goals(trial_config)))
        needed = {*reads, *(name for read in reads for name in trial.before(read))}
        own = add_stages([stage for stage in trial.stages if stage.name in needed], number, found)
        inputs |= {StageKey(read, trial=number).name: own[read] for read in reads}
    prints = {stage.name: stage.artifact.fingerprint for stage in found}
    own_print = stage_fingerprint(config, key, {known: prints[name] for known, name in inputs.items()})
    return (*found, PlannedStage(key, inputs, store.artifact(key.folder, own_print), config))


def add_stages(wanted: Iterable[PlannedStage], number: int, found: list[PlannedStage]) -> dict[str, str]:
    """Add the stages of a trial that are not planned yet.

    Args:
        wanted: planned with the options of the trial, inputs first.
        number: of the trial; the key of a stage that is added has it.
        found: the stages so far, which grows.

    Returns:
        The name that each wanted stage has among ``found``, by the name it has in a run with the trial's options.
    """
    names = {(stage.artifact.stage, stage.artifact.fingerprint): stage.name for stage in found}
    own: dict[str, str] = {}
    for stage in wanted:
        place = stage.artifact.stage, stage.artifact.fingerprint
        if place not in names:
            key = replace(stage.key, trial=number)
            names[place] = key.name
            found.append(replace(stage, key=key, inputs={read: own[read] for read in stage.inputs}))
        own[stage.name] = names[place]
    return own


def _drawn_outside(config: Config) -> dict[int, dict[str, Any]]:
    """What was drawn outside the variants by number of the trial; each variant has those that it depends on."""
    drawn: dict[int, dict[str, Any]] = {}
    for trial in draw_trials(config):
        drawn.setdefault(trial.number, {}).update(trial.upstream)
    return {number: options for number, options in drawn.items() if options}
