"""``make audit`` with a stub in the place of pip-audit."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "requirements" / "audit.py"
PROBED = {"name": "jinja2", "version": "2.10", "vulns": [{"id": "OLD-1", "fix_versions": ["2.10.1"], "aliases": []}]}
SOUND = {"name": "numpy", "version": "2.1.0", "vulns": []}
POOR = {"name": "left", "version": "1.0", "vulns": [{"id": "PYSEC-9", "fix_versions": ["1.1"], "aliases": ["CVE-7"]}]}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found on PyPI"}

STUB = """#!{python}
import json, sys, time
probe, locks = json.load(open({answers!r}))
pins = open(sys.argv[-1]).read().split()
if len(pins) != len({{pin.partition("==")[0] for pin in pins}}):
    sys.exit("duplicate requirements")
said = probe if pins == ["jinja2==2.10"] else locks if "numpy==2.1.0" in pins else []
if said == "silence":
    time.sleep(60)
if isinstance(said, str):
    sys.exit(said)
print(json.dumps({{"dependencies": said, "fixes": []}}))
sys.exit(1 if any(one.get("vulns") for one in said) else 0)
"""


def audit(
    folder: Path, probe: list[dict[str, Any]] | str, locks: list[dict[str, Any]] | str, accepted: str = ""
) -> tuple[int, list[str]]:
    """Status and lines of a copy of the script, with a source that answers so; a string is why there is no report."""
    (folder / "bin").mkdir()
    shutil.copy(SCRIPT, folder)
    source = (folder / SCRIPT.name).read_text()
    (folder / SCRIPT.name).write_text(source.replace("PROBE_S, AUDIT_S = 10, 300", "PROBE_S, AUDIT_S = 10, 2"))
    pins = {"cpu": "numpy==2.1.0", "gpu": "numpy==2.1.0\nvllm==1.0", "dev": "numpy==2.1.0\nvllm==2.0"}
    for name, lines in pins.items():
        (folder / f"{name}.lock").write_text("".join(f"{line} \\\n    --hash=sha256:0\n" for line in lines.split()))
    (folder / "audit_accepted.txt").write_text(accepted)
    (folder / "answers.json").write_text(json.dumps([probe, locks]))
    stub = folder / "bin" / "pip-audit"
    stub.write_text(STUB.format(python=sys.executable, answers=str(folder / "answers.json")))
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    environment = {**os.environ, "PATH": str(folder / "bin")}
    command = [sys.executable, str(folder / SCRIPT.name)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_without_a_known_vulnerability_it_passes(tmp_path: Path) -> None:
    status, lines = audit(tmp_path, [PROBED], [SOUND, UNKNOWN])
    assert status == 0
    assert lines == [
        "audit: no known vulnerability in 1 packages",
        "audit: 1 packages are not known to the source",
    ]


def test_a_known_vulnerability_fails_with_its_name(tmp_path: Path) -> None:
    status, lines = audit(tmp_path, [PROBED], [SOUND, POOR])
    assert status == 1
    assert lines == ["left 1.0: PYSEC-9, fixed in 1.1"]


@pytest.mark.parametrize("name", ["PYSEC-9", "CVE-7"])
def test_an_accepted_one_passes_by_any_of_its_names(tmp_path: Path, name: str) -> None:
    status, lines = audit(
        tmp_path, [PROBED], [POOR], f"# comments\n{name} only its server is, which is never started\n"
    )
    assert (status, lines) == (0, ["audit: no known vulnerability in 1 packages"])


@pytest.mark.parametrize(
    ("probe", "locks", "reason"),
    [
        ("cannot connect", [SOUND], "cannot connect"),
        ([{**PROBED, "vulns": []}], [SOUND], "does not know of a package that is known to be vulnerable"),
        ([UNKNOWN], [SOUND], "does not know of a package that is known to be vulnerable"),
        ([PROBED], "reset by peer", "reset by peer"),
        ([PROBED], "silence", "no answer within 2 s"),
    ],
)
def test_without_a_source_it_is_skipped_with_one_line(tmp_path: Path, probe: Any, locks: Any, reason: str) -> None:
    status, lines = audit(tmp_path, probe, locks)
    assert status == 0
    [line] = lines
    assert line.startswith("audit: skipped, no source of advisories can be reached (")
    assert reason in line


def test_the_accepted_ones_of_this_project_have_reasons() -> None:
    lines = (SCRIPT.parent / "audit_accepted.txt").read_text().splitlines()
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines if line.strip())
