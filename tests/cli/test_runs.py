"""Commands about a run: what they run, and what they leave alone."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hnlm_ray.cli.main import app
from hnlm_ray.cli.runs import run_stages
from hnlm_ray.config.load import load_config
from hnlm_ray.run.plan import plan
from hnlm_ray.run.store import RunStore


@pytest.mark.ray
def test_estimate_runs_prepare_alone_and_leaves_the_record_of_the_run(tmp_path: Path, ray_session: None) -> None:
    options = [f"run={tmp_path}", "data.demo={users: 60, items: 48, interactions: 900}", "llm.engine=scripted"]
    record = tmp_path / "run.json"
    record.write_text("of the last run")
    done = CliRunner().invoke(app, ["estimate", *options])
    assert done.exit_code == 0, done.output
    assert "item_profiles" in done.stdout
    stages = plan(load_config(overrides=options)).stages
    assert [stage.name for stage in stages if stage.artifact.is_complete] == ["prepare"]
    assert record.read_text() == "of the last run"
    with RunStore(str(tmp_path)).lock():  # another process runs the pipeline meanwhile
        again = CliRunner().invoke(app, ["estimate", *options])
    assert again.exit_code == 0, again.output
    assert again.stdout == done.stdout


@pytest.mark.ray
def test_estimate_counts_the_stages_that_are_still_to_run(tmp_path: Path, ray_session: None) -> None:
    options = [f"run={tmp_path}", "data.demo={users: 60, items: 48, interactions: 900}"]
    options += ["llm.engine=scripted", "embed.engine=scripted"]

    def printed(*arguments: str) -> set[str]:
        done = CliRunner().invoke(app, [*arguments, *options])
        assert done.exit_code == 0, done.output
        return {"item_profiles", "user_profiles", "negatives", "vectors", "tune", "encode"} & set(done.stdout.split())

    everything = {"item_profiles", "user_profiles", "negatives", "vectors"}
    assert printed("estimate") == everything
    assert printed("estimate", "train.variants={uniform: {}}", "serve.variant=uniform") == set()
    printed("run", "--stage=item_profiles")
    assert printed("estimate") == everything - {"item_profiles"}


def test_a_study_runs_what_its_own_variants_read_and_no_other_stage_of_the_same_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[str, ...]] = []
    monkeypatch.setattr("hnlm_ray.cli.runs.obstacles", lambda *_: [])
    monkeypatch.setattr("hnlm_ray.cluster.connect.connected", lambda *_: nullcontext())
    monkeypatch.setattr("hnlm_ray.run.execute.execute", lambda _config, _run, only, *_, **__: called.append(only))
    described = "train.variants={u: {}, t: {item_graph: {source: text}}, d: {item_graph: {source: described}}}"
    run_stages(load_config([], [f"run={tmp_path}", described, "study.variants=[u, t]"]), goal="study")
    assert called == [("prepare", "vectors", "neighbours.text", "study")]


def test_a_plan_is_shown_and_nothing_is_run(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["run", "--dry-run", f"run={tmp_path / 'run'}"])
    assert done.exit_code == 0, done.output
    assert "train.hnlm.s0" in done.stdout
    assert not (tmp_path / "run").exists()


def test_the_status_of_a_run_that_does_not_exist_is_shown_without_making_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["status", f"run={tmp_path / 'run'}"])
    assert done.exit_code == 0, done.output
    assert "pending" in done.stdout
    assert not (tmp_path / "run").exists()
