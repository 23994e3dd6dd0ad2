"""What is printed is what was meant: text from elsewhere is never read as markup."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hnlm_ray.cli import console
from hnlm_ray.cli.main import app

FOREIGN = "[bold]x[/] :warning: [/nothing] 'hnlm-ray[cpu]'"


@pytest.mark.parametrize("mark", ["ok", "warn", "fail"])
def test_a_marked_line_prints_its_text_as_it_is(mark: console.Mark, capsys: pytest.CaptureFixture[str]) -> None:
    console.print_marked(mark, FOREIGN, subject="[dim]subject")
    assert capsys.readouterr().out[2:] == f"[dim]subject {FOREIGN}\n"


def test_progress_prints_what_a_stage_says_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.listener().say(FOREIGN)
    assert capsys.readouterr().err == f"    {FOREIGN}\n"


def test_a_problem_keeps_its_brackets(tmp_path: Path) -> None:
    path = tmp_path / "[bold]none"
    done = CliRunner().invoke(app, ["validate", "data.format=table", f"data.path={path}", f"run={tmp_path}"])
    assert done.exit_code == 2
    assert str(path) in done.stderr


def test_the_title_of_a_table_keeps_its_brackets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["status", "run=runs/[bold]x[/]"])
    assert done.exit_code == 0, done.output
    assert "Run runs/[bold]x[/]" in done.stdout
