"""Before a run starts: what each stage needs, what there is, and a refusal where the one is more than the other."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.text import Text

from hnlm_ray.cli import console
from hnlm_ray.cli.log import log
from hnlm_ray.cli.resources import WRITERS, demands
from hnlm_ray.cli.validation import nearest_folder
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ResourceError
from hnlm_ray.run.places import shown

if TYPE_CHECKING:
    from hnlm_ray.run.manifest import Manifest
    from hnlm_ray.run.plan import PlannedStage, Run

__all__ = ["Capacity", "Need", "Plan", "check", "cluster_capacity", "local_capacity", "planned", "require_cluster"]

_GIB = 2**30
_FLOAT = 4
_IN_CHECKPOINTS = 8
"""Times the vectors of a fit: parameters, both moments of Adam and the best so far, and a checkpoint that is written
before the last one is deleted."""
_PATIENCE_S, _LOOK_S = 300.0, 5.0
"""How long, and how often, a cluster that is too small is looked at: machines of a new one come one after the other."""
_MOST_READ = 2_000_000
"""Interactions that are read, with their reviews, to count tokens: a run of more should not begin with that."""
_GUARD_ROW, _NEIGHBOUR_ROW = 16, 12
"""Bytes of a row of the tables ``guard`` and ``neighbours``, before compression."""

_Work = dict[str, tuple[int, float | None]]
"""Tokens and seconds by the kind of stage."""


@dataclass(frozen=True)
class Capacity:
    """What there is to run on.

    Attributes:
        where: ``this machine`` or ``the cluster``.
        cpus: logical CPUs of Ray.
        gpus: of Ray.
        disk: bytes that are free where the run folder is; None where that is not a local place.
    """

    where: str
    cpus: int
    gpus: int
    disk: int | None


@dataclass(frozen=True)
class Need:
    """What one stage needs; None where that is not known, or not counted.

    Attributes:
        stage: its name.
        state: ``complete``, ``to do``, or ``to go on`` where an interrupted one resumes.
        cpus: logical CPUs that it holds at once.
        gpus: the same.
        tokens: that its model reads and writes.
        seconds: that it takes at a given, measured or assumed rate.
        disk: bytes that it leaves, before compression.
    """

    stage: str
    state: str
    cpus: int | None = None
    gpus: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    disk: int | None = None


@dataclass(frozen=True)
class Plan:
    """The needs of all stages.

    Attributes:
        needs: in the order in which they run.
        scratch: bytes of the largest checkpoints of a fit, which are there while it runs.
        notes: what the figures rest on.
    """

    needs: Sequence[Need]
    scratch: int
    notes: Sequence[str]

    def show(self, capacity: Capacity, title: str) -> None:
        """Print the table to standard error, or write an event ``plan``."""
        if log.is_json:
            stages = [asdict(need) for need in self.needs]
            log.event("plan", stages=stages, capacity=asdict(capacity), notes=list(self.notes))
            return
        table = console.new_table(title, "stage", "state", ">CPUs", ">GPUs", ">tokens", ">time", ">disk")
        for need in self.needs:
            style = "dim" if need.state == "complete" else ""
            table.add_row(need.stage, Text(need.state), *_cells(need), style=style)
        console.errors.print(table)
        disk = "" if capacity.disk is None else f", {capacity.disk / _GIB:,.0f} GiB free"
        console.errors.print(f"{capacity.where} has {capacity.cpus} logical CPUs, {capacity.gpus} GPUs{disk}")
        for note in self.notes:
            console.errors.print(note, style="dim")

    def require_room(self, config: Config, capacity: Capacity) -> None:
        """Refuse a plan that writes more than fits on the disk.

        Raises:
            ResourceError: it does.
        """
        writes = self.scratch + sum(need.disk or 0 for need in self.needs if need.state != "complete")
        if capacity.disk is not None and writes > capacity.disk:
            what = f"the stages to run write {writes / _GIB:,.1f} GiB, {shown(config.run)} has room for"
            what += f" {capacity.disk / _GIB:,.1f}, and nothing has been started"
            raise ResourceError(what, "free some room, or give a run folder elsewhere with run=")


def check(
    config: Config, run: Run, names: Collection[str], capacity: Capacity, tokens_per_s: float | None = None
) -> None:
    """Show what the stages of a run need and what there is, if several are to run, and refuse what has no room.

    Args:
        config: the whole configuration.
        run: the plan.
        names: of the stages that are to run, complete ones included.
        capacity: what there is.
        tokens_per_s: as for :func:`planned`.

    Raises:
        ResourceError: the stages write more than fits on the disk.
        HnlmError: as :func:`planned`.
    """
    plan = planned(config, run, names, tokens_per_s)
    if sum(need.state != "complete" for need in plan.needs) > 1:
        plan.show(capacity, f"Plan of {shown(config.run)}")
    plan.require_room(config, capacity)


def require_cluster(
    config: Config, kinds: Collection[str], look: Callable[[Config], Capacity], patience_s: float = _PATIENCE_S
) -> None:
    """Refuse a plan that asks a cluster for what it has not, once its machines have had time to come.

    Args:
        config: the whole configuration.
        kinds: the kinds of stages that are to run.
        look: gives what the cluster has by now.
        patience_s: how long machines are waited for.

    Raises:
        ResourceError: it still lacks logical CPUs or GPUs.
    """
    started, is_said = time.monotonic(), False
    while (short := _shortage(config, kinds, look(config))) is not None:
        if time.monotonic() - started >= patience_s:
            raise ResourceError(f"{short[0]}, and nothing has been started", short[1])
        if not is_said:
            console.remark("warn", f"{short[0]}; waiting for more machines, {patience_s / 60:.0f} minutes at most")
            is_said = True
        time.sleep(min(_LOOK_S, patience_s))


def _shortage(config: Config, kinds: Collection[str], capacity: Capacity) -> tuple[str, str] | None:
    """What the cluster lacks, and what to do; None where it has enough."""
    for demand in demands(config):
        amounts = (("logical CPUs", demand.least, capacity.cpus), ("GPUs", demand.gpus, capacity.gpus))
        for name, amount, have in amounts:
            if {*demand.kinds} & {*kinds} and amount > have:
                what = f"{demand.option} needs {amount} {name}, {capacity.where} has {have}"
                return what, f"lower {demand.option} or use a larger cluster"
    return None


def local_capacity(config: Config) -> Capacity:
    """What a local Ray will have."""
    from hnlm_ray.cluster.connect import local_cpus, local_gpus

    return Capacity("this machine", local_cpus(config.cluster), local_gpus(), _room(config))


def cluster_capacity(config: Config) -> Capacity:
    """What the cluster has that this process is connected to."""
    import ray

    have = ray.cluster_resources()
    return Capacity("the cluster", int(have.get("CPU", 0)), int(have.get("GPU", 0)), _room(config))


def _room(config: Config) -> int | None:
    folder = nearest_folder(config.run)
    return None if folder is None else shutil.disk_usage(folder).free


def planned(config: Config, run: Run, names: Collection[str], tokens_per_s: float | None = None) -> Plan:
    """What the stages of a run need; runs and starts nothing.

    Tokens, times and sizes follow from the data, so they are not known before the stage ``prepare`` is complete.

    Args:
        config: the whole configuration.
        run: the plan.
        names: of the stages that are to run, complete ones included.
        tokens_per_s: what one engine writes; None for what the language model has done in this run so far or, before
            it has, for what the size of its model suggests.

    Raises:
        HnlmError: a prompt cannot fit its model, or a table of ``prepare`` is damaged.
    """
    stages = [stage for stage in run.stages if stage.name in names]
    prepare = run["prepare"].artifact
    if not prepare.is_complete:
        note = "tokens, time and disk are known when prepare is complete: `hnlm run --stage prepare`"
        return Plan([_need(stage, {}, run, None) for stage in stages], 0, [note])
    sizes = prepare.manifest()
    to_do = [stage for stage in stages if not stage.artifact.is_complete]
    work, notes = _models(config, run, {stage.kind for stage in to_do}, tokens_per_s)
    scratch = max((_IN_CHECKPOINTS * _vectors(stage, sizes) for stage in to_do if stage.kind == "train"), default=0)
    return Plan([_need(stage, work, run, sizes) for stage in stages], scratch, notes)


def _models(config: Config, run: Run, kinds: set[str], tokens_per_s: float | None) -> tuple[_Work, list[str]]:
    """Tokens and seconds of the stages that run a model, by kind, and what they rest on."""
    from hnlm_ray.language.estimate import estimate

    artifact = run["prepare"].artifact
    if not kinds & {*WRITERS, "vectors", "tune", "encode"}:
        return {}, []
    if artifact.manifest().rows["interactions"] > _MOST_READ:
        return {}, ["tokens of data of this size, and the time that they take: `hnlm estimate`"]
    items, interactions = (artifact.read(name) for name in ("items", "interactions"))
    found = estimate(config, kinds, items, interactions, tokens_per_s)
    replicas = {**dict.fromkeys(WRITERS, config.llm.replicas), "vectors": config.embed.replicas}
    replicas |= {"tune": config.tune.workers, "encode": config.encode.replicas}
    work: _Work = {}
    for one in found.stages:
        seconds = None if one.engine_hours is None else 3600 * one.engine_hours / replicas[one.stage]
        work[one.stage] = one.input_tokens + one.output_tokens, seconds
    notes = list(found.notes)
    if tokens_per_s is None and (measured := _measured(run)):
        asked = WRITERS & work.keys()
        work |= {kind: (work[kind][0], work[kind][0] / measured) for kind in asked}
        notes += (
            [f"time of {', '.join(sorted(asked))} at {measured:,.0f} tokens/s, as this run has had"] if asked else []
        )
    return work, notes


def _measured(run: Run) -> float | None:
    """Tokens per second that the language model has read and written so far in this run; None before it has."""
    done = [stage.artifact.manifest() for stage in run.stages if stage.kind in WRITERS and stage.artifact.is_complete]
    tokens = sum(one.counts.get("prompt_tokens", 0) + one.counts.get("output_tokens", 0) for one in done)
    seconds = sum(one.seconds for one in done)
    return tokens / seconds if tokens and seconds else None


def _need(stage: PlannedStage, work: _Work, run: Run, sizes: Manifest | None) -> Need:
    """What a stage needs; ``sizes`` is the manifest of ``prepare``, where that is complete."""
    if stage.artifact.is_complete:
        return Need(stage.name, "complete")
    state = "to go on" if stage.artifact.exists and stage.spec.resumes else "to do"
    demand = next((one for one in demands(stage.config) if stage.kind in one.kinds), None)
    cpus, gpus = (None, None) if demand is None else (demand.cpus, demand.gpus)
    if sizes is None:
        return Need(stage.name, state, cpus, gpus)
    tokens, seconds = work.get(stage.kind, (None, None)) if stage.key.trial is None else (None, None)
    if stage.kind == "train":
        seconds = _usual_seconds(stage, run)
    return Need(stage.name, state, cpus, gpus, tokens, seconds, _leaves(stage, sizes))


def _usual_seconds(fit: PlannedStage, run: Run) -> float | None:
    """The mean over the fits of the same variant that this run has."""
    same = [one for one in run.stages if one.kind == "train" and one.key.variant == fit.key.variant]
    spent = [one.artifact.manifest().seconds for one in same if one.artifact.is_complete]
    return sum(spent) / len(spent) if spent else None


def _leaves(stage: PlannedStage, sizes: Manifest) -> int | None:
    """Bytes of the largest tables and tensors of a stage, for kinds of which the data and the options decide that."""
    config, rows, variant = stage.config, sizes.rows, str(stage.key.variant)
    if stage.kind == "train":
        return _vectors(stage, sizes)
    if stage.kind == "guard":
        return rows["users"] * config.guards[variant].items * _GUARD_ROW
    if stage.kind == "neighbours":
        return rows["items"] * config.neighbours.keep * _NEIGHBOUR_ROW
    return None


def _vectors(fit: PlannedStage, sizes: Manifest) -> int:
    """Bytes of the vectors of users and items of a fit."""
    variant = fit.config.train.variants[str(fit.key.variant)]
    return (sizes.rows["users"] + sizes.rows["items"]) * variant.dim * _FLOAT if variant.is_trained else 0


def _cells(need: Need) -> tuple[str, ...]:
    counts = ["" if one is None else f"{one:,}" for one in (need.cpus, need.gpus, need.tokens)]
    spent = "" if need.seconds is None else str(timedelta(seconds=round(need.seconds)))
    return *counts, spent, "" if need.disk is None else f"{need.disk / 2**20:,.1f} MiB"
