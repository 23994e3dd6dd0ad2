"""``hnlm verify``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hnlm_ray.cli import main
from hnlm_ray.config.load import load_config
from hnlm_ray.errors import StoreError
from hnlm_ray.run.plan import plan
from tests.report.small_runs import values, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", {"uniform": {0: values(0.1, 0), 1: values(0.2, 1)}})
    return tmp_path / "run"


def verify(run: Path) -> tuple[str, BaseException | None]:
    done = CliRunner().invoke(main.app, ["verify", str(run)])
    return done.stdout, done.exception


def test_a_sound_run_is_all_right(run: Path) -> None:
    out, error = verify(run)
    assert error is None
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["✓", f"{name}"] for name in ("evaluate/e", "prepare/data", "train.uniform.s0/f", "train.uniform.s1/f")
    ]


def test_each_damaged_file_is_named_and_the_rest_is_checked(run: Path) -> None:
    (run / "evaluate" / "e" / "strata.parquet").unlink()
    history = run / "train.uniform.s1" / "f" / "history.parquet"
    shutil.copy(run / "train.uniform.s0" / "f" / "history.parquet", history)
    (run / "prepare" / "half").mkdir()
    out, error = verify(run)
    assert isinstance(error, StoreError)
    assert f"2 of 5 results in {run} are damaged" in str(error)
    marks = {line.split()[1]: line[0] for line in out.splitlines()}
    assert marks == {
        "evaluate/e": "✗",
        "prepare/data": "✓",
        "prepare/half": "!",
        "train.uniform.s0/f": "✓",
        "train.uniform.s1/f": "✗",
    }
    assert f"{run}/evaluate/e/strata.parquet is missing" in out
    assert f"{history} is damaged" in out


def test_a_folder_that_is_no_run_is_a_sentence(tmp_path: Path) -> None:
    assert "is no run folder, it has no run.json" in str(verify(tmp_path)[1])


def test_status_shows_a_damaged_stage_and_goes_on(tmp_path: Path) -> None:
    options = [f"run={tmp_path / 'run'}"]
    prepare = plan(load_config([], options))["prepare"].artifact
    prepare.create()
    prepare.commit({})
    (Path(prepare.path) / "manifest.json").write_text("[]")
    done = CliRunner().invoke(main.app, ["status", *options])
    assert done.exit_code == 0
    assert "damaged" in done.stdout
    assert "pending" in done.stdout
    assert f"✗ prepare {prepare.path}/manifest.json is damaged" in done.stdout
