"""Which room may import which, and what importing costs. docs/architecture.md draws the same graph."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hnlm_ray"
MODULES = sorted(PACKAGE.rglob("*.py"))
FLOOR = {"errors", "seeds", "tables"}
"""The three modules that everything may import."""

GRAPH = {
    "config": set(),
    "language/prompts": {"config"},
    "language/engines": {"cluster", "config", "demo/assets", "language/prompts"},
    "run": {"config", "demo/assets", "language/prompts"},
    "cluster": {"config", "run"},
    "kernels": set(),
    "data": {"config", "kernels", "run"},
    "models": {"config", "data", "kernels", "run"},
    "samplers": {"config", "data", "kernels"},
    "language": {"cluster", "config", "data", "demo/assets", "kernels", "language/engines", "language/prompts", "run"},
    "evaluation": {"config", "data", "kernels", "models", "run", "samplers"},
    "training": {"config", "data", "kernels", "models", "run", "samplers"},
    "tuning": {"config", "data", "demo/assets", "kernels", "language/engines", "models", "run", "training"},
    "report": {"config", "evaluation", "run"},
    "serving/bundle": {"kernels", "run"},
    "serving/recommend": {"config", "data", "kernels", "run", "serving/bundle"},
    "serving/http": {"config", "run", "serving/recommend"},
    "serving": {"cluster", "config", "run", "serving/bundle", "serving/http", "serving/recommend"},
    "demo/assets": set(),
    "demo": {"config", "data", "kernels", "language/prompts", "run", "training"},
    "stages": {
        "cluster", "config", "data", "demo", "demo/assets", "evaluation", "kernels", "language", "language/engines",
        "models", "report", "run", "serving/bundle", "serving/recommend", "training", "tuning",
    },
    "tracking": {"cluster", "config", "run", "training"},
    "testing": {"config", "data", "kernels", "models", "samplers", "training", "tuning"},
    "frames": {
        "config", "data", "evaluation", "kernels", "models", "serving/bundle", "serving/recommend", "training",
    },
    "exchange": {"config", "evaluation", "kernels", "report", "run", "serving/bundle"},
    "cli": {
        "cluster", "config", "data", "demo", "demo/assets", "exchange", "language", "report", "run", "serving",
        "serving/bundle", "serving/recommend", "tracking",
    },
}  # fmt: skip
"""Room to the rooms that it imports, besides :data:`FLOOR`; a room is a folder of modules."""

PURE = {"config", "data", "demo/assets", "evaluation", "kernels", "language/prompts", "models", "report", "samplers"}
PURE |= {"exchange", "frames", "serving/bundle", "serving/http", "serving/recommend"}
ENGINES = {"ray", "vllm", "deepspeed"}


def name_of(path: Path) -> str:
    return ".".join(["hnlm_ray", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


FILES = {name_of(path): path for path in MODULES}


def room(module: str) -> str:
    folder = FILES[module].parent.relative_to(PACKAGE)
    return module.rpartition(".")[2] if folder == Path() else folder.as_posix()


def imported(path: Path) -> Iterator[str]:
    """Modules of the package by their names, others by the name that the import gives."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in FILES else node.module for name in full)


def rooms_of(path: Path) -> set[str]:
    return {room(name) for name in imported(path) if name in FILES and name != "hnlm_ray"}


def test_the_graph_of_rooms_is_the_one_that_is_written_down() -> None:
    found: dict[str, set[str]] = {}
    for module, path in FILES.items():
        here = room(module)
        found.setdefault(here, set()).update(rooms_of(path) - FLOOR - {here})
    assert found.pop("hnlm_ray") <= {"frames", "serving/recommend"}  # loaded when it is asked for
    for name in FLOOR:
        assert not found.pop(name)
    assert found == GRAPH


def reached(name: str, graph: Mapping[str, set[str]]) -> set[str]:
    """Everything that a way of arrows leads to."""
    found: set[str] = set()
    queue = [*graph[name]]
    for other in queue:
        if other not in found:
            found.add(other)
            queue += graph[other]
    return found


def test_the_page_draws_the_graph_without_its_shortcuts() -> None:
    needed = {
        (here, there)
        for here, others in GRAPH.items()
        for there in others
        if not any(there in reached(other, GRAPH) for other in others - {there})
    }
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert (
        set(re.findall(r"^  ([\w/]+) --> ([\w/]+)$", page.partition("flowchart BT")[2].partition("```")[0], re.M))
        == needed
    )


def test_there_is_no_circle_of_rooms_or_of_modules() -> None:
    modules = {
        name: {other for other in imported(path) if other in FILES and "hnlm_ray" not in (name, other)} - {name}
        for name, path in FILES.items()
    }
    for graph in (GRAPH, modules):
        assert set(TopologicalSorter(graph).static_order()) == set(graph), "each comes after what it imports"


def test_the_floor_stays_clear() -> None:
    assert len([path for path in PACKAGE.iterdir() if path.name != "__pycache__"]) <= 25
    long = {path.name: count for path in MODULES if (count := len(path.read_text().splitlines())) > 350}
    assert long.keys() <= {"tables.py"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_pure_rooms_import_no_engine(path: Path) -> None:
    if room(name_of(path)) in PURE:
        engines = {name.split(".")[0] for name in imported(path)} & ENGINES
        assert not engines, f"{path.name} is pure and imports {engines}"


def test_no_stage_imports_another() -> None:
    for path in (PACKAGE / "stages").glob("*.py"):
        assert "stages" not in rooms_of(path), path


def test_only_its_own_modules_import_vllm() -> None:
    users = {str(p.relative_to(PACKAGE)) for p in MODULES if {n.split(".")[0] for n in imported(p)} & {"vllm"}}
    assert users <= {"language/engines/vllm.py", "tuning/vllm_body.py"}


def test_only_one_module_starts_ray() -> None:
    starters = {str(p.relative_to(PACKAGE)) for p in MODULES if "ray.init(" in p.read_text()}
    assert starters <= {"cluster/connect.py"}


@pytest.mark.parametrize("module", ["hnlm_ray", "hnlm_ray.cli.main", "hnlm_ray.run.plan", "hnlm_ray.config.load"])
def test_importing_loads_neither_torch_nor_ray(module: str) -> None:
    script = f"import {module}, sys; print(sorted({{'torch', 'ray', 'vllm', 'pandas'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_no_pickle_on_disk() -> None:
    banned = ("pickle.load", "pickle.dump", "torch.load", "joblib", "trust_remote_code=True", "allow_pickle=True")
    for path in MODULES:
        text = path.read_text()
        assert not [word for word in banned if word in text], path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_names_are_listed_and_sorted(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            names = ast.literal_eval(node.value)
            assert names == sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n)) or names == sorted(
                names
            )
