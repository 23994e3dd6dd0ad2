from __future__ import annotations

from pathlib import Path

import pyarrow.fs as pafs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.data.lines import Chunk, as_utf8, filled_lines, read_chunks
from hnlm_ray.errors import DataError

LINES = st.lists(st.sampled_from(["", "a", "bb", "ccc", "\r", "d\r"]), max_size=12)


def chunks_of(path: Path, size: int, *, header: bool = False) -> list[Chunk]:
    return list(read_chunks(pafs.LocalFileSystem(), str(path), 3, header=header, size=size))


@settings(max_examples=50)
@given(lines=LINES, size=st.integers(1, 9), closed=st.booleans())
def test_pieces_hold_every_line_once_under_its_number(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], size: int, closed: bool
) -> None:
    content = "\n".join(["first", *lines]).encode() + b"\n" * closed
    path = tmp_path_factory.mktemp("lines") / "file.txt"
    path.write_bytes(content)
    chunks = chunks_of(path, size)
    assert b"".join(chunk.content for chunk in chunks) == content
    every = content.split(b"\n")
    for chunk in chunks:
        for offset in filled_lines(chunk.content):
            assert chunk.content.split(b"\n")[offset] == every[chunk.first_line - 1 + offset]
    numbers = [chunk.first_line + offset for chunk in chunks for offset in filled_lines(chunk.content)]
    assert numbers == [n for n, line in enumerate(every, 1) if line.strip(b"\r")]


@pytest.mark.parametrize("size", [2, 5, 1 << 20])
def test_a_header_stands_apart_from_its_rows(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes("\ufeffuser,café\r\n1,2\r\n3,4".encode())
    chunks = chunks_of(path, size, header=True)
    assert {chunk.header for chunk in chunks} == {"user,café"}
    assert chunks[0].first_line == 2
    assert b"".join(chunk.content for chunk in chunks) == b"1,2\r\n3,4"


def test_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    for content in (b"user,item", b"\n\nuser,item\n"):
        path.write_bytes(content)
        (chunk,) = chunks_of(path, 4, header=True)
        assert (chunk.header, chunk.content) == ("user,item", b"")


def test_an_empty_or_missing_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="empty is empty"):
        chunks_of(tmp_path / "empty", 8)
    with pytest.raises(DataError, match="nowhere cannot be read"):
        chunks_of(tmp_path / "nowhere", 8)


def test_only_lines_that_are_not_utf8_are_read_as_latin1() -> None:
    content, recoded = as_utf8("é\n".encode() + "é\n".encode("latin-1") + b"e")
    assert content.decode() == "é\né\ne"
    assert recoded.tolist() == [1]


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hnlm_ray.data.lines._LONGEST_LINE", 1000)
    (tmp_path / "file").write_bytes(b"a\nb\n" + b"x" * 2000)
    with pytest.raises(DataError, match="has a line of more than 0 MiB after line 2; write one row per line"):
        chunks_of(tmp_path / "file", 100)
