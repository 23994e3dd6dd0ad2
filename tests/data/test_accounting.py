from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnlm_ray.data.raw import RawData
from hnlm_ray.errors import DataError

Read = Callable[..., RawData]

ITEMS = "item_id,title\n" + "".join(f"i{n},Thing {n}\n" for n in range(200))


def write(folder: Path, lines: list[str], items: str = ITEMS) -> None:
    (folder / "interactions.csv").write_bytes(("user_id,item_id,review\n" + "\n".join(lines)).encode("latin-1"))
    (folder / "items.csv").write_text(items)


def test_lines_are_counted_and_the_first_of_each_kind_are_named(tmp_path: Path, read_raw: Read) -> None:
    lines = [f"u{n},i{n},fine" for n in range(190)]
    lines[3] = 'u3,i3,"never closed'
    lines[5:5] = ["", ""]
    lines[10] = 'u8,i8,"two\nlines"'
    lines[20] = 'u18,i18,12" pan'
    lines[30:32] = ["u28,i28,caf\xe9", "u29,i29,caf\xe9"]
    lines[40] = "u38,i38"
    write(tmp_path, lines)
    raw = read_raw("table", max_bad_rows=0.02)
    counts = raw.counts
    assert counts["interaction_lines"] == 193 == len((tmp_path / "interactions.csv").read_bytes().split(b"\n")) - 1
    assert counts["interaction_lines_blank"] == 2
    assert counts["interaction_lines_malformed"] == 2
    assert counts["interaction_lines_continued"] == 1
    assert raw.interactions.num_rows == 193 - 2 - 2 - 1
    assert (counts["lines_with_bare_quote"], counts["lines_not_utf8"]) == (1, 2)
    assert (counts["item_lines"], counts["item_lines_malformed"]) == (200, 0)
    file = tmp_path / "interactions.csv"
    assert raw.warnings == [
        f"2 lines malformed and left out: {file}:5, 43 (quoted field 3 is not closed); fix the file, or set"
        " data.max_bad_rows=0 to stop there.",
        f"2 lines not UTF-8, read as Latin-1: {file}:33, 34; check them, or fix the file.",
        f"1 line with a quote inside a field that is not quoted, kept as a character: {file}:23; check them, or fix the"
        " file.",
    ]


def test_too_many_malformed_lines_stop_at_the_first(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, ["u,i", "u,i1,fine", "u,i2,fine,x"])
    with pytest.raises(DataError, match=r"interactions\.csv:2: 2 fields, expected 3; this is the first of 2 malformed"):
        read_raw("table")


def test_blank_lines_are_no_malformed_ones(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, ["u,i1,fine", *[""] * 50, "u,i2,fine"])
    raw = read_raw("table", max_bad_rows=0)
    assert (raw.interactions.num_rows, raw.counts["interaction_lines_blank"]) == (2, 50)
    assert not raw.warnings


def test_a_table_without_lines_has_none_to_count(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, ["u,i1,fine"])
    (tmp_path / "interactions.csv").rename(tmp_path / "reviews.csv")
    pq.write_table(pa.table({"user_id": ["u"], "item_id": ["i1"]}), tmp_path / "interactions.parquet")
    assert read_raw("table").counts["interaction_lines"] == 0
