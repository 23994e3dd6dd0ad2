from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest

from hnlm_ray.errors import DataError, StoreError
from hnlm_ray.run.store import RunStore, fingerprint
from hnlm_ray.tables import USERS

USERS_TABLE = pa.table({"user": pa.array([0, 1], pa.int32()), "user_id": ["a", "b"]}, schema=USERS)


def test_fingerprints_change_with_any_part_and_not_with_order() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1, "b": 2}) != fingerprint({"a": 1, "b": 3})


def test_an_artifact_is_complete_only_after_its_manifest(tmp_path: Path) -> None:
    artifact = RunStore(str(tmp_path)).artifact("prepare", "abc")
    artifact.create()
    artifact.write("users", USERS_TABLE)
    assert not artifact.is_complete
    artifact.commit({"rows": {"users": 2}})
    assert artifact.is_complete
    assert artifact.manifest()["rows"] == {"users": 2}
    assert artifact.read("users").equals(USERS_TABLE)
    assert artifact.read("users", ["user_id"]).column_names == ["user_id"]


def test_a_table_of_the_wrong_shape_is_refused_by_name(tmp_path: Path) -> None:
    artifact = RunStore(str(tmp_path)).artifact("prepare", "abc")
    artifact.create()
    with pytest.raises(DataError, match="lacks the column 'user_id'"):
        artifact.write("users", USERS_TABLE.drop_columns(["user_id"]))
    with pytest.raises(DataError, match="column 'user' is string, expected int32"):
        artifact.write("users", pa.table({"user": ["x"], "user_id": ["a"]}))
    assert not artifact.has("users")
    assert os.listdir(artifact.path) == []


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = RunStore(str(tmp_path)).artifact("prepare", "abc")
    artifact.create()
    artifact.write("users", USERS_TABLE)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(StoreError, match="No space left"):
        artifact.write("users", USERS_TABLE.slice(0, 1))
    assert artifact.read("users").num_rows == 2
    assert os.listdir(artifact.path) == ["users.parquet"]


def test_a_damaged_table_and_a_damaged_manifest_are_named(tmp_path: Path) -> None:
    artifact = RunStore(str(tmp_path)).artifact("prepare", "abc")
    artifact.create()
    (Path(artifact.path) / "users.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(StoreError, match=r"users\.parquet cannot be read"):
        artifact.read("users")
    (Path(artifact.path) / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match=r"manifest\.json cannot be read"):
        artifact.manifest()


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StoreError, match="file"):
        RunStore(str(file / "run")).artifact("prepare", "abc").create()


def test_two_processes_cannot_hold_one_run(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys
        from hnlm_ray.errors import StoreError
        from hnlm_ray.run.store import RunStore
        try:
            with RunStore(sys.argv[1]).lock():
                print("got it")
        except StoreError as error:
            print(error)
        """
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with RunStore(str(tmp_path)).lock():
        assert (
            "another process is working on"
            in subprocess.run(command, check=False, capture_output=True, text=True).stdout
        )
    assert "got it" in subprocess.run(command, check=False, capture_output=True, text=True).stdout
