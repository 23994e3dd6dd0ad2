"""A map that survives being killed: nothing twice, nothing missing, nothing computed again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from hnlm_ray.cluster.resumable import resumable_map, work_folder
from hnlm_ray.errors import ResourceError, StoreError
from hnlm_ray.run.places import Folder
from hnlm_ray.run.store import RunStore

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("square", pa.int64())])
ROWS = pa.table({"id": pa.array(range(50), pa.int64())})


def squares(dataset):
    def square(batch: pa.Table) -> pa.Table:
        ids = batch["id"].to_numpy()
        return pa.table({"id": ids, "square": ids * ids})

    return dataset.map_batches(square, batch_format="pyarrow")


def never(dataset):
    raise AssertionError("a finished map was run again")


def run(folder: Folder, transform=squares, rows: pa.Table = ROWS, **needs: float) -> pa.Table:
    return resumable_map(
        rows, transform, schema=SCHEMA, folder=folder, rows_per_block=8, needs=needs, purpose="squaring", say=print
    )


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(pafs.LocalFileSystem(), str(tmp_path / "work"))


@pytest.mark.ray
def test_every_row_once_and_a_finished_map_is_not_run_again(ray_session: None, folder: Folder) -> None:
    result = run(folder)
    assert result["id"].to_pylist() == list(range(50))
    assert result["square"].to_pylist() == [n * n for n in range(50)]
    assert len(folder.folder("results").files()) == 7  # one file per block: what is durable together
    assert run(folder, never).equals(result)
    with pytest.raises(StoreError, match="begun for other rows"):
        run(folder, never, ROWS.slice(1))


@pytest.mark.ray
def test_what_was_lost_is_computed_again_and_only_that(ray_session: None, folder: Folder) -> None:
    whole = run(folder)
    # As a kill between the write of a file and its commit leaves it: the file, and a pending checkpoint.
    committed = Path(folder.path, "checkpoint", folder.folder("checkpoint").files()[0])
    lost = set(pq.read_table(committed)["id"].to_pylist())
    committed.rename(committed.with_name(committed.name.replace(".parquet", ".pending.parquet")))
    seen: list[list[int]] = []

    def spy(dataset):
        seen.append(sorted(dataset.take_all(), key=lambda row: row["id"]))
        return squares(dataset)

    results = folder.folder("results")
    before = set(results.files())
    assert run(folder).equals(whole)
    after = set(results.files())
    assert len(before - after) == 1  # the uncommitted file went
    fresh = [pq.read_table(f"{results.path}/{name}")["id"].to_pylist() for name in after - before]
    assert {row for rows in fresh for row in rows} == lost


@pytest.mark.ray
def test_rows_that_stand_twice_are_refused(ray_session: None, folder: Folder) -> None:
    run(folder)
    results = folder.folder("results")
    results.write_bytes("copy.parquet", results.read_bytes(results.files()[0]))
    with pytest.raises(StoreError, match="results for 50 requests"):
        run(folder, never)


@pytest.mark.ray
def test_a_folder_without_its_requests_is_begun_anew(ray_session: None, tmp_path: Path) -> None:
    output = RunStore(str(tmp_path)).artifact("stage", "f")
    folder = work_folder(output, "pass")
    run(folder)
    Path(folder.path, "requests.parquet").unlink()  # as a deletion that was cut short leaves it
    assert run(folder, rows=ROWS.slice(20)).num_rows == 30
    output.commit({})
    assert not Path(output.path, "_work").exists()


@pytest.mark.ray
def test_too_small_a_cluster_is_said_before_anything_starts(ray_session: None, folder: Folder) -> None:
    with pytest.raises(ResourceError, match="squaring needs"):
        run(folder, never, CPU=100.0)
    assert not folder.folder("results").files()


def test_no_rows_need_no_cluster(folder: Folder) -> None:
    assert run(folder, never, ROWS.slice(0, 0)).num_rows == 0


@pytest.mark.ray
def test_killed_half_way_it_computes_only_what_is_missing(tmp_path: Path) -> None:
    """``kill -9`` of the driver; then a resume on exactly the CPUs that the preflight asks for."""
    from tests.cluster import killed_run

    log, script = tmp_path / "log", Path(__file__).with_name("killed_run.py")

    def start(delay: str, cpus: str) -> subprocess.Popen[str]:
        # A Ray of its own in a short path, since sockets lie in it; not that of the session.
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": tempfile.mkdtemp(prefix="hnlm")}
        command = [sys.executable, str(script), str(tmp_path), str(log), delay, cpus]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)

    checkpoint = tmp_path / "item_profiles" / "test" / "_work" / "item_profile-0" / "checkpoint"

    def committed() -> set[int]:
        files = [path for path in checkpoint.glob("*.parquet") if "pending" not in path.name]
        return {row for path in files for row in pq.read_table(path)["id"].to_pylist()}

    first = start("0.3", "4")
    try:
        deadline = time.monotonic() + 120
        while len(committed()) < 2 * killed_run.BLOCK:
            assert first.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    time.sleep(2)  # the workers see that their raylet is gone
    durable = committed()
    assert 0 < len(durable) < killed_run.ROWS
    log.unlink()
    second = start("0.0", "2")
    said, _ = second.communicate(timeout=180)
    assert second.returncode == 0
    assert f"answers {killed_run.ROWS} {killed_run.ROWS}" in said
    again = [int(line) for line in log.read_text().split()]
    assert sorted(again) == sorted(set(range(killed_run.ROWS)) - durable)
    assert np.unique(again).size == len(again)
