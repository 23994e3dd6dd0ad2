"""What can be compared, and the sentence where something cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.compute as pc
import pytest

from hnlm_ray.errors import ConfigError, DataError, StoreError
from hnlm_ray.run.finished import open_runs, sizes
from tests.report.small_runs import N_ITEMS, N_USERS, values, write_run

NDCG = {"uniform": {0: values(0.2, 0), 1: values(0.2, 1)}, "dns": {0: values(0.3, 2)}}


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    for name in ("a", "b"):
        write_run(tmp_path / name, NDCG)
    return [str(tmp_path / "a"), str(tmp_path / "b")]


def test_a_run_knows_its_variants_and_their_fits(two: list[str]) -> None:
    first, second = open_runs(two)
    assert (first.label, second.label) == ("a", "b")
    assert list(first.variants) == ["uniform", "dns"]
    assert [artifact.stage for artifact in first.fits("uniform")] == ["train.uniform.s0", "train.uniform.s1"]
    assert sizes(first) == {
        "users": N_USERS,
        "items": N_ITEMS,
        **{f"{name} interactions": N_USERS for name in ("train", "valid", "test")},
    }


def test_folders_of_the_same_name_are_told_apart_by_their_parents(tmp_path: Path) -> None:
    paths = [str(tmp_path / parent / "run") for parent in ("x", "y")]
    for path in paths:
        write_run(Path(path), NDCG)
    assert [run.label for run in open_runs(paths)] == ["x/run", "y/run"]


def test_a_folder_that_is_no_run_is_named(two: list[str], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none is no run folder, it has no run\.json"):
        open_runs([two[0], str(tmp_path / "none")])


@pytest.mark.parametrize("content", ["{", "[]", "{}", json.dumps({"stages": [{}], "config": {}})])
def test_a_damaged_record_is_named(two: list[str], content: str) -> None:
    (Path(two[1]) / "run.json").write_text(content)
    with pytest.raises(StoreError, match=r"b/run\.json cannot be read"):
        open_runs(two)


def test_what_an_unfinished_run_lacks_is_named(two: list[str]) -> None:
    (Path(two[1]) / "train.dns.s0" / "f" / "manifest.json").unlink()
    (Path(two[1]) / "evaluate" / "e" / "manifest.json").unlink()
    with pytest.raises(StoreError, match=r"b is not finished, it lacks train\.dns\.s0, evaluate; finish it"):
        open_runs(two)


def test_a_run_is_given_once(two: list[str]) -> None:
    with pytest.raises(ConfigError, match="given twice"):
        open_runs([two[0], f"{two[0]}/"])


def test_another_fingerprint_with_the_same_tables_is_the_same_data(tmp_path: Path) -> None:
    write_run(tmp_path / "a", NDCG)
    write_run(tmp_path / "b", NDCG, data="written-elsewhere")
    assert len(open_runs([str(tmp_path / "a"), str(tmp_path / "b")])) == 2


def test_other_users_are_other_data(tmp_path: Path) -> None:
    write_run(tmp_path / "a", NDCG)
    write_run(tmp_path / "b", NDCG, data="other", user="v")
    with pytest.raises(DataError, match="b has other users than a, in the same number"):
        open_runs([str(tmp_path / "a"), str(tmp_path / "b")])


def test_another_split_is_other_data(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a", "b")]
    write_run(Path(paths[0]), NDCG)
    prepare = write_run(Path(paths[1]), NDCG, data="other").artifact("prepare", "other")
    table = prepare.read("interactions")
    swapped = pc.replace_substring_regex(table["split"], "valid|test", "train")
    prepare.write("interactions", table.set_column(5, "split", swapped))
    prepare.commit({})
    with pytest.raises(DataError, match=r"b has .* 90 train interactions, 0 valid .*; a has .* 30 train interactions"):
        open_runs(paths)
    other = pc.if_else(
        pc.equal(table["split"], "valid"), "test", pc.if_else(pc.equal(table["split"], "test"), "valid", "train")
    )
    prepare.write("interactions", table.set_column(5, "split", other))
    prepare.commit({})
    with pytest.raises(DataError, match="b has other interactions than a"):
        open_runs(paths)
