"""``--log-format json``: one object a line on standard error, and nothing else there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hnlm_ray.cli import runs
from hnlm_ray.cli.log import asks_for_json
from hnlm_ray.errors import StoreError
from tests.cli.test_main import ending, raising

JSON = ("--log-format", "json")


def only(text: str) -> dict[str, Any]:
    (line,) = text.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert found.pop("time").endswith("Z")
    return found


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["run", "--log-format", "json"], True),
        (["run", "--log-format=json", "x"], True),
        (["run", "--log-format", "text"], False),
        (["run", "json"], False),
        (["run", "--log-format"], False),
    ],
)
def test_json_is_written_where_it_is_asked_for(words: list[str], asked: bool) -> None:
    assert asks_for_json(words) == asked


def test_an_error_of_the_user_has_a_problem_and_a_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "run_stages", raising(StoreError("runs/[a] is read-only", "give another run=")))
    assert ending(monkeypatch, "run", *JSON) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert only(err) == {
        "level": "error", "event": "error", "kind": "StoreError", "problem": "runs/[a] is read-only",
        "remedy": "give another run=", "exit_code": 2,
    }  # fmt: skip


@pytest.mark.parametrize("words", [("run", "--nope", *JSON), ("nope", *JSON), ("run", "--stage", *JSON[:1], *JSON)])
def test_a_command_line_that_cannot_be_read_is_an_error_like_any_other(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(monkeypatch, *words) == 2
    found = only(capsys.readouterr().err)
    assert (found["event"], found["kind"], found["exit_code"]) == ("error", "ConfigError", 2)


def test_an_option_with_dashes_is_an_error_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(monkeypatch, "run", *JSON, "--train.workers", "2") == 2
    assert only(capsys.readouterr().err)["remedy"] == "write train.workers=2"


def test_a_bug_has_its_traceback_in_a_field(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "run_stages", raising(ZeroDivisionError("by 0")))
    assert ending(monkeypatch, "run", *JSON) == 1
    found = only(capsys.readouterr().err)
    assert (found["event"], found["problem"], found["exit_code"]) == ("bug", "ZeroDivisionError: by 0", 1)
    assert found["traceback"].startswith("Traceback")


def test_an_interrupt_is_an_event(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(runs, "run_stages", raising(KeyboardInterrupt()))
    assert ending(monkeypatch, "run", *JSON) == 130
    found = only(capsys.readouterr().err)
    assert (found["event"], found["signal"], found["exit_code"]) == ("stopped", "SIGINT", 130)
    assert (found["problem"], found["remedy"]) == ("interrupted", "the same command goes on where this one stopped")


def test_a_command_that_is_done_ends_with_0_and_its_results_on_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(monkeypatch, "status", *JSON, f"run={tmp_path / 'run'}") == 0
    out, err = capsys.readouterr()
    assert "pending" in out
    assert err == ""


def test_an_unknown_format_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(monkeypatch, "status", "--log-format", "yaml") == 2
    assert "--log-format" in capsys.readouterr().err


OTHERS = """
import os, sys, warnings
from hnlm_ray.cli.endings import errors_as_sentences
from hnlm_ray.cli.log import log
with errors_as_sentences(True):
    log.event("message", message="own")
    sys.stderr.write("of Python\\n")
    os.write(2, b"native \\xff\\nand more\\n")
    warnings.warn("a warning")
    os.system("echo of a child >&2")
    {end}
"""


@pytest.mark.parametrize(
    ("end", "code", "last"), [("log.event('message', message='end')", 0, "end"), ("os.abort()", -6, None)]
)
def test_what_others_write_to_standard_error_is_an_event_even_where_the_process_crashes(
    end: str, code: int, last: str | None
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OTHERS.format(end=end)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code
    found = [json.loads(line) for line in done.stderr.splitlines()]
    said = {one["message"] for one in found if one["event"] == "output"}
    assert {"of Python", "native \\xff", "and more", "of a child"} <= said
    assert any("a warning" in one for one in said)
    own = [one["message"] for one in found if one["event"] == "message"]
    assert own == ["own", *([last] if last else [])]
    assert done.stdout == ""
