from __future__ import annotations

import importlib
import typing
from pathlib import Path

import pytest

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data.files import DataFolder, UsualNames, find_files, has_extension, open_folder, split_of
from hnlm_ray.data.formats import interaction_files, item_files
from hnlm_ray.errors import DataError


def names(paths: tuple[str, ...], root: Path) -> list[str]:
    return [str(Path(path).relative_to(root)) for path in paths]


def write(folder: Path, *names: str) -> DataFolder:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return open_folder(str(folder))


def test_the_first_usual_name_decides_and_given_ones_go_before(tmp_path: Path) -> None:
    folder = write(tmp_path, "b_2.json", "b_1.json", "x.csv", ".hidden.json", "_spark/y.json", "deep/er/c.json")
    assert names(find_files(folder, "o", None, ("*.gz", "*.json")).paths, tmp_path) == ["b_1.json", "b_2.json"]
    assert names(find_files(folder, "o", "deep/*/c.json", ("*.json",)).paths, tmp_path) == ["deep/er/c.json"]
    with pytest.raises(
        DataError, match=r"no file 'y\.csv' \(it holds b_1\.json, b_2\.json, .*name the file with data\.items"
    ):
        find_files(folder, "data.items", "y.csv", ("*.json",))


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ("recbole", ("a.inter", "b.inter")),
        ("recbole", ("ml-1.inter", "ml-10.inter")),
        ("recbole", ("toy.inter", "toy.train.inter", "toy.test.inter")),
        ("amazon2018", ("Toys_5.json", "Books_5.json")),
        ("amazon2018", ("Toys_5.json", "Toys.json")),
        ("amazon2023", ("Toys.jsonl.gz", "Books.jsonl.gz")),
        ("table", ("interactions.csv", "old/interactions.csv")),
        ("table", ("a/interactions.csv", "b/interactions.parquet")),
        ("movielens", ("ml-100k/u.data", "ml-1m/ratings.dat")),
    ],
)
def test_several_data_sets_are_refused_unless_named(tmp_path: Path, form: str, files: tuple[str, ...]) -> None:
    folder, config = write(tmp_path, *files), {"format": form, "path": str(tmp_path)}
    with pytest.raises(
        DataError, match=r"holds several data sets: .*; name the files .* with data\.interactions"
    ) as caught:
        interaction_files(folder, DataConfig.model_validate(config))
    assert all(name in str(caught.value) for name in files)
    found = interaction_files(folder, DataConfig.model_validate({**config, "interactions": files[0]}))
    assert names(found.paths, tmp_path) == [files[0]]


@pytest.mark.parametrize(
    ("form", "files", "sentence"),
    [
        ("recbole", ("a.inter", "b.item"), "a.inter and b.item"),
        ("recbole", ("a/toy.inter", "b/toy.item"), "a/toy.inter and b/toy.item"),
        ("movielens", ("ml-100k/u.data", "ml-1m/movies.dat"), "ml-100k/u.data and ml-1m/movies.dat"),
    ],
)
def test_items_of_another_data_set_are_refused_unless_named(
    tmp_path: Path, form: str, files: tuple[str, str], sentence: str
) -> None:
    folder, config = write(tmp_path, *files), {"format": form, "path": str(tmp_path)}
    with pytest.raises(DataError, match=f"{sentence} in .* are of different data sets"):
        item_files(folder, DataConfig.model_validate(config))
    found = item_files(folder, DataConfig.model_validate({**config, "items": files[1]}))
    assert names(found.paths, tmp_path) == [files[1]]


def test_a_split_and_its_items_belong_together(tmp_path: Path) -> None:
    folder = write(tmp_path, "toy.train.inter", "toy.test.inter", "toy.item")
    config = DataConfig.model_validate({"format": "recbole", "path": str(tmp_path), "split": {"strategy": "column"}})
    assert names(item_files(folder, config).paths, tmp_path) == ["toy.item"]


def test_numbered_parts_and_other_formats_beside_are_one_data_set(tmp_path: Path) -> None:
    folder = write(tmp_path, "reviews_0.json", "reviews_1.json", "meta_0.json", "report.json")
    config = DataConfig(format="amazon2018", path=str(tmp_path))
    assert names(interaction_files(folder, config).paths, tmp_path) == ["reviews_0.json", "reviews_1.json"]


def test_a_split_in_files_is_used_or_refused(tmp_path: Path) -> None:
    files = ("toy.test.inter", "toy.train.inter", "toy.valid.inter")
    folder, config = write(tmp_path, *files), {"format": "recbole", "path": str(tmp_path)}
    with pytest.raises(
        DataError, match=r"toy\.test\.inter, .* are a split already, .*set data\.split\.strategy=column"
    ):
        interaction_files(folder, DataConfig.model_validate(config))
    for options in ({"split": {"strategy": "column"}}, {"interactions": "toy.*.inter"}):
        found = interaction_files(folder, DataConfig.model_validate(config | options))
        assert names(found.paths, tmp_path) == list(files)
    assert [split_of(path) for path in files] == ["test", "train", "valid"]
    assert split_of("/toy.train.inter/toy.inter") is None


def test_a_folder_named_as_a_table_stands_for_its_files(tmp_path: Path) -> None:
    parts = ("interactions.parquet/part-0-x.snappy.parquet", "interactions.parquet/part-1-y.snappy.parquet")
    folder = write(tmp_path, *parts, "interactions.parquet/_SUCCESS", "interactions.parquet/.part-0.crc")
    for given in (None, "interactions.parquet"):
        config = DataConfig(format="table", path=str(tmp_path), interactions=given)
        assert names(interaction_files(folder, config).paths, tmp_path) == list(parts)


def test_names_of_folders_say_nothing_about_files(tmp_path: Path) -> None:
    folder = write(tmp_path, "my.inter/toy.inter", "my.inter/toy.item")
    config = DataConfig(format="recbole", path=str(tmp_path))
    assert names(interaction_files(folder, config).paths, tmp_path) == ["my.inter/toy.inter"]
    assert names(item_files(folder, config).paths, tmp_path) == ["my.inter/toy.item"]
    assert has_extension("/ml.database/csv.items/ratings.csv.gz", "csv")
    assert not has_extension("/ml.database/csv.items/movies.dat", "csv", "items", "data")


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


def test_every_format_of_files_has_a_reader() -> None:
    for name in typing.get_args(DataConfig.model_fields["format"].annotation):
        if name not in ("demo", "own"):
            module = importlib.import_module(f"hnlm_ray.data.{name}")
            assert isinstance(module.NAMES, UsualNames), name
            assert {"raw_tables"} <= set(vars(module)) or {"parse_interactions", "parse_items"} <= set(vars(module))
