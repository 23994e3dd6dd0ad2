"""What hears of a run: lines of text, lines of JSON, or bars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hnlm_ray.cli import console, progress
from hnlm_ray.cli.log import log
from hnlm_ray.config.load import load_config
from hnlm_ray.run.plan import PlannedStage, plan
from hnlm_ray.run.progress import WorkDone

PART = WorkDone("mf, trial 1", 3, 40, "epochs", "a line of the part", 2.00004, 18.5)
WORK = WorkDone("search", 5, 20, "trials", "5 of 20 trials done", 0.25, 60.0, "best so far", (PART,))


@pytest.fixture
def stage(tmp_path: Path) -> PlannedStage:
    found = plan(load_config([], [f"run={tmp_path}"]))["prepare"]
    found.artifact.create()
    rows, counts = {"users": 3}, {"users": 3, "share": float("nan")}
    found.artifact.commit({"seconds": 1.5, "rows": rows, "counts": counts, "warnings": ["few users"]})
    return found


def test_a_line_about_work_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = progress.Lines()
    for said in (WORK, WORK, "a sentence", "a sentence", WORK):
        lines.say(said)
    work, sentence = "    5 of 20 trials done\n", "    a sentence\n"
    assert capsys.readouterr().err == work + sentence * 2 + work


def test_a_job_hears_lines_of_text_every_ten_seconds(capsys: pytest.CaptureFixture[str], stage: PlannedStage) -> None:
    with progress.listening(2) as heard:
        heard.started(stage)
        heard.say(WORK)
        heard.finished(stage)
        heard.skipped(stage)
    assert not hasattr(heard.say, "every_s")
    assert capsys.readouterr().err.splitlines() == [
        "▸ prepare",
        "    5 of 20 trials done",
        "✓ prepare: 3 users in 1.5 s · users 3",
        "! few users",
        f"✓ prepare: already complete ({stage.artifact.fingerprint})",
    ]


def test_a_terminal_hears_bars_instead_of_lines_about_work(
    capsys: pytest.CaptureFixture[str], stage: PlannedStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.errors, "_force_terminal", True)
    monkeypatch.setattr(console.errors, "is_interactive", True)
    monkeypatch.setenv("TERM", "xterm")
    with progress.listening(2) as heard:
        heard.started(stage)
        heard.say(WORK)
        heard.say("a sentence")
        heard.finished(stage)
        heard.skipped(stage)
    assert heard.say.every_s == 1.0
    written = capsys.readouterr().err
    assert "5 of 20 trials done" not in written
    assert "a sentence" in written
    assert "2/2 stages" in written


def test_a_terminal_that_cannot_move_its_cursor_hears_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.errors, "_force_terminal", True)
    monkeypatch.setenv("TERM", "dumb")
    with progress.listening(2) as heard:
        heard.say(WORK)
    assert "5 of 20 trials done" in capsys.readouterr().err


def events(text: str) -> list[dict[str, Any]]:
    def refused(constant: str) -> None:
        raise AssertionError(constant)

    return [json.loads(line, parse_constant=refused) for line in text.splitlines()]


def test_lines_of_json_have_all_fields(capsys: pytest.CaptureFixture[str], stage: PlannedStage) -> None:
    with log.as_json(), progress.listening(2) as heard:
        heard.started(stage)
        heard.say(WORK)
        heard.say("a \x1b sentence\nof two lines")
        heard.finished(stage)
        heard.skipped(stage)
    assert not log.is_json
    found = events(capsys.readouterr().err)
    assert all(one.pop("time").endswith("Z") for one in found)
    own = {"stage": "prepare", "fingerprint": stage.artifact.fingerprint}
    part = {"work": "mf, trial 1", "done": 3, "total": 40, "unit": "epochs", "rate": 2.0, "seconds_left": 18.5}
    work = {"work": "search", "done": 5, "total": 20, "unit": "trials", "rate": 0.25, "seconds_left": 60.0}
    assert found == [
        {"level": "info", "event": "stage_started", **own},
        {"level": "info", "event": "progress", "stage": "prepare", **work, "note": "best so far",
         "parts": [{**part, "note": "", "parts": []}]},
        {"level": "info", "event": "message", "stage": "prepare", "message": "a \x1b sentence\nof two lines"},
        {"level": "warning", "event": "message", "stage": "prepare", "message": "few users"},
        {"level": "info", "event": "stage_finished", **own, "seconds": 1.5, "rows": {"users": 3},
         "counts": {"users": 3, "share": None}},
        {"level": "info", "event": "stage_skipped", **own},
    ]  # fmt: skip


def test_work_that_is_no_run_is_said_as_before_where_there_is_no_terminal() -> None:
    said: list[str | WorkDone] = []
    with progress.saying(said.append) as say:
        say(WORK)
    assert said == [WORK]
