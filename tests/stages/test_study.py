"""The study under real Ray, on a tiny world."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from hnlm_ray.cli.main import app
from hnlm_ray.config.load import load_config
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.evaluation.blocks import evaluate
from hnlm_ray.evaluation.inputs import read_held_out
from hnlm_ray.models.rankers import VectorRanker
from hnlm_ray.run.store import RunStore
from hnlm_ray.run.study import FITS, plan_study, planned_trials
from hnlm_ray.stages import study
from hnlm_ray.training.fit import fit
from hnlm_ray.training.progress import Progress

MF = "{backbone: mf, dim: 4, epochs: 6, validate_every: 2, batch_size: 128}"


def options(folder: Path, more: str = "") -> list[str]:
    return [
        f"run={folder / 'run'}",
        "data.demo={users: 60, items: 40, interactions: 900}",
        f"train.variants={{mf: {MF}, wide: {{backbone: mf, dim: 8, epochs: 6, batch_size: 128{more}}}, "
        "ease: {backbone: ease}}",
        "serve.variant=mf",
        "search.space={train.variants.*.learning_rate: {choice: [0.01, 0.05]}}",
        "study={trials: 2, seeds: [0, 1], against: mf, jobs: 2}",
    ]


def result(given: list[str]) -> tuple[pa.Table, pa.Table]:
    artifact = plan_study(load_config([], given))["study"].artifact
    return artifact.read("study"), artifact.read("study_fits")


def kept(folder: Path) -> dict[str, float]:
    """When each fit was committed, by its folder."""
    found = (folder / "run" / FITS).glob("*/manifest.json")
    return {path.parent.name: json.loads(path.read_text())["committed"] for path in found}


@pytest.mark.ray
def test_a_study_gives_what_the_same_fits_give_and_repeats_only_what_has_changed(
    tmp_path: Path, ray_session: None
) -> None:
    given, page = options(tmp_path), tmp_path / "page.html"
    done = CliRunner().invoke(app, ["study", *given, "--to", str(page)])
    assert done.exit_code == 0, done.output
    assert "differences of NDCG@20 to mf" in done.output
    assert page.read_text().startswith("<!doctype html>")
    table, fits = result(given)
    assert table["variant"].to_pylist() == ["mf", "wide", "ease"]
    assert table["trials"].to_pylist() == [2, 2, 1]
    prepare = plan_study(load_config([], given))["prepare"].artifact
    splits, test = read_splits(prepare), read_held_out(prepare)["test"]
    for row in fits.to_pylist():
        variant = VariantConfig.model_validate_json(row["options"])
        if not variant.is_trained:
            continue
        alone = fit(splits.train, splits.valid, variant, row["seed"])
        assert row["valid_ndcg"] == pytest.approx(alone.progress.best_ndcg, rel=1e-4)
        if row["chosen"]:
            ranker = VectorRanker(alone.user_vectors, alone.item_vectors)
            assert row["ndcg"] == pytest.approx(evaluate(ranker, test, (20,)).mean("ndcg", 20), rel=1e-4)
    before = kept(tmp_path)
    assert CliRunner().invoke(app, ["study", *given]).exit_code == 0
    assert kept(tmp_path) == before
    changed = options(tmp_path, ", l2: 0.5")
    assert CliRunner().invoke(app, ["study", *changed]).exit_code == 0
    after = kept(tmp_path)
    assert before.items() <= after.items()
    assert len(after) - len(before) == sum(name == "wide" for name in result(changed)[1]["variant"].to_pylist())


def test_fits_that_run_say_how_far_they_are_until_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config([], options(tmp_path))
    store = RunStore(config.run)
    first, second = planned_trials(config, store)[0].final
    output = store.artifact("study", "abc")
    output.folder("_under_way").create()
    output.folder("_under_way").write_bytes("of_a_killed_study", b"{}")
    running = study._Running(output.folder("_under_way"))
    assert running.read() == []
    loop = SimpleNamespace(progress=Progress(epoch=4, seconds=2.0, best_epoch=2, best_ndcg=0.25))
    listeners = [running.listener(one) for one in (first, second)]
    for listener in listeners:
        listener(loop)
    loop.progress.epoch = 5
    listeners[0](loop)  # too soon after the last time
    found = {done.work: done for done in running.read()}
    assert found.keys() == {"mf, trial 0, seed 0", "mf, trial 0, seed 1"}
    done = found["mf, trial 0, seed 0"]
    assert (done.done, done.total, done.unit, done.rate, done.seconds_left) == (4, 6, "epochs", 2.0, 1.0)
    assert done.note == "best valid NDCG@20 0.2500 at epoch 2"
    monkeypatch.setattr(study, "_UNDER_WAY_S", 0.0)
    listeners[0](loop)
    running.end(second)
    assert [done.done for done in running.read()] == [5]


@pytest.mark.ray
def test_a_killed_study_goes_on_with_the_fits_that_are_missing(tmp_path: Path, ray_session: None) -> None:
    given = options(tmp_path)
    # A Ray of its own in a short path, since sockets lie in it; not that of the session.
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="hnlm")
    process = subprocess.Popen(
        [sys.executable, "-m", "hnlm_ray.cli.main", "study", *given, "--jobs", "1"],
        env=environment,
        start_new_session=True,
    )
    try:
        while not kept(tmp_path) and process.poll() is None:
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = kept(tmp_path)
    assert before
    assert CliRunner().invoke(app, ["study", *given]).exit_code == 0
    after = kept(tmp_path)
    assert before.items() <= after.items()
    assert len(after) == result(given)[1].num_rows > len(before)
