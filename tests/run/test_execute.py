"""Running a plan: what is skipped, cleared, recorded, and what an error becomes."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from hnlm_ray.cli import console
from hnlm_ray.cli.progress import Lines
from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError, ResourceError, StageError, StoreError
from hnlm_ray.run.execute import Progress, execute
from hnlm_ray.run.plan import PlannedStage, Run, plan
from hnlm_ray.run.stage import StageContext, StageKey, StageSummary
from hnlm_ray.run.store import Artifact
from hnlm_ray.tables import USERS

Function = Callable[[StageContext], StageSummary]


def two_stages(config: Config) -> Run:
    """``prepare``, and ``evaluate``, which reads it."""
    store, reads = plan(config).store, {"prepare": "prepare"}
    return Run(
        store,
        (
            PlannedStage(StageKey("prepare"), {}, store.artifact("prepare", "1"), config),
            PlannedStage(StageKey("evaluate"), reads, store.artifact("evaluate", "2"), config),
        ),
    )


def run_both(first: Function) -> Callable[[PlannedStage, StageContext], StageSummary]:

    def second(context: StageContext) -> StageSummary:
        users = context.inputs["prepare"].read("users")
        context.output.write("users", users)
        return StageSummary({"users": users.num_rows}, {"ok": 2})

    return lambda stage, context: first(context) if stage.kind == "prepare" else second(context)


def good(context: StageContext) -> StageSummary:
    context.output.write("users", pa.table({"user": [0, 1], "user_id": ["a", "b"]}).cast(USERS))
    return StageSummary({"users": 2})


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config([], [f"run={tmp_path / 'run'}"])


def test_a_stage_whose_workers_die_is_one_sentence(config: Config) -> None:
    from ray.exceptions import WorkerCrashedError

    def mortal(context: StageContext) -> StageSummary:
        try:
            raise WorkerCrashedError
        except WorkerCrashedError as error:
            raise RuntimeError("as Ray Data wraps it") from error

    with pytest.raises(ResourceError, match="prepare lost the process of a worker"):
        execute(config, two_stages(config), function=run_both(mortal))


def test_an_object_store_that_refuses_is_one_sentence(config: Config) -> None:
    def refused(context: StageContext) -> StageSummary:
        said = "When uploading part for key 'a' in bucket 'b': AWS Error ACCESS_DENIED during UploadPart operation: no"
        try:
            raise OSError(f"{said}\nFailed to apply UDF transform after 1/1 attempts.")
        except OSError as error:
            raise RuntimeError("as Ray Data wraps it") from error

    with pytest.raises(StoreError, match=r"prepare: When uploading part .*ACCESS_DENIED") as caught:
        execute(config, two_stages(config), function=run_both(refused))
    assert "UDF" not in str(caught.value)


def test_finished_stages_are_skipped(config: Config) -> None:
    heard: list[tuple[str, str]] = []
    progress = Progress(
        started=lambda stage: heard.append(("start", stage.name)),
        skipped=lambda stage: heard.append(("skip", stage.name)),
    )
    execute(config, two_stages(config), progress=progress, function=run_both(good))
    execute(config, two_stages(config), progress=progress, function=run_both(good))
    assert heard == [("start", "prepare"), ("start", "evaluate"), ("skip", "prepare"), ("skip", "evaluate")]
    record = json.loads((Path(config.run) / "run.json").read_text())
    assert [stage["kind"] for stage in record["stages"]] == ["prepare", "evaluate"]


def test_what_a_crash_left_is_cleared(config: Config) -> None:
    run = two_stages(config)
    leftover = Path(run["prepare"].artifact.path)
    leftover.mkdir(parents=True)
    (leftover / "users.parquet").write_bytes(b"half")
    execute(config, run, function=run_both(good))
    assert run["evaluate"].artifact.manifest().rows == {"users": 2}
    assert run["evaluate"].artifact.manifest().inputs == {"prepare": "1"}


def test_checkpoints_outlive_a_failed_commit_and_go_after_the_next(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[str]] = []

    def train(context: StageContext) -> StageSummary:
        checkpoints = context.output.folder("_checkpoints")
        found.append(checkpoints.files())
        checkpoints.create()
        checkpoints.write_bytes("epoch", b"9")
        return good(context)

    def fail(*_: object) -> None:
        raise StoreError("no room", "make some")

    artifact = plan(config).store.artifact("train", "1")
    run = Run(plan(config).store, (PlannedStage(StageKey("train", "a", 0), {}, artifact, config),))
    monkeypatch.setattr(Artifact, "commit", fail)
    with pytest.raises(StoreError, match="no room"):
        execute(config, run, function=lambda stage, context: train(context))
    monkeypatch.undo()
    execute(config, run, function=lambda stage, context: train(context))
    assert found == [[], ["epoch"]]
    assert sorted(path.name for path in Path(artifact.path).iterdir()) == ["manifest.json", "users.parquet"]
    artifact.folder("_checkpoints").create()  # as a kill right after the commit leaves it
    execute(config, run)
    assert not artifact.folder("_checkpoints").exists


def test_a_stage_needs_its_inputs(config: Config) -> None:
    with pytest.raises(StoreError, match="evaluate reads prepare, which has not run"):
        execute(config, two_stages(config), only=["evaluate"], function=run_both(good))
    with pytest.raises(ConfigError, match="there is no stage evalute"):
        two_stages(config).names_of(["evalute"])


def wrapped(inner: Exception) -> Callable[[StageContext], StageSummary]:
    def stage(context: StageContext) -> StageSummary:
        try:
            raise inner
        except Exception as error:
            raise RuntimeError("an engine's own words") from error

    return stage


@pytest.mark.parametrize(
    ("inner", "expected", "message"),
    [
        (OSError(28, "No space left on device"), StoreError, "prepare could not write .*No space left on device"),
        (OSError(30, "Read-only file system"), StoreError, "Read-only"),
        (
            PermissionError(13, "Permission denied", "/data/x.csv"),
            StoreError,
            "denied access .*/data/x.csv: Permission",
        ),
        (StageError("too many rejects", "use another model"), StageError, "too many rejects"),
    ],
)
def test_errors_of_users_are_found_inside_the_wrapping(
    config: Config, inner: Exception, expected: type[Exception], message: str
) -> None:
    run = two_stages(config)
    with pytest.raises(expected, match=message):
        execute(config, run, function=run_both(wrapped(inner)))
    assert not run["prepare"].artifact.is_complete


def test_a_bug_keeps_its_traceback(config: Config) -> None:
    with pytest.raises(RuntimeError, match="own words"):
        execute(config, two_stages(config), function=run_both(wrapped(KeyError("x"))))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_run_folder_is_a_sentence(config: Config, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="writable"):
            execute(config, two_stages(config), function=run_both(good))
    finally:
        tmp_path.chmod(0o700)


def test_a_command_that_only_reads_leaves_the_record_alone(config: Config) -> None:
    execute(config, two_stages(config), function=run_both(good))
    record = Path(config.run) / "run.json"
    before = record.read_bytes()
    other = config.model_copy(update={"seed": 7})
    execute(other, two_stages(other), ["prepare"], record=False, function=run_both(good))
    assert record.read_bytes() == before
    execute(other, two_stages(other), ["prepare"], function=run_both(good))
    assert record.read_bytes() != before


def test_warnings_of_a_stage_are_kept_and_printed(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    def careless(context: StageContext) -> StageSummary:
        return dataclasses.replace(good(context), warnings=["half of the items are unknown; check the ids."])

    execute(config, two_stages(config), progress=Lines().progress(), function=run_both(careless))
    assert "! half of the items are unknown; check the ids.\n" in capsys.readouterr().err
    console.print_status(two_stages(config), "Run")
    assert "! prepare half of the items are unknown; check the ids.\n" in capsys.readouterr().out
