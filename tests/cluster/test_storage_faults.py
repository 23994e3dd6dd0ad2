"""Durable work in an object store that refuses, resets and delays: each row once, or one sentence."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from hnlm_ray.cluster.maps import mapped
from hnlm_ray.cluster.resumable import resumable_map
from hnlm_ray.run.places import Folder, refusal
from hnlm_ray.run.rows import Rows
from tests.object_store_faults import Fault, FaultyProxy

pytestmark = pytest.mark.ray
SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("square", pa.int64())])
ROWS = pa.table({"id": pa.array(range(24), pa.int64())})
NUMBERS = itertools.count()


@contextmanager
def folder_behind(object_store: str, fault: Callable[[str, str], Fault]) -> Iterator[tuple[Folder, FaultyProxy]]:
    port = int(re.search(r"127\.0\.0\.1:(\d+)", object_store)[1])
    plain, _ = pafs.FileSystem.from_uri(f"s3://faults{object_store}")
    plain.create_dir("faults")
    proxy = FaultyProxy(port, fault)
    behind = pafs.S3FileSystem(
        endpoint_override=f"127.0.0.1:{proxy.server_port}", scheme="http", region="us-east-1", access_key="test",
        secret_key="test",
    )  # fmt: skip
    yield Folder(behind, f"faults/{next(NUMBERS)}"), proxy
    proxy.shutdown()
    proxy.server_close()


def squares_in(folder: Folder) -> pa.Table:
    def square(batch: pa.Table) -> pa.Table:
        ids = batch["id"].to_numpy()
        return pa.table({"id": ids, "square": ids * ids})

    return resumable_map(
        Rows.of(ROWS), lambda data: mapped(data, square, retries=0, batch_size=None), schema=SCHEMA, folder=folder,
        rows_per_block=8, needs={}, purpose="squaring", say=print,
    ).table()  # fmt: skip


@pytest.mark.parametrize("fault", ["503", "reset", "slow"])
def test_faults_that_pass_cost_nothing_but_time(ray_session: None, object_store: str, fault: Fault) -> None:
    seen: dict[tuple[str, str], int] = {}

    def first_time(method: str, path: str) -> Fault:
        count = seen[method, path] = seen.get((method, path), 0) + 1
        return fault if count == 1 and method in ("PUT", "GET") and "results" in path else None

    with folder_behind(object_store, first_time) as (folder, proxy):
        result = squares_in(folder)
        assert proxy.faults > 3
    assert result["square"].to_pylist() == [n * n for n in range(24)]


def test_a_store_that_refuses_is_understood_and_what_it_took_stays(ray_session: None, object_store: str) -> None:
    is_shut = [True]

    def refused(method: str, path: str) -> Fault:
        return "403" if is_shut[0] and method == "PUT" and "results" in path and "_00000" in path else None

    with folder_behind(object_store, refused) as (folder, proxy):
        with pytest.raises(OSError) as caught:  # noqa: PT011  (what it says is asserted below)
            squares_in(folder)
        said = refusal(caught.value) or ""
        assert "ACCESS_DENIED" in said
        assert "\n" not in said
        assert proxy.faults
        is_shut[0] = False
        assert squares_in(folder).num_rows == 24
