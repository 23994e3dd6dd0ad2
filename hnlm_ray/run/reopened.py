"""A run folder instead of a configuration: what ``run.json`` says, compared with what is given besides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError, StoreError
from hnlm_ray.run.dependencies import is_decisive
from hnlm_ray.run.difference import ABSENT, differing, shown_value
from hnlm_ray.run.places import shown
from hnlm_ray.run.plan import PlannedStage, Run
from hnlm_ray.run.record import RECORD, RunRecord
from hnlm_ray.run.stage import StageKey
from hnlm_ray.run.store import Artifact, RunStore

__all__ = ["changed_since", "differences", "finished", "recorded_run", "reopen"]

_MOST_NAMED = 5


def reopen(path: str, files: Sequence[Path] = (), overrides: Sequence[str] = ()) -> Config:
    """The configuration of a run folder.

    Files and overrides are laid over it. They may change where and how fast something runs, and how it is served; an
    option that decides what the run is must have the value that it has in the run.

    Args:
        path: the folder; it becomes ``run`` of the configuration, wherever the run was made.
        files: configuration files. What they say of ``run`` does not count: a shipped one names a folder of its own.
        overrides: ``key.path=value``.

    Raises:
        StoreError: the folder is no run, or another version of the package wrote it.
        ConfigError: a given option differs from the run's.
    """
    store = RunStore(path)
    recorded = RunRecord.read(store, path).configuration(path)
    given = load_config(files, overrides, recorded.model_dump(mode="json"))
    if any(one.startswith("run=") for one in overrides) and RunStore(given.run).root != store.root:
        raise ConfigError(f"two runs are named, {path} and run={given.run}", "name one")
    if changed := differences(recorded, given):
        raise ConfigError(
            f"{path}: this run has {_listed(changed)}",
            "leave these options out to use the run as it is, or make a run of its own with -c, the options and run=",
        )
    return given.model_copy(update={"run": path})


def recorded_run(path: str, config: Config) -> Run:
    """The stages that a run folder has by its ``run.json``, which does not depend on raw data and models being there.

    Args:
        path: the folder.
        config: from :func:`reopen`.

    Raises:
        StoreError: the folder is no run.
    """
    store = RunStore(path)
    found = RunRecord.read(store, path).artifacts
    return Run(store, tuple(PlannedStage(key, {}, artifact, config) for key, artifact in found.items()))


def finished(run: Run, config: Config, key: StageKey) -> Artifact:
    """The complete artifact of a stage.

    Args:
        run: planned from a configuration, or from :func:`recorded_run`.
        config: of the run.
        key: the stage.

    Raises:
        StoreError: it is not complete, or the run has no such stage; with the difference to what the folder was run
            with, where that is the reason.
    """
    place, stages = shown(config.run), {stage.key: stage for stage in run.stages}
    if key in stages and stages[key].artifact.is_complete:
        return stages[key].artifact
    if run.store.read_text(RECORD) is None:
        raise StoreError(f"{place} has no {key.kind} for this configuration", "run `hnlm run` with it first")
    if changed := changed_since(config):
        what = f"{place} has no {key.kind} for this configuration: {changed}"
        raise StoreError(what, f"give {place} without these options to use it as it is, or `hnlm run` with them")
    if key in stages:
        raise StoreError(f"the run {place} is not finished, it lacks {key.name}", f"finish it with `hnlm run {place}`")
    there = ", ".join(one.name for one in stages if one.kind == key.kind) or f"no {key.kind}"
    what = f"the run {place} has {there}, and not {key.name}"
    raise StoreError(what, "start `hnlm run` with the configuration that has it")


def changed_since(config: Config) -> str:
    """What the run folder of a configuration was run with otherwise, as a clause; empty where there is nothing."""
    store, place = RunStore(config.run), shown(config.run)
    if store.read_text(RECORD) is None:
        return ""
    changed = differences(RunRecord.read(store, place).configuration(place), config)
    return f"this run has {_listed(changed)}" if changed else ""


def differences(recorded: Config, given: Config) -> list[str]:
    """What a run has otherwise, a clause for each option that decides what it is, in the order of the sections."""
    trees = recorded.model_dump(mode="json"), given.model_dump(mode="json")
    return [_clause(".".join(path), here, there) for path, here, there in differing(*trees) if is_decisive(path)]


def _clause(option: str, here: Any, there: Any) -> str:
    if here is ABSENT:
        return f"no {option}, which you gave"
    if there is ABSENT:
        return f"{option}, which you left out"
    return f"{option}={shown_value(here)}, you gave {shown_value(there)}"


def _listed(clauses: Sequence[str]) -> str:
    more = len(clauses) - _MOST_NAMED
    return " | ".join(clauses[:_MOST_NAMED]) + (f" | and {more} more" if more > 0 else "")
