"""What code hosts read: how to cite, the forms for issues, and the first screen of the README."""

from __future__ import annotations

import re
import struct
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited.keys() >= {"authors", "cff-version", "message", "title"}  # what the format requires
    assert cited["cff-version"] == "1.2.0"
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    for work in (cited, *cited["references"]):
        assert work["title"]
        assert all({"name"} == set(one) or {"family-names", "given-names"} == set(one) for one in work["authors"])
    assert cited["references"][0]["url"].endswith("2504.04726")


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_is_one(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert form.keys() >= {"body", "description", "name"}
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert {part["type"] for part in fields} <= {"checkboxes", "dropdown", "input", "textarea"}
    assert len({part["id"] for part in fields}) == len(fields)
    assert all(part["attributes"]["label"] for part in fields)


def test_the_files_that_hosts_look_for_are_there() -> None:
    for name in ("CONTRIBUTING.md", "SECURITY.md", "ISSUE_TEMPLATE/config.yml"):
        assert (ROOT / ".github" / name).stat().st_size
    assert len(FORMS) == 2


def test_the_first_screen_has_the_table_two_pictures_and_three_commands() -> None:
    first = README.partition("\n## ")[0]
    assert "| **`ours`**" in first
    pictures = re.findall(r"!\[[^\]]+\]\((docs/pictures/\w+\.png)\)", first)
    assert len(pictures) == 2
    for name in pictures:
        content = (ROOT / name).read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert len(content) < 200_000, name
        width, height = struct.unpack(">II", content[16:24])
        assert width >= 1200
        assert height >= 700
    (commands,) = re.findall(r"```bash\n(.*?)```", first, re.DOTALL)
    assert len(commands.splitlines()) == 3


def test_the_figures_of_the_first_screen_are_those_of_the_results() -> None:
    table = README.partition("Test NDCG@20")[2].partition("\n\nIn a clone")[0]
    figures = set(re.findall(r"\.\d{4}", table))
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert len(figures) >= 20
    assert not [figure for figure in figures if f"| {figure} |" not in results]
