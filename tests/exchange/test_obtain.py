"""What is fetched is checked, what was cut off goes on, and what is wrong is named and never used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from hnlm_ray.errors import DataError, StoreError
from hnlm_ray.exchange import fetch
from hnlm_ray.exchange.obtain import LOCK, MIRROR, obtain
from hnlm_ray.exchange.sets import DataSet, SetFile
from tests.exchange.file_server import FileServer
from tests.exchange.made_up import zipped

CONTENT = bytes(range(256)) * 4096


def toy(*addresses: str, digest: str | None = None, members: tuple[str, ...] = (), name: str = "toy.bin") -> DataSet:
    file = SetFile(name, addresses, digest, members=members)
    return DataSet("toy", "a toy", (file,), "for play", "http://toy", "Toy, 2026", "table")


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def quietly(line: str) -> None:
    pass


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once_and_recorded(files: FileServer, tmp_path: Path) -> None:
    files.files["/toy.bin"] = CONTENT
    chosen = toy(f"{files.address}/toy.bin", digest=f"md5:{hashlib.md5(CONTENT).hexdigest()}")
    first = obtain(chosen, tmp_path, quietly)
    assert obtain(chosen, tmp_path, quietly) == first
    assert len(files.asked) == 1
    assert names(tmp_path) == [LOCK, "toy.bin"]
    recorded = json.loads((tmp_path / LOCK).read_text())["files"]["toy.bin"]
    assert recorded["bytes"] == len(CONTENT)
    assert recorded["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert recorded["checked"] == chosen.files[0].digest


def test_another_digest_is_refused_and_deleted(files: FileServer, tmp_path: Path) -> None:
    files.files["/toy.bin"] = CONTENT[:-1]
    with pytest.raises(DataError, match=r"sent has another digest than sha256:\w+, and was deleted"):
        obtain(toy(f"{files.address}/toy.bin", digest=sha256(CONTENT)), tmp_path, quietly)
    assert names(tmp_path) == []


def test_a_file_without_a_digest_is_held_to_its_first_one(files: FileServer, tmp_path: Path) -> None:
    files.files["/toy.bin"] = CONTENT
    chosen = toy(f"{files.address}/toy.bin")
    assert obtain(chosen, tmp_path / "a", quietly).files["toy.bin"].checked == "first use"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / LOCK).write_bytes((tmp_path / "a" / LOCK).read_bytes())
    files.files["/toy.bin"] = CONTENT + b"more"
    with pytest.raises(DataError, match="sent has another digest than sha256:"):
        obtain(chosen, tmp_path / "b", quietly)
    files.files["/toy.bin"] = CONTENT
    assert obtain(chosen, tmp_path / "b", quietly).files["toy.bin"].checked == "first use"
    (tmp_path / "b" / "toy.bin").write_bytes(CONTENT + b"more")
    with pytest.raises(DataError, match=r"toy\.bin has another digest than sha256:\w+; delete it to fetch it again"):
        obtain(chosen, tmp_path / "b", quietly)


def test_a_lost_connection_is_taken_up_again(files: FileServer, tmp_path: Path) -> None:
    files.files["/toy.bin"] = CONTENT
    files.cut_after = [300_000, 300_000]
    said: list[str] = []
    obtain(toy(f"{files.address}/toy.bin", digest=sha256(CONTENT)), tmp_path, said.append)
    assert [wanted for _, wanted in files.asked] == ["", "bytes=300000-", "bytes=600000-"]
    assert said[0] == "toy.bin: the connection was lost, going on from 0.3 MB"
    assert names(tmp_path) == [LOCK, "toy.bin"]


def test_the_next_command_goes_on_where_the_last_one_ended(files: FileServer, tmp_path: Path) -> None:
    files.files["/toy.bin"] = CONTENT
    files.cut_after = [300_000, 1, 1]
    chosen = toy(f"{files.address}/toy.bin", digest=sha256(CONTENT))
    with pytest.raises(DataError, match=r"was lost \(.*\), 0\.3 MB are kept and the same command goes on from there"):
        obtain(chosen, tmp_path, quietly)
    assert names(tmp_path) == ["toy.bin.part", "toy.bin.part.json"]
    obtain(chosen, tmp_path, quietly)
    assert files.asked[-1][1] == "bytes=300002-"
    assert (tmp_path / "toy.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("tag", ['"2"', ""])
def test_a_file_that_has_changed_is_fetched_from_its_beginning(tag: str, files: FileServer, tmp_path: Path) -> None:
    files.files["/toy.bin"], files.cut_after = b"old" * 100_000, [200_000, 0]
    chosen = toy(f"{files.address}/toy.bin")
    with pytest.raises(DataError):
        obtain(chosen, tmp_path, quietly)
    files.files["/toy.bin"], files.tag = CONTENT, tag
    obtain(chosen, tmp_path, quietly)
    assert (tmp_path / "toy.bin").read_bytes() == CONTENT


def test_a_server_without_tags_is_never_resumed(files: FileServer, tmp_path: Path) -> None:
    files.files["/toy.bin"], files.tag, files.cut_after = CONTENT, "", [300_000, 400_000, 300_000]
    with pytest.raises(DataError, match=r"was lost \(.*\); where"):
        obtain(toy(f"{files.address}/toy.bin"), tmp_path, quietly)
    assert {wanted for _, wanted in files.asked} == {""}


def test_addresses_are_tried_in_turn(files: FileServer, nobody: str, tmp_path: Path) -> None:
    files.files["/toy.bin"] = CONTENT
    addresses = (f"{nobody}/toy.bin", f"{files.address}/absent/toy.bin", f"{files.address}/toy.bin")
    assert obtain(toy(*addresses), tmp_path, quietly).files["toy.bin"].source == addresses[2]


def test_without_a_network_one_sentence_says_what_to_do_by_hand(nobody: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        obtain(toy(f"{nobody}/toy.bin"), tmp_path, quietly)
    said = str(caught.value)
    assert said.startswith(f"toy.bin could not be fetched: {nobody}/toy.bin cannot be reached (")
    assert said.endswith(f"where there is no network, put the file into {tmp_path} and give the same command.")
    (tmp_path / "toy.bin").write_bytes(CONTENT)
    assert obtain(toy(f"{nobody}/toy.bin"), tmp_path, quietly).files["toy.bin"].source == "placed by hand"


def test_a_file_placed_by_hand_is_checked_too(nobody: str, tmp_path: Path) -> None:
    (tmp_path / "toy.bin").write_bytes(b"another")
    with pytest.raises(DataError, match="has another digest than sha256"):
        obtain(toy(f"{nobody}/toy.bin", digest=sha256(CONTENT)), tmp_path, quietly)


def test_a_refusal_is_named(files: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"/toy\.bin answers 404"):
        obtain(toy(f"{files.address}/toy.bin"), tmp_path, quietly)


def test_a_mirror_takes_the_place_of_every_address(
    files: FileServer, nobody: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.files["/m/toy/toy.bin"] = CONTENT
    monkeypatch.setenv(MIRROR, files.address.replace("http://", "http://me:secret@") + "/m")
    lock = obtain(toy(f"{nobody}/toy.bin"), tmp_path, quietly)
    assert lock.files["toy.bin"].source == f"{files.address}/m/toy/toy.bin"
    assert "secret" not in (tmp_path / LOCK).read_text()


def test_an_odd_mirror_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR, "mirror.example/data")
    with pytest.raises(DataError, match=r"mirror\.example/data/toy/toy\.bin cannot be reached"):
        obtain(toy("http://x/toy.bin"), tmp_path, quietly)


def test_only_what_is_needed_is_unpacked(files: FileServer, tmp_path: Path) -> None:
    files.files["/toy.zip"] = zipped({"in/a.csv": "a", "in/b.csv": "b", "../evil.csv": "c", "/etc/evil": "d"})
    chosen = toy(f"{files.address}/toy.zip", members=("in/a.csv",), name="toy.zip")
    folder = tmp_path / "here"
    lock = obtain(chosen, folder, quietly)
    assert names(folder) == ["a.csv", LOCK, "toy.zip"]
    assert names(tmp_path) == ["here"]
    assert lock.files["a.csv"].source == "toy.zip"
    (folder / "a.csv").unlink()
    assert obtain(chosen, folder, quietly) == lock
    (folder / "a.csv").write_text("changed")
    with pytest.raises(DataError, match=r"a\.csv is damaged.*delete it, and it is unpacked again"):
        obtain(chosen, folder, quietly)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"<html>not found</html>", r"toy\.zip cannot be unpacked .*delete toy\.zip and fetch it again"),
        (zipped({"in/b.csv": "b"}), r"toy\.zip lacks in/a\.csv"),
        (zipped({"in/a.csv": "a" * 100_000})[:200], "cannot be unpacked"),
    ],
)
def test_an_archive_that_is_none_is_named(content: bytes, sentence: str, files: FileServer, tmp_path: Path) -> None:
    files.files["/toy.zip"] = content
    with pytest.raises(DataError, match=sentence):
        obtain(toy(f"{files.address}/toy.zip", members=("in/a.csv",), name="toy.zip"), tmp_path, quietly)
    assert names(tmp_path) == ["toy.zip"]


def test_a_full_disk_is_told_before_anything_is_written(
    files: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.files["/toy.bin"] = CONTENT
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StoreError, match=r"has 0\.0 MB free, and toy\.bin needs 1\.0 MB"):
        obtain(toy(f"{files.address}/toy.bin"), tmp_path, quietly)
    assert names(tmp_path) == []


def test_a_folder_of_another_set_is_refused(files: FileServer, tmp_path: Path) -> None:
    files.files["/toy.bin"] = CONTENT
    obtain(toy(f"{files.address}/toy.bin"), tmp_path, quietly)
    other = DataSet("other", "", (), "", "", "", "table")
    with pytest.raises(DataError, match="holds toy; give another folder"):
        obtain(other, tmp_path, quietly)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("{")
    with pytest.raises(DataError, match=r"data\.lock cannot be read .*delete it to trust what is fetched anew"):
        obtain(toy("http://x/toy.bin"), tmp_path, quietly)
