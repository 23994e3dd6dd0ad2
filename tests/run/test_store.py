from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnlm_ray.errors import DataError, StoreError
from hnlm_ray.run import rows, store
from hnlm_ray.run.checksums import Checksum
from hnlm_ray.run.store import Artifact, RunStore, fingerprint
from hnlm_ray.tables import INTERACTIONS, ITEM_VECTORS, USERS, conform

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
    assert artifact.manifest().rows == {"users": 2}
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


def interactions_of(counts: list[int]) -> pa.Table:
    users = [user for user, count in enumerate(counts) for _ in range(count)]
    numbers = list(range(len(users)))
    columns = {"user": users, "item": numbers, "rating": [None] * len(users), "timestamp": numbers}
    return conform(
        pa.table({**columns, "review": [f"review {n}" for n in numbers], "split": ["train"] * len(users)}),
        INTERACTIONS,
        "test",
    )


@pytest.mark.parametrize("counts", [[], [1], [3, 9, 1, 1, 1, 2, 20, 1], [0, 0, 5, 0, 4]])
def test_parts_are_the_table_and_keep_a_user_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: list[int]
) -> None:
    monkeypatch.setattr(rows, "PART_ROWS", 4)
    monkeypatch.setattr(store, "_ROW_GROUP", 7)
    artifact, table = RunStore(str(tmp_path)).artifact("prepare", "abc"), interactions_of(counts)
    artifact.create()
    artifact.write_parts("interactions", [table.slice(0, 5), table.slice(5)])
    assert artifact.read("interactions").equals(table)
    artifact.write("interactions", table)
    parts = list(artifact.parts("interactions", by="user"))
    assert pa.concat_tables([table.schema.empty_table(), *parts]).equals(table)
    owners = [set(part["user"].to_pylist()) for part in parts]
    assert sum(map(len, owners)) == len(set().union(*owners))
    assert all(owners)
    in_one_column = list(artifact.parts("interactions", ["split"]))
    assert all(part.column_names == ["split"] and 0 < part.num_rows <= 4 for part in in_one_column)
    assert sum(part.num_rows for part in in_one_column) == len(table)


def test_parts_of_a_damaged_table_are_not_read(committed: Artifact) -> None:
    path = Path(committed.path, "users.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"users\.parquet"):
        list(committed.parts("users"))


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
    with pytest.raises(StoreError, match=r"manifest\.json is damaged"):
        artifact.manifest()


@pytest.fixture
def committed(tmp_path: Path) -> Artifact:
    """Two tables, a part-wise one and a model."""
    artifact = RunStore(str(tmp_path)).artifact("prepare", "abc")
    artifact.create()
    artifact.write("users", USERS_TABLE)
    parts = artifact.folder("item_vectors.parquet")
    parts.create()
    for number in range(2):
        rows = pa.table({"item": [number], "vector": [[0.5]]}, schema=ITEM_VECTORS)
        pq.write_table(rows, f"{parts.path}/part-{number}.parquet")
    artifact.write_bytes("model.safetensors", b"weights")
    artifact.commit({})
    return artifact


Damage = Callable[[Path], object]


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, and nothing that its folder shows."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["users.parquet", "item_vectors.parquet/part-1.parquet", "model.safetensors"])
def test_a_flipped_bit_is_named_when_the_file_is_read_and_by_verify(committed: Artifact, file: str) -> None:
    assert committed.read("users").num_rows == 2  # also after the file was found right once
    name = file.partition(".")[0] if "parquet" in file else file
    committed.verify(name)
    flip(Path(committed.path, file))
    with pytest.raises(StoreError, match=rf"{file} is damaged: its checksum does not match manifest\.json; delete"):
        committed.read_bytes(name) if name == file else committed.read(name)
    with pytest.raises(StoreError, match=f"{file} is damaged"):
        committed.verify()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: (path / "users.parquet").unlink(), "users.parquet is missing"),
        (lambda path: (path / "users.parquet").write_bytes(b"PAR1"), "it has 4 bytes, expected"),
        (lambda path: (path / "item_vectors.parquet" / "part-0.parquet").unlink(), "part-0.parquet is missing"),
        (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json is damaged"),
        (lambda path: (path / "manifest.json").write_text("null"), "manifest.json is damaged"),
        (lambda path: (path / "manifest.json").write_text(""), "manifest.json is damaged"),
        (lambda path: (path / "manifest.json").write_bytes(b"\xff"), "manifest.json is damaged"),
    ],
)  # fmt: skip
def test_a_damaged_artifact_is_never_complete(committed: Artifact, damage: Damage, sentence: str) -> None:
    assert committed.is_complete
    damage(Path(committed.path))
    with pytest.raises(StoreError, match=sentence) as caught:
        assert not committed.is_complete
    assert f"delete the folder {committed.path} and run again, which makes it anew" in str(caught.value)
    with pytest.raises(StoreError, match=sentence):
        committed.verify()


def test_the_cure_that_the_sentence_names_works(committed: Artifact) -> None:
    (Path(committed.path) / "manifest.json").write_text("{")
    shutil.rmtree(committed.path)
    assert not committed.is_complete


def test_swapped_files_and_folders_are_noticed(committed: Artifact) -> None:
    other = RunStore(str(Path(committed.path).parents[1])).artifact("prepare", "other")
    shutil.copytree(committed.path, other.path)
    with pytest.raises(StoreError, match=r"manifest\.json does not fit its folder: it is that of prepare/abc"):
        assert not other.is_complete
    (Path(committed.path) / "model.safetensors").write_bytes(b"WEIGHTS")  # of another fit, and equally long
    assert committed.is_complete
    with pytest.raises(StoreError, match=r"model\.safetensors is damaged: its checksum"):
        committed.read_bytes("model.safetensors")


def test_a_part_that_nobody_wrote_is_not_read(committed: Artifact) -> None:
    parts = Path(committed.path, "item_vectors.parquet")
    shutil.copy(parts / "part-0.parquet", parts / "part-7.parquet")
    with pytest.raises(StoreError, match=r"part-7\.parquet is not listed in manifest\.json; delete that file"):
        committed.read("item_vectors")
    assert committed.read("users").num_rows == 2


def test_a_manifest_lists_bytes_and_rows(committed: Artifact) -> None:
    files = committed.manifest().files
    assert {name: file.rows for name, file in files.items()} == {
        "users.parquet": 2,
        "item_vectors.parquet/part-0.parquet": 1,
        "item_vectors.parquet/part-1.parquet": 1,
        "model.safetensors": None,
    }
    assert files["model.safetensors"].bytes == len(b"weights")


def test_a_checksum_is_computed_once_per_process(committed: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    committed.verify()
    monkeypatch.setattr(Checksum, "of", None)
    committed.verify()
    assert committed.read("users").num_rows == 2


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
