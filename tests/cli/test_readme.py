"""Commands, options and files that the documentation names exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from hnlm_ray.cli.main import app
from hnlm_ray.config.load import load_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").glob("*.md")])
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def commands(page: Path) -> list[str]:
    """The lines of code blocks that call ``hnlm``, with their continuations."""
    blocks = (text.replace("\\\n", " ") for _, text in BLOCK.findall(page.read_text()))
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip().startswith("hnlm ")]


def test_commands_are_found() -> None:
    assert len(commands(ROOT / "README.md")) >= 9


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_parses(page: Path) -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for line in commands(page):
        words = shlex.split(line.partition(" | ")[0], comments=True)[1:]
        name, *arguments = [word for word in words if word != "..." and not word.startswith("$")]
        assert name in group.commands, line
        context = group.commands[name].make_context(name, arguments)
        given = context.params.get("words") or []
        assert all("=" in word or word.startswith("runs/") for word in given), line


def test_the_configuration_of_the_readme_is_valid(tmp_path: Path) -> None:
    (text,) = [text for kind, text in BLOCK.findall((ROOT / "README.md").read_text()) if kind == "yaml"]
    mine = tmp_path / "mine.yaml"
    mine.write_text(text)
    config = load_config([Path("table"), mine])
    assert config.data.path == yaml.safe_load(text)["data"]["path"]
    assert config.data.format == "table"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_linked_file_exists(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_folder_of_the_package_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"`(\w+)`", text[text.index("## Find your way") :]))
    rooms = {path.name for path in (ROOT / "hnlm_ray").iterdir() if (path / "__init__.py").is_file()}
    assert rooms - {"kernels", "testing"} <= named
