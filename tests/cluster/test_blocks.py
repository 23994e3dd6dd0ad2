"""Blocks mapped by Ray Data: all rows, and how many blocks are done."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest

from hnlm_ray.cluster.blocks import Work, table_of_blocks
from hnlm_ray.run.progress import WorkDone

SCHEMA = pa.schema({"row": pa.int64()})
BLOCKS = 9


def slow() -> Work:
    def work(block: int) -> pa.Table:
        time.sleep(0.15)
        return pa.table({"row": [2 * block, 2 * block + 1]}, schema=SCHEMA)

    return work


class Heard:
    every_s = 0.02

    def __init__(self) -> None:
        self.all: list[WorkDone] = []

    def __call__(self, said: str | WorkDone) -> None:
        assert isinstance(said, WorkDone)
        self.all.append(said)


@pytest.mark.ray
def test_the_rows_of_all_blocks_come_and_it_is_said_how_many_are_done(ray_session: None) -> None:
    heard = Heard()
    table = table_of_blocks(slow, BLOCKS, SCHEMA, "squares", heard)
    assert table.schema == SCHEMA
    assert sorted(table["row"].to_pylist()) == list(range(2 * BLOCKS))
    assert {(said.work, said.total, said.unit) for said in heard.all} == {("squares", BLOCKS, "blocks")}
    done = [said.done for said in heard.all]
    assert done == sorted(done)
    assert 0 < done[0] < BLOCKS
