r"""Every line of a file is a row, blank, malformed, or part of a row that spans lines; and each by a rule."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.data.delimited import csv_cut, csv_delimiter, header_names, read_rows
from hnlm_ray.data.lines import read_chunks
from hnlm_ray.data.raw import BLANK, Oddity
from hnlm_ray.data.suspects import MOST_LINES

SCHEMA = pa.schema(
    [(name, pa.string()) for name in "abcd"]
    + [("position", pa.int64()), ("lines", pa.int32()), ("oddity", pa.uint8()), ("problem", pa.string())]
)


def read(folder: Path, content: bytes, size: int = 1 << 20) -> list[dict[str, object]]:
    """What a CSV file was found to hold, one entry per row and other line, in the order of the lines."""
    path = folder / "file.csv"
    path.write_bytes(content)
    entries: list[dict[str, object]] = []
    for chunk in read_chunks(pafs.LocalFileSystem(), str(path), 0, header=True, cut=csv_cut, size=size):
        mark = csv_delimiter(chunk.header)
        rows = read_rows(chunk, header_names(chunk.header, mark), mark, quoted=True)
        columns = {name: rows.columns[name] for name in rows.columns.column_names}
        entries += rows.to_raw(SCHEMA, **columns).to_pylist()
    return sorted(entries, key=lambda entry: entry["position"])


def rows_of(entries: Sequence[dict[str, object]]) -> list[tuple[object, ...]]:
    return [
        tuple(entry[name] for name in "abcd" if entry[name] is not None)
        for entry in entries
        if not entry["problem"] and entry["problem"] != BLANK
    ]


def faults_of(entries: Sequence[dict[str, object]]) -> dict[object, object]:
    return {entry["position"]: entry["problem"] for entry in entries if entry["problem"]}


@settings(max_examples=400)
@given(text=st.text(alphabet='",\n\r ax\\', max_size=60), size=st.integers(1, 40))
def test_every_line_is_accounted_for_whatever_the_chunks(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: int
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    content = f"a,b\n{text}\n".encode()
    whole = read(folder, content)
    assert sum(entry["lines"] for entry in whole) == content.count(b"\n") - 1
    parts = read(folder, content, size)
    assert rows_of(parts) == rows_of(whole)
    # A chunk may end before a quoted field is known to be followed by text, so that the reason may differ.
    assert faults_of(parts).keys() == faults_of(whole).keys()


@settings(max_examples=300)
@given(
    rows=st.integers(2, 60),
    quotes=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 30)), min_size=1, max_size=5),
    size=st.sampled_from([64, 200, 1 << 20]),
)
def test_a_stray_quote_costs_no_line_but_its_own(
    tmp_path_factory: pytest.TempPathFactory, rows: int, quotes: list[tuple[int, int]], size: int
) -> None:
    lines = [f"u{n:02},i{n:02},{1500000000 + n},fine" for n in range(rows)]
    struck = dict(enumerate(lines))
    for line, place in quotes:
        if line < rows:
            struck[line] = f'{struck[line][:place]}"{struck[line][place:]}'
    content = "a,b,c,d\n" + "\n".join(struck.values()) + "\n"
    entries = read(tmp_path_factory.mktemp("csv"), content.encode(), size)
    assert sum(entry["lines"] for entry in entries) == rows
    found = set(rows_of(entries))
    for number, line in enumerate(lines):
        if struck[number] == line:
            assert tuple(line.split(",")) in found, f"line {number + 2} was lost"


WORDS = st.sampled_from(
    ['"quoted"', "great", "it is, really,", "two\nlines", "\n\n", "caf\u00e9", '12" pan', "\r\n", "\\"]
)


@settings(max_examples=200)
@given(
    reviews=st.lists(st.lists(WORDS, max_size=6).map(" ".join), min_size=1, max_size=20),
    size=st.sampled_from([16, 64, 1 << 20]),
    packed=st.booleans(),
)
def test_what_a_csv_writer_wrote_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, reviews: list[str], size: int, packed: bool
) -> None:
    rows = [(f"u{n}", f"i{n}", str(n), review) for n, review in enumerate(reviews)]
    out = io.StringIO()
    csv.writer(out).writerows([("a", "b", "c", "d"), *rows])
    content = out.getvalue().encode()
    entries = read(tmp_path_factory.mktemp("csv"), gzip.compress(content) if packed else content, size)
    assert rows_of(entries) == rows
    assert not faults_of(entries)
    assert sum(entry["lines"] for entry in entries) == content.count(b"\n") - 1


@pytest.mark.parametrize(
    ("line", "row", "oddity"),
    [
        ('u,"a ""b"" c"', ("u", 'a "b" c'), Oddity.NONE),
        ('u,12" pan', ("u", '12" pan'), Oddity.BARE_QUOTE),
        ('u,pan"', ("u", 'pan"'), Oddity.BARE_QUOTE),
        ('u, "a, b" ', ("u", "a, b"), Oddity.NONE),
        (r'u,"say \"hi\", please"', ("u", 'say "hi", please'), Oddity.BACKSLASH),
        (r'u,"C:\"', ("u", "C:\\"), Oddity.NONE),
        ('u,"a\rb"', ("u", "a\rb"), Oddity.RETURN),
        ("u,a\rb", ("u", "a\rb"), Oddity.RETURN),
        ("u,a,", ("u", "a"), Oddity.EMPTY_FIELD),
        ("u\0,a\0b", ("u", "ab"), Oddity.NUL),
        ("u,caf\xe9", ("u", "caf\u00e9"), Oddity.NOT_UTF8),
    ],
)
def test_a_line_that_a_rule_makes_a_row(tmp_path: Path, line: str, row: tuple[str, str], oddity: Oddity) -> None:
    entries = read(tmp_path, f"a,b\n1,2\n{line}\n3,4\n".encode("latin-1"))
    assert rows_of(entries) == [("1", "2"), row, ("3", "4")]
    assert [entry["oddity"] for entry in entries] == [0, oddity, 0]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('u,"a', "quoted field 2 is not closed"),
        ('u,"a" b', "quoted field 2 is followed by text after its closing quote"),
        ("u", "1 field, expected 2"),
        ("u,a,b", "3 fields, expected 2"),
        ("\0\0", "1 field, expected 2"),
        ('"u,a', "quoted field 1 is not closed"),
    ],
)
def test_a_malformed_line_is_named_and_the_next_ones_are_read(tmp_path: Path, line: str, problem: str) -> None:
    entries = read(tmp_path, f"a,b\n1,2\n{line}\n3,4\n\n5,6\n".encode())
    assert faults_of(entries) == {3: problem}
    assert rows_of(entries) == [("1", "2"), ("3", "4"), ("5", "6")]


def test_quoted_lines_that_look_like_rows_are_rows(tmp_path: Path) -> None:
    entries = read(tmp_path, b'a,b\n1,"x\n2,y\n3,z\n4,w"\n5,v\n')
    assert faults_of(entries) == {2: "quoted field 2 would end 3 lines further down, after lines that look like rows"}
    assert rows_of(entries) == [("2", "y"), ("3", "z"), ("4", 'w"'), ("5", "v")]
    prose = read(tmp_path, b'a,b\n1,"x\nlarge, blue\nand, soft"\n5,v\n')
    assert rows_of(prose) == [("1", "x\nlarge, blue\nand, soft"), ("5", "v")]


def test_a_quoted_field_has_bounds(tmp_path: Path) -> None:
    for lines, held in ((MOST_LINES, True), (MOST_LINES + 1, False)):
        entries = read(tmp_path, b'a,b\n1,"' + b"x\n" * lines + b'y"\n2,z\n', 300)
        assert (len(rows_of(entries)) == 2) is held
        assert rows_of(entries)[-1] == ("2", "z")
        assert sum(entry["lines"] for entry in entries) == lines + 2


def test_a_part_of_the_file_whose_lines_end_in_carriage_returns(tmp_path: Path) -> None:
    entries = read(tmp_path, b"a,b\n1,2\n3,4\r5,6\r7,8\n")
    assert rows_of(entries) == [("1", "2"), ("3", "4"), ("5", "6"), ("7", "8")]
    assert [entry["lines"] for entry in entries] == [1, 1, 0, 0]
