from __future__ import annotations

import importlib
import typing
from pathlib import Path

import pytest

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data.files import UsualNames, find_files, open_folder
from hnlm_ray.data.formats import interaction_files, item_files
from hnlm_ray.errors import DataError


def names(paths: tuple[str, ...], root: Path) -> list[str]:
    return [str(Path(path).relative_to(root)) for path in paths]


def test_the_first_usual_name_decides_and_given_ones_go_before(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "x.csv", ".hidden.json", "deep/er/c.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder = open_folder(str(tmp_path))
    assert names(find_files(folder, "o", None, ("*.gz", "*.json")).paths, tmp_path) == ["a.json", "b.json"]
    assert names(find_files(folder, "o", "deep/*/c.json", ("*.json",)).paths, tmp_path) == ["deep/er/c.json"]
    with pytest.raises(
        DataError, match=r"no file 'y\.csv' \(it holds a\.json, b\.json, .*name the file with data\.items"
    ):
        find_files(folder, "data.items", "y.csv", ("*.json",))


def test_metadata_is_not_taken_for_reviews(tmp_path: Path) -> None:
    for name in ("Toys.json", "meta_Toys.json"):
        (tmp_path / name).touch()
    config = DataConfig(format="amazon2018", path=str(tmp_path))
    folder = open_folder(str(tmp_path))
    assert names(interaction_files(folder, config).paths, tmp_path) == ["Toys.json"]
    assert names(item_files(folder, config).paths, tmp_path) == ["meta_Toys.json"]


def test_that_there_are_no_items_must_be_said(tmp_path: Path) -> None:
    (tmp_path / "toy.inter").touch()
    folder = open_folder(str(tmp_path))
    with pytest.raises(DataError, match=r"no file \*\.item or \*\.item\.gz"):
        item_files(folder, DataConfig(format="recbole", path=str(tmp_path)))
    assert item_files(folder, DataConfig(format="recbole", path=str(tmp_path), items="")).paths == ()


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="does not exist"):
        open_folder(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="is a file"):
        open_folder(str(tmp_path / "file"))
    for address in ("ftp://host/folder", "foo://x"):
        with pytest.raises(DataError, match=f"{address} is no place that can be reached"):
            open_folder(address)


def test_a_tilde_is_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "u.data").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_folder("~/raw").names == ("u.data",)


def test_every_format_but_the_generated_one_has_a_reader() -> None:
    for name in typing.get_args(DataConfig.model_fields["format"].annotation):
        if name != "demo":
            module = importlib.import_module(f"hnlm_ray.data.{name}")
            assert isinstance(module.NAMES, UsualNames), name
            assert {"raw_tables"} <= set(vars(module)) or {"parse_interactions", "parse_items"} <= set(vars(module))
