"""``--json``: one document on standard output, with the fields that docs/output.md describes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hnlm_ray.cli import doctor as doctor_module
from hnlm_ray.cli import documents
from hnlm_ray.cli.doctor import Finding
from hnlm_ray.cli.main import app
from hnlm_ray.language.estimate import Estimate, StageEstimate
from tests.cli.small_run import write_small_run
from tests.report.small_runs import values, write_run

PAGE = Path(__file__).parents[2] / "docs" / "output.md"
FREE = {"rows", "counts"}
"""Fields whose keys are names of tables and counts."""


def described(command: str) -> set[str]:
    """The fields that the page names in the section of a command."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n**{command}**\n")[2].partition("\n**")[0]
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    return {name.strip(".[]") for name in re.findall(r"`([\w.\[\]]+)`", "".join(rows))}


def fields(value: Any) -> Iterator[str]:
    """Every key of a document."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield key
        if key not in FREE:
            yield from fields(inner)
    for inner in value if isinstance(value, list) else ():
        yield from fields(inner)


def document(command: str, *words: str, code: int = 0) -> Any:
    """What a command prints; checks that it is one document with described fields alone."""
    done = CliRunner().invoke(app, [command, *words, "--json"])
    assert done.exit_code == code, done.output
    found = json.loads(done.stdout)
    assert set(fields(found)) <= described(command)
    return found


def test_the_status_of_a_run(tmp_path: Path) -> None:
    config = write_small_run(tmp_path / "run")
    found = document("status", config.run)
    assert (found["run"], found["complete"], found["changed"]) == (config.run, True, None)
    assert {stage["state"] for stage in found["stages"]} == {"complete"}
    fit = next(stage for stage in found["stages"] if stage["stage"] == "train.dns.s0")
    assert (fit["kind"], fit["variant"], fit["seed"], fit["seconds"]) == ("train", "dns", 0, 2.0)
    assert Path(fit["path"], "manifest.json").is_file()
    assert set(fields(found)) == described("status") - {"damaged", "interrupted", "pending"}  # which are states


def test_the_status_of_stages_that_are_not_complete(tmp_path: Path) -> None:
    config = write_small_run(tmp_path / "run")
    prepare, evaluate = ("prepare", "evaluate")
    paths = {stage["stage"]: Path(stage["path"]) for stage in document("status", config.run)["stages"]}
    (paths[prepare] / "manifest.json").write_text("{}")
    (paths[evaluate] / "manifest.json").unlink()
    found = {stage["stage"]: stage for stage in document("status", config.run)["stages"]}
    assert (found[prepare]["state"], found[evaluate]["state"]) == ("damaged", "interrupted")
    assert "manifest.json" in found[prepare]["problem"]
    assert (found[evaluate]["seconds"], found[evaluate]["rows"]) == (None, {})


def test_a_status_that_fails_prints_no_document(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["status", str(tmp_path / "none"), "--json"])
    assert done.exit_code != 0
    assert done.stdout == ""


def test_problems_and_warnings_of_a_configuration(tmp_path: Path) -> None:
    place = tmp_path / "\u202enone"
    options = ["data.format=table", f"data.path={place}", f"run={tmp_path}"]
    found = document("validate", *options, code=2)
    assert found["ok"] is False
    assert any(str(place) in problem for problem in found["problems"])
    assert any("embed.model" in warning for warning in found["warnings"])
    done = CliRunner().invoke(app, ["validate", *options, "--json"])
    assert done.stdout.isascii()
    assert done.stderr == ""


def test_a_configuration_without_problems(tmp_path: Path) -> None:
    assert document("validate", f"run={tmp_path}", "llm.engine=scripted", "embed.engine=scripted")["ok"] is True


@pytest.mark.parametrize(("verdict", "code"), [("warn", 0), ("fail", 2)])
def test_the_findings_of_the_doctor(verdict: Any, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Finding("disk", verdict, "5 GiB."), Finding("memory", "ok", "16 GiB.")]
    monkeypatch.setattr(doctor_module, "examine", lambda config: found)
    assert document("doctor", code=code) == {
        "ok": code == 0,
        "findings": [
            {"subject": "disk", "verdict": verdict, "sentence": "5 GiB."},
            {"subject": "memory", "verdict": "ok", "sentence": "16 GiB."},
        ],
    }


def test_an_estimate_has_sums_only_of_what_is_known() -> None:
    known, unknown = (StageEstimate(name, 10, 100, 50, 80, hours) for name, hours in (("vectors", 2.5), ("tune", None)))
    found = documents.estimated(Estimate((known,), ("a note",)), 4.0)
    assert (found["engine_hours"], found["cost"], found["notes"]) == (2.5, 10.0, ["a note"])
    assert set(fields(found)) == described("estimate")
    partly = documents.estimated(Estimate((known, unknown), ()), 4.0)
    assert (partly["engine_hours"], partly["cost"]) == (None, None)
    assert [stage["cost"] for stage in partly["stages"]] == [10.0, None]
    assert documents.estimated(Estimate((known,), ()), None)["cost"] is None


def test_the_comparison_of_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "old", {"uniform": {0: values(0.20, 0), 1: values(0.22, 1)}, "dns": {0: values(0.30, 2)}})
    write_run(tmp_path / "new", {"uniform": {0: values(0.21, 3)}})
    page = tmp_path / "compare.html"
    found = document("compare", str(tmp_path / "old"), str(tmp_path / "new"), "--out", str(page))
    assert (found["page"], found["cutoff"]) == (str(page), 20)
    assert page.is_file()
    first, *others = found["methods"]
    assert first["method"] == found["baseline"]
    assert first["differences"] == {}
    assert all(other["differences"]["ndcg"]["verdict"] for other in others)
    assert found["chosen"] in [method["method"] for method in found["methods"]]
    assert set(fields(found)) == described("compare")
