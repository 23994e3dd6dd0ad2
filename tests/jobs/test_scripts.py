from __future__ import annotations

import ast
from pathlib import Path

import pytest

from hnlm_ray.run.specs import SPECS

JOBS = Path(__file__).resolve().parents[2] / "jobs"
SCRIPTS = {path.stem: path for path in JOBS.glob("*.py") if path.stem != "train_demo_llm"}


def test_there_is_one_script_per_stage_and_one_for_all() -> None:
    assert set(SCRIPTS) == {*SPECS, "pipeline"}


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_script_names_its_stage_and_does_nothing_else(name: str) -> None:
    tree = ast.parse(SCRIPTS[name].read_text())
    assert ast.get_docstring(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [ast.unparse(call) for call in calls] == ["job()" if name == "pipeline" else f"job(({name!r},))"]
    assert len(tree.body) == 3  # docstring, import, call
