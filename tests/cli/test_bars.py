"""Bars on a terminal: what is under way, its rate and the time left, and nothing that commands the terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from hnlm_ray.cli.bars import Bars
from hnlm_ray.run.progress import WorkDone

TRIALS = tuple(
    WorkDone(f"mf, trial {number}", number, 40, "epochs", "", 2.0, 90.0, "best valid NDCG@20 0.25") for number in (1, 2)
)


def drawn(bars: Bars, width: int = 110) -> list[str]:
    """The lines of the bars as they stand."""
    page = Console(file=io.StringIO(), width=width, force_terminal=False)
    page.print(bars._progress.get_renderable())
    assert isinstance(page.file, io.StringIO)
    return page.file.getvalue().splitlines()


def name_of(line: str) -> str:
    return re.split("[━╸╺]|  ", line.strip())[0].strip()


def bars(stages: int = 0) -> Bars:
    return Bars(Console(file=io.StringIO(), force_terminal=True, width=110), stages)


def test_a_stage_that_says_nothing_has_a_bar_without_an_end() -> None:
    shown = bars(3)
    shown.begin("prepare")
    stages, stage = drawn(shown)
    assert "0/3 stages" in stages
    assert stage.startswith("prepare")
    assert "left" not in stage


def test_work_and_its_parts_have_rates_and_the_time_that_is_left() -> None:
    shown = bars(3)
    shown.begin("search")
    shown.show(WorkDone("search", 5, 20, "trials", "", 0.25, 3700.0, "best so far", TRIALS))
    _, work, *parts = drawn(shown)
    assert "5/20 trials" in work
    assert "4.0 s each" in work
    assert any(f"1:01:{second} left" in work for second in (39, 40))
    assert "best so far" in work
    assert [name_of(part) for part in parts] == ["mf, trial 1", "mf, trial 2"]
    assert all("2.0/s" in part and "/40 epochs" in part for part in parts)


def test_parts_that_have_ended_and_stages_that_are_done_go() -> None:
    shown = bars(3)
    shown.begin("search")
    shown.show(WorkDone("search", 5, 20, "trials", "", parts=TRIALS))
    shown.show(WorkDone("search", 6, 20, "trials", "", parts=TRIALS[1:]))
    assert [name_of(line) for line in drawn(shown)] == ["stages", "search", "mf, trial 2"]
    shown.end()
    (stages,) = drawn(shown)
    assert "1/3 stages" in stages


@pytest.mark.parametrize("width", [40, 80, 200])
def test_lines_are_no_wider_than_the_terminal(width: int) -> None:
    shown = bars(3)
    shown.begin("search")
    shown.show(WorkDone("search", 5, 20, "trials", "", 0.25, 3700.0, "a long note " * 20, TRIALS))
    lines = drawn(shown, width)
    assert len(lines) == 4
    assert all(len(line) <= width for line in lines)


def test_no_name_or_note_commands_the_terminal() -> None:
    shown = bars()
    shown.show(WorkDone("\x1b[31mred\x07", 1, 2, "epochs", "", note="\x9b2J [bold]"))
    (line,) = drawn(shown, 200)
    assert r"\x1b[31mred\x07" in line
    assert r"\x9b2J [bold]" in line
    assert not {*line} & set("\x1b\x07\x9b")


def test_the_cursor_is_shown_again_when_they_are_closed() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with Bars(console, 1) as shown:
        shown.begin("prepare")
        console.print("a line above")
    assert isinstance(console.file, io.StringIO)
    written = console.file.getvalue()
    assert "a line above" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
