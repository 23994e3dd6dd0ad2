"""The scripts of ``jobs/``: one per kind of stage, each running that kind and nothing else."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from hnlm_ray.cli import jobs
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import StoreError
from hnlm_ray.run.specs import SPECS

JOBS = Path(__file__).resolve().parents[2] / "jobs"
SCRIPTS = sorted(path.stem for path in JOBS.glob("*.py") if path.stem != "train_demo_llm")


def test_there_is_one_script_per_stage_and_one_for_all() -> None:
    assert set(SCRIPTS) == {*SPECS, "pipeline"}


def start(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run a script with arguments; its exit code."""
    monkeypatch.setattr("sys.argv", [f"{name}.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(JOBS / f"{name}.py"), run_name="__main__")
    return caught.value.code


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_what_it_is_named_after(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[Config, tuple[str, ...], bool]] = []

    def record(options: Config, stages: tuple[str, ...], *, goal: str | None) -> None:
        calls.append((options, stages, goal))

    monkeypatch.setattr(jobs, "run_stages", record)
    file = tmp_path / "options.yaml"
    file.write_text("seed: 7\ntrain: {workers: 3}")
    assert start(name, monkeypatch, "--config", str(file), "train.workers=2") == 0
    ((options, stages, goal),) = calls
    assert stages == (() if name == "pipeline" else (name,))
    assert goal == (name if name in ("search", "study") else None)
    assert (options.seed, options.train.workers) == (7, 2)


def test_an_error_is_a_sentence_and_code_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise StoreError("train reads prepare, which has not run", "run that stage first")

    monkeypatch.setattr(jobs, "run_stages", fail)
    assert start("train", monkeypatch) == 2
    assert capsys.readouterr().err == "hnlm: train reads prepare, which has not run; run that stage first.\n"


def test_importing_a_script_runs_nothing() -> None:
    for name in SCRIPTS:
        runpy.run_path(str(JOBS / f"{name}.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_explains_itself(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert start(name, monkeypatch, "--help") == 0
    about = "Run every stage that is not complete yet" if name == "pipeline" else SPECS[name].about
    assert about in capsys.readouterr().out


def test_a_script_starts_from_anywhere(tmp_path: Path) -> None:
    command = [sys.executable, str(JOBS / "ground.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    assert "KEY.PATH=VALUE" in done.stdout
