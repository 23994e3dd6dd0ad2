from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.data.streams import text_blocks
from hnlm_ray.errors import DataError

TEXT = "user,item\nä,1\nb,2\n"


def content_of(path: Path, size: int = 1 << 20) -> bytes:
    return b"".join(text_blocks(pafs.LocalFileSystem(), str(path), size))


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def as_it_is(content: bytes) -> bytes:
    return content


@pytest.mark.parametrize("name", ["file.csv", "file.csv.gz", "file.jsonl.bz2", "file"])
@pytest.mark.parametrize(
    "pack",
    [as_it_is, gzip.compress, bz2.compress, zstd, lambda text: gzip.compress(gzip.compress(text))],
    ids=["plain", "gzip", "bz2", "zstd", "twice"],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_the_first_bytes_and_not_the_name_say_how_a_file_is_packed(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes], size: int
) -> None:
    (tmp_path / name).write_bytes(pack(TEXT.encode()))
    assert content_of(tmp_path / name, size) == TEXT.encode()


def test_members_of_one_archive_follow_one_another(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(gzip.compress(b"a\n") + gzip.compress(b"b\n"))
    assert content_of(tmp_path / "file") == b"a\nb\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_encodings_with_a_mark_or_in_wide_units(tmp_path: Path, encoding: str, size: int) -> None:
    (tmp_path / "file").write_bytes(TEXT.encode(encoding))
    assert content_of(tmp_path / "file", size) == TEXT.encode()


@settings(max_examples=100)
@given(text=st.text(alphabet="a\r\n", max_size=12), size=st.integers(1, 5))
def test_the_first_line_end_decides_about_carriage_returns(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: int
) -> None:
    path = tmp_path_factory.mktemp("text") / "file"
    path.write_bytes(f"x\r{text}y".encode() if not text.startswith("\n") else f"x\n{text}y".encode())
    universal = text.replace("\r\n", "\n").replace("\r", "\n")
    assert content_of(path, size).decode() == (f"x\n{universal}y" if not text.startswith("\n") else f"x\n{text}y")


def parquet(path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), path)


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("file.csv", TEXT)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (archive, "is a zip archive or a spreadsheet; unpack it"),
        (parquet, "is a Parquet file"),
        (lambda path: path.write_bytes(lzma.compress(b"a\n")), "is compressed with xz; unpack it"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "is a pointer of Git LFS"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html><html>"), "is a web page"),
        (lambda path: path.write_bytes(gzip.compress(b"a" * 9999)[:-9]), r"cannot be read \(Truncated"),
        (lambda path: path.write_bytes(gzip.compress(b"a" * 999)[:20] + b"\xff" * 99), "cannot be read"),
        (lambda path: path.mkdir(), "cannot be read"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, make: Callable[[Path], object], sentence: str) -> None:
    make(tmp_path / "file.csv")
    with pytest.raises(DataError, match=rf"file\.csv {sentence}"):
        content_of(tmp_path / "file.csv")
