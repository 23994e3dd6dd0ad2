"""The search under real Ray Tune, on a tiny world."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from hnlm_ray.cli.main import app
from hnlm_ray.config.load import load_config
from hnlm_ray.config.semantic import SemanticOptions
from hnlm_ray.config.tree import Config, TrainConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.errors import ConfigError, StageError
from hnlm_ray.run.plan import plan
from hnlm_ray.run.progress import WorkDone
from hnlm_ray.run.trials import draw_trials
from hnlm_ray.stages import search
from hnlm_ray.training.fit import fit
from hnlm_ray.training.inputs import FitInputs
from tests.stages.finished_run import FinishedRun

SHORT = {"dim": 8, "epochs": 4, "batch_size": 128, "validate_every": 2}
VARIANTS = {
    "gcn": VariantConfig(**SHORT),
    "mf": VariantConfig(backbone="mf", **SHORT),
    "ease": VariantConfig(backbone="ease"),
}
SPACE = {
    "train.variants.*.learning_rate": {"log_uniform": [1e-3, 1e-1]},
    "train.variants.gcn.backbone.layers": {"integers": [1, 2]},
}


def prepared(folder: Path, trained: dict[str, VariantConfig] = VARIANTS, **options: object) -> FinishedRun:
    run = FinishedRun(folder)
    run.config = Config.model_validate(
        {
            "run": str(folder),
            "train": {"variants": trained},
            "serve": {"variant": next(iter(trained))},
            "search": {"trials": 3, "space": SPACE, **options},
        }
    )
    run.prepare(truth=False)
    return run


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> FinishedRun:
    """Three trials of two variants."""
    run = prepared(tmp_path_factory.mktemp("search"))
    context = run.context("search")
    said: list[str | WorkDone] = []
    with pytest.MonkeyPatch.context() as patch:
        quick = search.heartbeat
        patch.setattr(search, "heartbeat", lambda look, say: quick(look, say, 0.05))
        summary = search.run(dataclasses.replace(context, say=said.append))
    heard = [(str(one), [part.work for part in one.parts] if isinstance(one, WorkDone) else []) for one in said]
    (tmp_path_factory.getbasetemp() / "said.json").write_text(json.dumps(heard))
    assert summary.counts == {"ok": 6, "stopped": 0, "cut": 0, "failed": 0}
    run.commit(context.output, dict(summary.rows))
    return run


@pytest.mark.ray
def test_a_row_is_what_the_same_fit_gives_without_ray(found: FinishedRun) -> None:
    rows = found.inputs["search"].read("trials").to_pylist()
    assert [(row["variant"], row["trial"]) for row in rows] == [(name, n) for name in ("gcn", "mf") for n in range(3)]
    splits = read_splits(found.inputs["prepare"])
    train, valid = splits.train, splits.valid
    for row in (rows[0], rows[5]):
        drawn = {path.split(".", 3)[3]: value for path, value in json.loads(row["parameters"]).items()}
        alone = fit(train, valid, VARIANTS[row["variant"]].model_copy(update=drawn), 0).progress
        assert (row["best_epoch"], row["status"]) == (alone.best_epoch, "ok")
        assert row["valid_ndcg"] == pytest.approx(alone.best_ndcg, rel=1e-4)
    assert len({row["parameters"] for row in rows}) == 6
    assert json.loads(rows[0]["parameters"])["train.variants.gcn.backbone.layers"] == 3  # as configured


@pytest.mark.ray
def test_the_best_of_each_variant_is_a_configuration_that_loads(found: FinishedRun, tmp_path: Path) -> None:
    artifact = found.inputs["search"]
    path = tmp_path / "best.yaml"
    path.write_bytes(artifact.read_bytes(search.BEST))
    config = load_config([path])
    rows = artifact.read("trials").to_pylist()
    for name in ("gcn", "mf"):
        best = max((row for row in rows if row["variant"] == name), key=lambda row: row["valid_ndcg"])
        drawn = json.loads(best["parameters"])
        assert config.train.variants[name].learning_rate == drawn[f"train.variants.{name}.learning_rate"]
        assert config.train.variants[name].epochs == 4
    assert config.train.variants["ease"] == VARIANTS["ease"]
    assert (config.run, config.serve.variant) == (found.config.run, "gcn")
    assert "search" not in yaml.safe_load(path.read_text())


@pytest.mark.ray
def test_progress_says_how_many_trials_are_done_which_is_best_and_how_long_it_takes(
    found: FinishedRun, tmp_path_factory: pytest.TempPathFactory
) -> None:
    heard = json.loads((tmp_path_factory.getbasetemp() / "said.json").read_text())
    said = [line for line, _ in heard]
    assert said[0] == "6 trials of 2 variants"
    assert said[1].startswith("0 of 6 trials done, ")
    done = [int(line.split()[0]) for line in said[1:]]
    assert done == sorted(done)
    running = {name for _, parts in heard for name in parts}
    assert running  # a trial that reported and had not ended
    assert running <= {f"{variant}, trial {number}" for variant in ("gcn", "mf") for number in range(3)}
    late = next(line for line in said if line.startswith("3 of 6"))
    assert re.fullmatch(r"3 of 6 trials done, about \d+ s left, best valid NDCG@20 so far 0\.\d{4} \((gcn|mf)\)", late)


@pytest.mark.ray
def test_the_page_shows_every_option_and_leaves_no_scratch_behind(found: FinishedRun) -> None:
    artifact = found.inputs["search"]
    page = artifact.read_bytes(search.PAGE).decode()
    for words in ("6 trials of 2 variants", "learning_rate", "backbone.layers", "best validation NDCG@20"):
        assert words in page
    assert sorted(path.name for path in Path(artifact.path).iterdir()) == [
        "best.yaml",
        "manifest.json",
        "search.html",
        "trials.parquet",
    ]


@pytest.mark.ray
def test_an_interrupted_search_goes_on_and_a_failed_trial_is_a_row(
    tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An NDCG that no fit would give shows that the finished trial was not run again."""
    run = prepared(tmp_path, variants=["mf"], epochs=1, space={"train.variants.mf.dim": {"choice": [10**12]}}, trials=2)
    context = run.context("search")
    folder = Path(context.output.path) / "_trials"
    folder.mkdir()
    row = {"variant": "mf", "trial": 0, "parameters": "{}", "best_epoch": 1, "valid_ndcg": 0.77, "seconds": 1.0}
    row |= {"epochs": 1, "reports": [[1, 0.77]]}
    (folder / "mf.0.json").write_text(json.dumps({**row, "status": "ok", "error": ""}))
    said: list[str | WorkDone] = []
    quick = search.heartbeat
    monkeypatch.setattr(search, "heartbeat", lambda look, say: quick(look, say, 0.01))
    summary = search.run(dataclasses.replace(context, say=said.append))
    assert said[0] == "2 trials of 1 variant, 1 still to run"
    assert any(str(line).startswith("1 of 2 trials done, best valid NDCG@20 so far 0.7700 (mf)") for line in said)
    first, second = context.output.read("trials").to_pylist()
    assert first["valid_ndcg"] == 0.77
    assert (second["status"], second["valid_ndcg"]) == ("failed", None)
    assert second["error"]
    assert summary.counts == {"ok": 1, "stopped": 0, "cut": 0, "failed": 1}
    page = context.output.read_bytes(search.PAGE).decode()
    assert "Trials that failed" in page
    assert "1000000000000" in page


@pytest.mark.ray
def test_poor_trials_stop_early_and_the_others_are_untouched(tmp_path: Path, ray_session: None) -> None:
    """Every trial of ``slow`` is poor, but none is worse than the others of its variant."""
    options = {**SHORT, "epochs": 10, "learning_rate": 0.1}
    variants = {"gcn": VariantConfig(**options), "slow": VariantConfig(**{**options, "learning_rate": 1e-9})}
    run = prepared(
        tmp_path,
        variants,
        trials=4,
        space={"train.variants.*.learning_rate": {"choice": [1e-9]}},
        stopping={"grace_period": 8, "reduction_factor": 4},
    )
    context = run.context("search")
    summary = search.run(context)
    rows = {(row["variant"], row["trial"]): row for row in context.output.read("trials").to_pylist()}
    # The trials 0 and 1 start together, so 1 may come first to where it is judged and go on; 2 and 3 come after both.
    stopped = {key for key, row in rows.items() if row["status"] == "stopped"}
    assert {("gcn", 2), ("gcn", 3)} <= stopped <= {("gcn", 1), ("gcn", 2), ("gcn", 3)}
    for key, row in rows.items():
        assert row["epochs"] == (8 if key in stopped else 10)
        assert row["best_epoch"] <= row["epochs"]
        assert row["valid_ndcg"] >= 0
        assert row["error"] == ""
    splits = read_splits(run.inputs["prepare"])
    alone = fit(splits.train, splits.valid, variants["gcn"], 0).progress
    assert rows["gcn", 0]["valid_ndcg"] == pytest.approx(alone.best_ndcg, rel=1e-4)
    assert rows["slow", 0]["valid_ndcg"] < rows["gcn", 0]["valid_ndcg"]
    assert summary.counts == {"ok": 8 - len(stopped), "stopped": len(stopped), "cut": 0, "failed": 0}
    page = " ".join(context.output.read_bytes(search.PAGE).decode().split())
    assert f"<td>{len(stopped)} of 4</td>" in page
    assert yaml.safe_load(context.output.read_bytes(search.BEST))["train"]["variants"]["gcn"]["learning_rate"] == 0.1


@pytest.mark.ray
def test_a_killed_search_goes_on_with_the_trials_that_are_missing(tmp_path: Path, ray_session: None) -> None:
    options = [
        f"run={tmp_path / 'run'}",
        "data.demo={users: 60, items: 40, interactions: 900}",
        "train.variants={mf: {backbone: mf, dim: 4, epochs: 40, validate_every: 1}}",
        "serve.variant=mf",
        "search={trials: 4, stopping: {grace_period: 40}}",
    ]
    # A Ray of its own in a short path, since sockets lie in it; not that of the session.
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="hnlm")
    process = subprocess.Popen(
        [sys.executable, "-m", "hnlm_ray.cli.main", "search", *options], env=environment, start_new_session=True
    )
    scratch = Path(plan(load_config([], options), search=True)["search"].artifact.path) / "_trials"
    try:
        while not list(scratch.glob("*.json")) and process.poll() is None:
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = {path.name: json.loads(path.read_text()) for path in scratch.glob("*.json")}
    assert 0 < len(before) < 4
    assert CliRunner().invoke(app, ["search", *options]).exit_code == 0
    artifact = plan(load_config([], options), search=True)["search"].artifact
    after = {f"mf.{row['trial']}.json": row for row in artifact.read("trials").to_pylist()}
    assert {row["status"] for row in after.values()} == {"ok"}
    assert len(after) == 4
    for name, kept in before.items():  # to the millisecond: it was not run again
        assert after[name] | {"reports": kept["reports"]} == kept


@pytest.mark.ray
def test_when_every_trial_fails_the_stage_does(tmp_path: Path, ray_session: None) -> None:
    run = prepared(tmp_path, variants=["mf"], trials=1)
    broken = run.inputs["prepare"]
    broken.write("interactions", broken.read("interactions").slice(0, 0))
    broken.commit({})
    with pytest.raises(StageError, match="every trial failed, the first with: the train split is empty"):
        search.run(run.context("search"))


def test_a_path_that_does_not_exist_ends_before_anything_starts(tmp_path: Path) -> None:
    run = prepared(tmp_path, space={"train.variants.*.learning_rat": {"choice": [0.1]}})
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        plan(run.config, search=True)


@pytest.mark.ray
def test_the_command_searches_once_and_a_second_time_does_nothing(tmp_path: Path, ray_session: None) -> None:
    options = [
        f"run={tmp_path / 'run'}",
        "data.demo={users: 60, items: 40, interactions: 900}",
        "train.variants={mf: {backbone: mf, dim: 4, epochs: 2, validate_every: 1}}",
        "serve.variant=mf",
    ]
    best = tmp_path / "best.yaml"
    command = ["search", *options, "--trials", "2", "--to", str(best)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    config = load_config([], [*options, "search.trials=2"])
    planned = plan(config, search=True)
    artifact = planned["search"].artifact
    assert set(planned["search"].inputs) == {"prepare"}
    assert best.read_bytes() == artifact.read_bytes(search.BEST)
    committed = artifact.manifest().committed
    assert CliRunner().invoke(app, command).exit_code == 0
    assert artifact.manifest().committed == committed
    stages = {stage["kind"] for stage in json.loads(planned.store.read_text("run.json"))["stages"]}
    assert {"evaluate", "search"} < stages  # a later comparison still knows the whole run
    more = load_config([], [*options, "search.trials=3"])
    assert not plan(more, search=True)["search"].artifact.is_complete
    assert isinstance(CliRunner().invoke(app, [*command, "search.space={a: {choice: [1]}}"]).exception, ConfigError)


def test_a_semantic_variant_is_searched_with_its_negatives() -> None:
    config = Config(train=TrainConfig(variants={"hnlm": VariantConfig(semantic=SemanticOptions())}))
    assert plan(config, search=True)["search"].inputs.keys() == {"prepare", "vectors", "ground"}
    assert "search" not in {stage.name for stage in plan(config).stages}


def test_a_search_with_other_stopping_is_another_search() -> None:
    configs = [load_config([], [f"search.stopping={stopping}"]) for stopping in ("null", "{}", "{grace_period: 5}")]
    assert len({plan(config, search=True)["search"].artifact.fingerprint for config in configs}) == 3


@pytest.mark.ray
def test_a_trial_reads_what_its_own_options_outside_the_variants_gave(tmp_path: Path, ray_session: None) -> None:
    """Names are matched by text vectors alone, of which a cosine of 1 leaves next to none."""
    options = [
        f"run={tmp_path / 'run'}",
        "llm.engine=scripted",
        "embed.engine=scripted",
        "data.demo={users: 60, items: 40, interactions: 900}",
        "ground={fuzzy: 1.0, vector: 0.0, min_matched: 0.0}",
        "train.variants={mf: {backbone: mf, dim: 4, epochs: 2}, hnlm: {backbone: mf, dim: 4, epochs: 2, "
        "semantic: {mixing: {share: 0.9}}}}",
        "serve.variant=mf",
        "search={trials: 2, space: {ground.vector: {choice: [1.0]}, train.variants.mf.l2: {choice: [0.1]}}}",
    ]
    best = tmp_path / "best.yaml"
    done = CliRunner().invoke(app, ["search", *options, "--to", str(best)])
    assert done.exit_code == 0, done.output
    planned = plan(load_config([], options), search=True)
    prepare, search_ = (planned[name].artifact for name in ("prepare", "search"))
    rows = {(row["variant"], row["trial"]): row for row in search_.read("trials").to_pylist()}
    assert json.loads(rows["hnlm", 1]["parameters"]) == {"ground.vector": 1.0}
    assert json.loads(rows["hnlm", 0]["parameters"]) == {"ground.vector": 0.0}
    matched = {}
    splits = read_splits(prepare)
    train, valid = splits.train, splits.valid
    for number, ground in enumerate(("ground", "ground@1")):
        artifact = planned[ground].artifact
        matched[number] = artifact.manifest().counts["matched"]
        inputs = FitInputs({"vectors": planned["vectors"].artifact, "ground": artifact})
        variant = load_config([], options).train.variants["hnlm"]
        alone = fit(train, valid, variant, 0, side=inputs.of_variant(variant, train)).progress
        assert rows["hnlm", number]["valid_ndcg"] == pytest.approx(alone.best_ndcg, rel=1e-4)
    assert matched[0] > matched[1]
    assert rows["hnlm", 0]["valid_ndcg"] != rows["hnlm", 1]["valid_ndcg"]
    chosen = max((0, 1), key=lambda number: (rows["hnlm", number]["valid_ndcg"], -number))
    assert load_config([best]).ground.vector == (0.0, 1.0)[chosen]
    assert load_config([best]).ground.fuzzy == 1.0


@pytest.mark.ray
def test_a_search_by_tpe_that_was_interrupted_ends_as_if_it_had_not_been(tmp_path: Path, ray_session: None) -> None:
    """With one job at a time: the same proposals from the trials that are on disk, and the same budget."""
    options = {"trials": 5, "algorithm": "tpe", "startup": 2, "jobs": 1, "variants": ["mf"], "epoch_budget": 18}
    whole = prepared(tmp_path / "whole", **options)
    context = whole.context("search")
    counts = search.run(context).counts
    rows = context.output.read("trials").to_pylist()
    drawn = [trial.parameters for trial in draw_trials(whole.config) if trial.variant == "mf"]
    parameters = [json.loads(row["parameters"]) for row in rows]
    assert parameters[:2] == drawn[:2]
    assert all(one not in drawn for one in parameters[2:])
    assert sum(row["epochs"] for row in rows) <= 18
    assert (counts["cut"], rows[-1]["epochs"]) == (1, 2)

    again = prepared(tmp_path / "again", **options)
    context = again.context("search")
    scratch = Path(context.output.path) / "_trials"
    scratch.mkdir()
    for row in rows[:3]:
        reports = [[2, row["valid_ndcg"]], [4, row["valid_ndcg"]]]
        (scratch / f"mf.{row['trial']}.json").write_text(json.dumps({**row, "reports": reports}))
    search.run(context)
    found = context.output.read("trials").to_pylist()
    assert [(row["parameters"], row["epochs"], row["status"]) for row in found] == [
        (row["parameters"], row["epochs"], row["status"]) for row in rows
    ]
    best = max(found, key=lambda row: row["valid_ndcg"])
    rate = yaml.safe_load(context.output.read_bytes(search.BEST))["train"]["variants"]["mf"]["learning_rate"]
    assert rate == json.loads(best["parameters"])["train.variants.mf.learning_rate"]
