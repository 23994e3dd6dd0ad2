from __future__ import annotations

import gzip
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.evaluation.trec import escaped, packed, qrels_lines, run_lines
from tests.interactions import Build

USERS, ITEMS = pa.array(["ann", "bob", "cy%20d"]), pa.array(["tea", "pot", "cup"])


@given(st.lists(st.text(min_size=1), unique=True))
def test_escaped_ids_are_one_word_each_and_can_be_restored(ids: list[str]) -> None:
    words = escaped(pa.array(ids, pa.string())).to_pylist()
    assert [unquote(word) for word in words] == ids
    assert all(len(word.split()) == 1 for word in words)
    assert len(set(words)) == len(words)


def test_plain_ids_stay_as_they_are() -> None:
    assert escaped(pa.chunked_array([["A-1_b.é"], ["B00:x/y"]])).to_pylist() == ["A-1_b.é", "B00:x/y"]
    assert escaped(pa.array(["a b", "100%"])).to_pylist() == ["a%20b", "100%25"]


def test_a_run_line_falls_with_the_rank() -> None:
    top = np.array([[2, 0, 1], [1, -1, -1]], dtype=np.int32)
    lines = run_lines(top, np.array([0, 2], dtype=np.int32), USERS, ITEMS, "tag")
    assert lines.decode().splitlines() == [
        "ann Q0 cup 1 3 tag",
        "ann Q0 tea 2 2 tag",
        "ann Q0 pot 3 1 tag",
        "cy%20d Q0 pot 1 3 tag",
    ]
    assert lines.endswith(b"\n")


def test_qrels_hold_every_held_out_item(interactions: Build) -> None:
    lines = qrels_lines(interactions([[1], [], [0, 2]], 3), USERS, ITEMS)
    assert lines.decode().splitlines() == ["ann 0 pot 1", "cy%20d 0 tea 1", "cy%20d 0 cup 1"]


def test_nobody_and_nothing_have_no_lines(interactions: Build) -> None:
    empty = np.empty((0, 3), dtype=np.int32)
    assert run_lines(empty, np.empty(0, dtype=np.int32), USERS, ITEMS, "tag") == b""
    assert qrels_lines(interactions([[], [], []], 3), USERS, ITEMS) == b""


def test_parts_one_after_the_other_are_one_file_without_a_date() -> None:
    assert gzip.decompress(packed(b"one\n") + packed(b"two\n")) == b"one\ntwo\n"
    assert packed(b"one\n") == packed(b"one\n")
    assert packed(b"one\n")[4:8] == bytes(4)
