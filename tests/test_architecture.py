"""Who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hnlm_ray"
MODULES = sorted(PACKAGE.rglob("*.py"))
PURE = {"data", "prompts", "samplers", "models", "semantics", "evaluation"}
FLOORS = [
    {
        "errors",
        "tables",
        "seeds",
        "compiled",
        "config",
        "store",
        "stage",
        "assets",
        "cluster",
        "heartbeat",
        "ingress",
        "section",
        "tune_config",
        "kept",
        "places",
        "variants",
        "search",
        "serve_config",
    },
    PURE,
    {"llm", "training", "serving"},
    {"stages", "testing", "identity"},
    {"pipeline", "validation", "doctor"},
    {"console"},
    {"showcase"},
    {"cli"},
]
ENGINES = {"ray", "vllm", "deepspeed"}


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_of(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imported(path) if name.startswith("hnlm_ray.")}
    return {name for name in names if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()}


def floor(name: str) -> int:
    return next(number for number, names in enumerate(FLOORS) if name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_look_only_downstairs(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        assert rooms_of(path) <= {"serving"}  # loaded when it is asked for, see test_importing_loads_neither...
        return
    for other in rooms_of(path):
        assert floor(other) <= floor(here), f"{path.name} imports {other}"
    if here in PURE:
        engines = {name.split(".")[0] for name in imported(path)} & ENGINES
        assert not engines, f"{path.name} is pure and imports {engines}"
    if here == "stages":
        assert not {name for name in imported(path) if name.startswith("hnlm_ray.stages.")}
    if here == "serving":
        assert not rooms_of(path) & {"training", "semantics", "llm"}


def test_only_its_own_modules_import_vllm() -> None:
    users = {str(p.relative_to(PACKAGE)) for p in MODULES if {n.split(".")[0] for n in imported(p)} & {"vllm"}}
    assert users <= {"llm/vllm.py", "llm/vllm_body.py"}


def test_only_one_module_starts_ray() -> None:
    starters = {p.name for p in MODULES if "ray.init(" in p.read_text()}
    assert starters <= {"cluster.py"}


@pytest.mark.parametrize("module", ["hnlm_ray", "hnlm_ray.cli", "hnlm_ray.pipeline", "hnlm_ray.config"])
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
