"""The costs in docs/scale.md are those that the command in it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_row_of_the_plan_stands_in_the_page() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "plan.py")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    rows = [line for line in printed if re.search(r"\d", line)]
    assert len(rows) == 13
    for row in rows:
        name, figures = re.fullmatch(r"\| (.*?) (\|.*)", row).groups()
        lines = [line for line in page.splitlines() if line.endswith(figures)]
        assert lines, row
        assert any(re.sub(r"\W", "", line).startswith(re.sub(r"\W", "", name)[:12]) for line in lines), row
