"""The fits of a study: which there are, what each reads, and where its result lies.

The result of a fit has a folder of its own, named by the fingerprint that the stage ``train`` would have for it:
variant, options, seed, and everything that the fit reads. So a study that was interrupted goes on, and one of which a
variant has changed repeats the fits of that variant alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hnlm_ray.config.tree import Config
from hnlm_ray.run.plan import PlannedStage, Run, add_stages, plan, planned_stages, stage_fingerprint
from hnlm_ray.run.stage import StageKey
from hnlm_ray.run.store import Artifact, RunStore, fingerprint
from hnlm_ray.run.trials import Trial, study_trials, with_upstream

__all__ = ["FITS", "StudyFit", "StudyTrial", "plan_study", "planned_trials"]

FITS = "study_fit"
"""The folder, in the run, of the results of single fits."""

_VERSION = 1
"""Raised when what is kept of a fit changes."""


@dataclass(frozen=True)
class StudyFit:
    """One fit.

    Attributes:
        trial: variant and options.
        seed: of the fit.
        inputs: what it reads, by the name of the stage.
        artifact: where its result lies.
    """

    trial: Trial
    seed: int
    inputs: Mapping[str, Artifact]
    artifact: Artifact


@dataclass(frozen=True)
class StudyTrial:
    """A trial and its fits.

    Attributes:
        trial: variant and options.
        stages: everything that its fits read, inputs first.
        screening: the fits that the trial is chosen by.
        final: the fits that are judged if the trial is chosen; some of them may be among ``screening``.
    """

    trial: Trial
    stages: Sequence[PlannedStage]
    screening: Sequence[StudyFit]
    final: Sequence[StudyFit]


def planned_trials(config: Config, store: RunStore) -> list[StudyTrial]:
    """Every trial of a study with its fits; a variant in closed form has a single fit per trial.

    Raises:
        ConfigError: the study does not suit the variants.
    """
    return [_planned(config, store, trial) for trial in study_trials(config)]


def _planned(config: Config, store: RunStore, trial: Trial) -> StudyTrial:
    own = with_upstream(config, trial.upstream) if trial.upstream else config
    variants = {**own.train.variants, trial.variant: trial.options}
    own = own.model_copy(update={"train": own.train.model_copy(update={"variants": variants})})
    study, is_drawn = config.study, trial.options.is_trained
    seeds = dict.fromkeys([*study.screening_seeds, *study.seeds] if is_drawn else study.seeds[:1])
    stages = planned_stages(own, store, [StageKey("train", trial.variant, seed) for seed in seeds])
    artifacts = {stage.name: stage.artifact for stage in stages}
    fits = {}
    for seed in seeds:
        planned = next(stage for stage in stages if stage.key == StageKey("train", trial.variant, seed))
        place = fingerprint({"fit": planned.artifact.fingerprint, "version": _VERSION})
        inputs = {known: artifacts[name] for known, name in planned.inputs.items()}
        fits[seed] = StudyFit(trial, seed, inputs, store.artifact(FITS, place))
    read = Run(store, stages).before(StageKey("train", trial.variant, next(iter(seeds))).name)
    every = list(fits.values())
    screening = [fits[seed] for seed in study.screening_seeds] if is_drawn else every
    final = [fits[seed] for seed in study.seeds] if is_drawn else every
    return StudyTrial(trial, [stage for stage in stages if stage.name in read], screening, final)


def plan_study(config: Config) -> Run:
    """The plan of a run with the stage ``study``, which no other stage reads, and what its fits need.

    Raises:
        HnlmError: as :func:`hnlm_ray.run.plan.plan`; or the study does not suit the variants.
    """
    base = plan(config)
    key, found, inputs = StageKey("study"), list(base.stages), dict[str, str]()
    prints: dict[str, str] = {}
    for one in planned_trials(config, base.store):
        own = add_stages(one.stages, one.trial.number, found)
        inputs |= {name: name for name in own.values()}
        fits = {fit.artifact.fingerprint for fit in (*one.screening, *one.final)}
        prints[f"{one.trial.variant}@{one.trial.number}"] = ",".join(sorted(fits))
    artifact = base.store.artifact(key.folder, stage_fingerprint(config, key, prints))
    return Run(base.store, (*found, PlannedStage(key, inputs, artifact, config)))
