"""The plan before a run: what stages need, what there is, and what is refused before anything starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from hnlm_ray.cli import preflight, runs
from hnlm_ray.cli.log import log
from hnlm_ray.cli.preflight import Capacity, Plan
from hnlm_ray.cli.resources import demands
from hnlm_ray.cluster import connect
from hnlm_ray.cluster.resumable import _SPARE_CPUS
from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ResourceError
from hnlm_ray.language import estimate
from hnlm_ray.language.estimate import Estimate, StageEstimate
from hnlm_ray.run.plan import Run, plan
from hnlm_ray.tables import TABLES
from tests.cli.test_progress import events

AMPLE = Capacity("this machine", 64, 8, 2**40)
VARIANTS = "train.variants={mf: {backbone: mf, dim: 16}, wide: {backbone: mf, dim: 32}, ease: {backbone: ease}}"


def configured(folder: Path, *more: str) -> tuple[Config, Run]:
    config = load_config([], [f"run={folder}", VARIANTS, "serve.variant=mf", "train.seeds=[0, 1]", *more])
    return config, plan(config)


def complete(run: Run, name: str, rows: dict[str, int], seconds: float = 1.0, **counts: float) -> None:
    artifact = run[name].artifact
    artifact.create()
    artifact.commit({"seconds": seconds, "rows": rows, "counts": counts})


def of(config: Config, run: Run, **options: Any) -> Plan:
    return preflight.planned(config, run, [stage.name for stage in run.stages], **options)


def test_before_the_data_is_prepared_only_resources_are_known(tmp_path: Path) -> None:
    config, run = configured(tmp_path, "train.workers=3")
    found = of(config, run)
    needs = {need.stage: need for need in found.needs}
    assert [need.stage for need in found.needs] == [stage.name for stage in run.stages]
    assert (needs["train.mf.s0"].cpus, needs["train.mf.s0"].gpus) == (4, 0)
    assert (needs["prepare"].cpus, needs["prepare"].state) == (None, "to do")
    assert {(need.tokens, need.seconds, need.disk) for need in found.needs} == {(None, None, None)}
    assert "when prepare is complete" in found.notes[0]


def test_sizes_follow_from_the_data_and_times_of_fits_from_those_that_are_complete(tmp_path: Path) -> None:
    config, run = configured(tmp_path)
    complete(run, "prepare", {"users": 1000, "items": 500, "interactions": 9000})
    complete(run, "train.mf.s0", {"history": 3}, seconds=20.0)
    run["train.wide.s0"].artifact.create()
    found = of(config, run)
    needs = {need.stage: need for need in found.needs}
    assert (needs["prepare"].state, needs["train.mf.s0"].state) == ("complete", "complete")
    assert needs["train.wide.s0"].state == "to go on"
    assert (needs["train.mf.s1"].seconds, needs["train.wide.s1"].seconds) == (20.0, None)
    assert (needs["train.mf.s1"].disk, needs["train.wide.s1"].disk) == (1500 * 16 * 4, 1500 * 32 * 4)
    assert needs["train.ease.s0"].disk == 0
    assert found.scratch == 8 * 1500 * 32 * 4


def test_models_have_tokens_and_times_at_the_rate_that_is_given_measured_or_assumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config([], [f"run={tmp_path}", "llm.replicas=2", "llm.engine=scripted", "embed.engine=scripted"])
    run = plan(config)
    tables = run["prepare"].artifact
    tables.create()
    for name in ("items", "interactions"):
        tables.write(name, TABLES[name].empty_table())
    tables.commit({"seconds": 1.0, "rows": {"users": 10, "items": 10, "interactions": 0}, "counts": {}})
    given: list[float | None] = []

    def fixed(config: Config, kinds: set[str], *others: Any) -> Estimate:
        given.append(others[-1])
        stages = (("item_profiles", 2.0), ("negatives", None), ("vectors", 1.0))
        found = [StageEstimate(kind, 9, 600, 400, 800, hours) for kind, hours in stages if kind in kinds]
        return Estimate(tuple(found), ("a note",))

    monkeypatch.setattr(estimate, "estimate", fixed)

    def times() -> dict[str, tuple[int | None, float | None]]:
        return {need.stage: (need.tokens, need.seconds) for need in of(config, run, tokens_per_s=rate).needs}

    rate: float | None = None
    found = times()
    assert found["item_profiles"] == (1000, 3600.0)  # two hours of one engine, by two engines
    assert (found["negatives"], found["vectors"], found["ground"]) == ((1000, None), (1000, 3600.0), (None, None))
    complete(run, "item_profiles", {"item_profiles": 9}, 5.0, prompt_tokens=80, output_tokens=20)
    assert times()["negatives"] == (1000, 50.0)  # as 100 tokens took 5 s
    assert "20 tokens/s, as this run has had" in of(config, run).notes[-1]
    rate = 7.0
    assert times()["negatives"] == (1000, None)
    assert given == [None, None, None, 7.0]
    monkeypatch.setattr(preflight, "_MOST_READ", -1)
    assert times()["negatives"] == (None, None)
    assert "`hnlm estimate`" in of(config, run).notes[-1]


@pytest.mark.parametrize(
    ("options", "lack", "problem"),
    [
        ([], {"cpus": 4}, "train.workers needs 5 logical CPUs, the cluster has 4"),
        (["train.accelerator=gpu"], {"gpus": 4}, "train.workers needs 5 GPUs, the cluster has 4"),
    ],
)
def test_a_cluster_that_stays_too_small_is_refused_and_one_that_grows_is_waited_for(
    options: list[str], lack: dict[str, int], problem: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config, _ = configured(tmp_path, "train.workers=5", *options)
    cluster = dataclasses.replace(AMPLE, where="the cluster", cpus=5, gpus=5)
    small = dataclasses.replace(cluster, **lack)
    preflight.require_cluster(config, ["train"], lambda config: cluster)
    preflight.require_cluster(config, ["prepare"], lambda config: small)  # no stage that runs needs it
    assert capsys.readouterr().err == ""
    with pytest.raises(ResourceError) as caught:
        preflight.require_cluster(config, ["train"], lambda config: small, patience_s=0.0)
    assert caught.value.problem == f"{problem}, and nothing has been started"
    assert "lower train.workers" in caught.value.action
    monkeypatch.setattr(preflight, "_LOOK_S", 0.01)
    looks = iter([small, small, cluster])
    preflight.require_cluster(config, ["train"], lambda config: next(looks))
    assert capsys.readouterr().err == f"! {problem}; waiting for more machines, 5 minutes at most\n"


def test_no_stage_that_would_start_is_refused(tmp_path: Path) -> None:
    """The plan asks a cluster for what the engines and the workers themselves ask for, and not for more."""
    config, _ = configured(tmp_path, "llm.replicas=2", "llm.tensor_parallel=2", "train.workers=3")
    least = {demand.option: demand.least for demand in demands(config)}
    assert least["llm.replicas"] == 2 * 2 + _SPARE_CPUS
    assert least["embed.replicas"] == 1 + _SPARE_CPUS
    assert least["train.workers"] == 3 * config.train.needs["CPU"]


def test_what_is_written_fits_where_it_just_fits_and_a_remote_folder_is_not_measured(tmp_path: Path) -> None:
    config, run = configured(tmp_path)
    complete(run, "prepare", {"users": 1000, "items": 500, "interactions": 9000})
    found = of(config, run)
    writes = found.scratch + sum(need.disk or 0 for need in found.needs)
    found.require_room(config, dataclasses.replace(AMPLE, disk=writes))
    found.require_room(config, dataclasses.replace(AMPLE, disk=None))
    with pytest.raises(ResourceError, match="give a run folder elsewhere"):
        found.require_room(config, dataclasses.replace(AMPLE, disk=writes - 1))


def test_nothing_starts_where_the_disk_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, run = configured(tmp_path)
    complete(run, "prepare", {"users": 1000, "items": 500, "interactions": 9000})
    monkeypatch.setattr(connect, "connected", None)
    monkeypatch.setattr(preflight, "_room", lambda config: 2**20)
    with pytest.raises(ResourceError, match="nothing has been started"):
        runs.run_stages(config)
    assert not (tmp_path / "run.json").exists()


def test_the_table_shows_every_stage_and_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = configured(tmp_path)
    complete(run, "prepare", {"users": 1000, "items": 500, "interactions": 9000})
    names = [stage.name for stage in run.stages]
    preflight.check(config, run, names, AMPLE)
    out, err = capsys.readouterr()
    assert out == ""
    assert f"Plan of {tmp_path}" in err
    assert all(name in err for name in names)
    assert "this machine has 64 logical CPUs, 8 GPUs, 1,024 GiB free" in err
    preflight.check(config, run, ["prepare", "train.mf.s0"], AMPLE)  # one stage to run is no plan
    assert capsys.readouterr().err == ""
    with log.as_json():
        preflight.check(config, run, names, AMPLE)
    (event,) = events(capsys.readouterr().err)
    assert (event["event"], [stage["stage"] for stage in event["stages"]]) == ("plan", names)
    assert event["capacity"] == dataclasses.asdict(AMPLE)
