"""What a shell proposes, and that it costs little."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hnlm_ray.cli import completion
from hnlm_ray.cli.main import app
from hnlm_ray.config.load import shipped_configs
from hnlm_ray.run.specs import SPECS
from tests.cli.small_run import write_small_run

SCRIPT = """
import sys
sys.argv = ["hnlm"]
from hnlm_ray.cli.main import main
try:
    main()
finally:
    print("heavy:", *({"numpy", "pyarrow", "ray", "torch"} & set(sys.modules)))
"""


def proposed(*words: str, folder: Path | None = None) -> list[str]:
    """What bash is told for the last of the words; checks that nothing heavy was loaded."""
    variables = {
        "_HNLM_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("hnlm", *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, **variables}, cwd=folder, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    *lines, heavy = done.stdout.splitlines()
    assert heavy == "heavy:"
    return [line for line in lines if line]


def test_commands_and_kinds_of_stages_are_proposed() -> None:
    assert proposed("st") == ["study", "status"]
    assert proposed("run", "--until", "t") == ["tokens", "train", "tune"]
    assert set(completion.stages("")) == SPECS.keys()


def test_configurations_are_proposed(tmp_path: Path) -> None:
    (tmp_path / "demonstration.yaml").touch()
    shipped = [name for name in shipped_configs() if name.startswith("demo")]
    assert proposed("run", "-c", "demo", folder=tmp_path) == [*shipped, "demonstration.yaml"]
    assert completion.config_files(f"{tmp_path}/") == [f"{tmp_path}/demonstration.yaml"]


def test_runs_and_their_variants_are_proposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_small_run(tmp_path / "runs" / "mine")
    (tmp_path / "runs" / "other").mkdir()
    assert proposed("status", "runs/", folder=tmp_path) == ["runs/mine"]
    assert proposed("export", "shelf", "runs/mine", "--variant", "", folder=tmp_path) == ["uniform", "dns"]
    monkeypatch.chdir(tmp_path)
    assert completion.run_folders("") == ["runs/mine"]
    assert completion.run_folders(f"{tmp_path}/runs/m") == [f"{tmp_path}/runs/mine"]


def test_variants_of_configuration_files_are_proposed_and_none_of_a_wrong_one(tmp_path: Path) -> None:
    assert "graph_hard" in proposed("study", "-c", "study", "--against", "graph")
    (tmp_path / "wrong.yaml").write_text("trin: {}")
    assert proposed("study", "-c", str(tmp_path / "wrong.yaml"), "--against", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(shell: str) -> None:
    done = CliRunner().invoke(app, ["--show-completion", shell], prog_name="hnlm")
    assert done.exit_code == 0, done.output
    assert "_HNLM_COMPLETE" in done.stdout


def test_completion_is_installed_for_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    done = CliRunner().invoke(app, ["--install-completion", "bash"], prog_name="hnlm")
    assert done.exit_code == 0, done.output
    (script,) = [path for path in tmp_path.rglob("*") if path.is_file() and path.name == "hnlm.sh"]
    assert "_HNLM_COMPLETE=complete_bash" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()
