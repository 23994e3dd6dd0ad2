"""What is printed is what was meant: text from elsewhere is never read as markup."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hnlm_ray.cli import console
from hnlm_ray.cli.main import app
from hnlm_ray.cli.progress import Lines
from hnlm_ray.language.estimate import Estimate, StageEstimate
from hnlm_ray.run.store import RunStore
from tests.report.test_study import table

FOREIGN = "[bold]x[/] :warning: [/nothing] 'hnlm-ray[cpu]'"


@pytest.mark.parametrize("mark", ["ok", "warn", "fail"])
def test_a_marked_line_prints_its_text_as_it_is(mark: console.Mark, capsys: pytest.CaptureFixture[str]) -> None:
    console.print_marked(mark, FOREIGN, subject="[dim]subject")
    assert capsys.readouterr().out[2:] == f"[dim]subject {FOREIGN}\n"


def test_progress_prints_what_a_stage_says_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().say(FOREIGN)
    assert capsys.readouterr().err == f"    {FOREIGN}\n"


def test_no_text_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    foreign = "a\x1b[31mred\x1b]0;title\x07 \x9b2J \u202eleft\r\tb"
    console.errors.print(foreign, style="red")
    console.print_marked("ok", foreign, subject=foreign)
    table = console.new_table(foreign, foreign)
    table.add_row(foreign)
    console.output.print(table)
    out, err = capsys.readouterr()
    assert not {*out, *err} & set("\x1b\x07\x9b\u202e\r")
    assert r"a\x1b[31mred\x1b]0;title" in err
    assert r"\x9b2J \u202eleft" in err
    assert out.count(r"\x1b[31mred") == 5


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


def test_the_counts_and_warnings_of_prepare_are_shown_with_the_run(tmp_path: Path) -> None:
    lines = [f"u{n % 10},i{n % 7},{1_500_000_000_000 + n}" for n in range(80)]
    (tmp_path / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines, "nan,i1,1500000000000"]))
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"i{n},Thing {n}\n" for n in range(6)))
    options = ["data.format=table", f"data.path={tmp_path}", f"run={tmp_path / 'run'}", "llm.model=x", "embed.model=y"]
    made = CliRunner().invoke(app, ["run", *options, "--stage", "prepare"])
    assert made.exit_code == 0, made.output
    shown = CliRunner().invoke(app, ["status", *options]).stdout
    for name, count in (("pairs repeated", 10), ("timestamps in milliseconds", 80), ("interactions without id", 1)):
        assert [line for line in shown.splitlines() if name in line and f" {count} " in line], shown
    assert "10 of 80 (12.5%) interactions repeat a pair" in shown
    assert "such as 'i6', while the items have ids such as 'i0'" in shown
    assert "lines malformed" not in shown


def test_an_estimate_shows_the_cost_or_that_it_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    known, unknown = (StageEstimate(name, 10, 100, 50, 80, hours) for name, hours in (("vectors", 2.5), ("tune", None)))
    console.print_estimate(Estimate((known,), ("a [note]",)), 4.0)
    printed = capsys.readouterr().out
    assert "cost" in printed
    assert printed.count("10.00") == 2
    assert "a [note]" in printed
    console.print_estimate(Estimate((known, unknown), ()))
    printed = capsys.readouterr().out
    assert "cost" not in printed
    assert printed.count("not known") == 2  # of the stage, and so of all


def test_a_study_says_how_many_trials_each_variant_had_and_which_options_were_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = RunStore(str(tmp_path)).artifact("study", "abc")
    artifact.create()
    artifact.write("study", table())
    console.print_study(artifact)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "gcn" in line and "0.2510" in line]
    assert [cell.strip() for cell in line.split("│")][-3:-1] == ["2", "dim=8"]
