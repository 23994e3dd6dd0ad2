"""A map that survives being killed: nothing twice, nothing missing, nothing computed again."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from hnlm_ray.cluster import resumable
from hnlm_ray.cluster.maps import mapped
from hnlm_ray.cluster.resumable import resumable_map, work_folder
from hnlm_ray.errors import EngineError, ResourceError, StageError
from hnlm_ray.run.places import Folder
from hnlm_ray.run.rows import Rows
from hnlm_ray.run.store import RunStore
from tests.said import Said

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
    return in_memory(rows, transform, folder=folder, needs=needs, say=print)


def in_memory(rows: pa.Table, transform, **options) -> pa.Table:
    usual = {"schema": SCHEMA, "rows_per_block": 8, "needs": {}, "purpose": "squaring"}
    return resumable_map(Rows.of(rows), transform, **(usual | options)).table()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(pafs.LocalFileSystem(), str(tmp_path / "work"))


def files_of(folder: Folder, number: int = 0) -> list[Path]:
    """The result files of a round."""
    return sorted(Path(folder.path, "results", str(number)).glob("*.parquet"))


def ids_in(files: list[Path]) -> list[int]:
    return sorted(row for path in files for row in pq.read_table(path)["id"].to_pylist())


@pytest.mark.ray
def test_every_row_once_and_a_finished_map_is_not_run_again(ray_session: None, folder: Folder) -> None:
    result = run(folder)
    assert result["id"].to_pylist() == list(range(50))
    assert result["square"].to_pylist() == [n * n for n in range(50)]
    assert len(files_of(folder)) == 7  # one file per block: what is durable together
    assert run(folder, never).equals(result)
    assert run(folder, never, ROWS.slice(1)).equals(result.slice(1))


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """One bit of a stored value, which only the checksum of its page shows."""
    column = pq.read_metadata(path).row_group(0).column(1)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    path.write_bytes(content)


def replace_schema(path: Path) -> None:
    pq.write_table(pa.table({"other": ["text"]}), path)


@pytest.mark.ray
def test_a_damaged_block_is_computed_again_and_no_other(ray_session: None, folder: Folder) -> None:
    whole = run(folder)
    for number, damage in enumerate((remove, cut, empty, flip, replace_schema)):
        victim = files_of(folder)[number]
        lost = ids_in([victim])
        damage(victim)
        assert run(folder).equals(whole)
        assert ids_in(files_of(folder, number + 1)) == lost, damage.__name__
    assert run(folder, never).equals(whole)


@pytest.mark.ray
def test_a_stray_file_is_named_and_left_out(ray_session: None, folder: Folder) -> None:
    whole = run(folder)
    first = files_of(folder)[0]
    first.with_name("copy.parquet").write_bytes(first.read_bytes())
    stray = first.with_name("notes.txt")
    stray.write_text("not a table")
    said = Said()
    again = in_memory(ROWS, never, schema=SCHEMA, folder=folder, rows_per_block=8, needs={}, purpose="test", say=said)
    assert again.equals(whole)
    (line,) = said
    assert str(stray) in line


@pytest.mark.ray
def test_results_that_are_not_durable_are_of_this_call_only(ray_session: None, folder: Folder) -> None:
    def odd_fail(dataset):
        return dataset.map_batches(
            lambda batch: pa.table(
                {"id": batch["id"], "square": pa.array([-(n % 2) for n in batch["id"].to_pylist()])}
            ),
            batch_format="pyarrow",
        )

    def worked(results: pa.Table) -> pa.ChunkedArray:
        return pc.greater_equal(results["square"], 0)

    options = {"schema": SCHEMA, "folder": folder, "rows_per_block": 8, "needs": {}, "purpose": "test", "say": print}
    first = in_memory(ROWS, odd_fail, is_durable=worked, **options)
    assert first["square"].to_pylist() == [-(n % 2) for n in range(50)]
    second = in_memory(ROWS, squares, is_durable=worked, **options)
    assert second["square"].to_pylist() == [n * n if n % 2 else 0 for n in range(50)]
    assert ids_in(files_of(folder, 1)) == list(range(1, 50, 2))
    assert in_memory(ROWS, never, is_durable=worked, **options).equals(second)


@pytest.mark.ray
def test_an_engine_that_loses_rows_is_said_so(ray_session: None, folder: Folder) -> None:
    with pytest.raises(StageError, match="gave 40 results for 50 rows"):
        run(folder, lambda dataset: squares(dataset.filter(lambda row: row["id"] >= 10)))
    assert run(folder).num_rows == 50


def mortal_blocks(monkeypatch: pytest.MonkeyPatch, deadly: set[int], at_once: int = 4) -> list[int]:
    """Rounds without Ray: blocks in order, so many at once; one with a deadly row takes those beside it along.

    Returns:
        the sizes of the rounds, as they come.
    """
    sizes: list[int] = []

    def rounds(transform: Any, folder: Folder, number: int, rows_per_block: int) -> None:
        ids = pq.read_table(f"{folder.path}/requests-{number}.parquet")["id"].to_pylist()
        sizes.append(len(ids))
        blocks = [ids[at : at + rows_per_block] for at in range(0, len(ids), rows_per_block)]
        for at in range(0, len(blocks), at_once):
            under_way = blocks[at : at + at_once]
            if deadly & {row for block in under_way for row in block}:
                raise resumable._EngineDiedError("the engine of squaring died", "look")
            for place, block in enumerate(under_way):
                table = pa.table({"id": block, "square": [n * n for n in block]}, schema=SCHEMA)
                pq.write_table(table, f"{folder.path}/results/{number}/{at + place}.parquet")

    monkeypatch.setattr(resumable, "_run", rounds)
    monkeypatch.setattr(resumable, "require", lambda needs, purpose: None)
    return sizes


def minus_one(ids: pa.ChunkedArray, reason: str) -> pa.Table:
    assert "died" in reason
    return pa.table({"id": ids, "square": [-1] * len(ids)}, schema=SCHEMA)


@pytest.mark.parametrize("deadly", [{0}, {13}, {499}, {100, 101}, {7, 250, 490}, set(range(60, 64))])
def test_deadly_rows_are_found_in_a_bounded_number_of_rounds(
    monkeypatch: pytest.MonkeyPatch, folder: Folder, deadly: set[int]
) -> None:
    sizes = mortal_blocks(monkeypatch, deadly)
    rows = pa.table({"id": pa.array(range(500), pa.int64())})
    said = Said()
    result = in_memory(
        rows, never, schema=SCHEMA, folder=folder, rows_per_block=16, needs={}, purpose="squaring", say=said,
        lost=minus_one,
    )  # fmt: skip
    assert result["id"].to_pylist() == list(range(500))
    assert result["square"].to_pylist() == [-1 if n in deadly else n * n for n in range(500)]
    assert len(sizes) < 18 * len(deadly)
    assert any("rows are left" in line for line in said)


def test_an_engine_that_dies_of_everything_is_given_up(monkeypatch: pytest.MonkeyPatch, folder: Folder) -> None:
    sizes = mortal_blocks(monkeypatch, set(range(50)))
    with pytest.raises(EngineError, match="died"):
        run(folder, never)  # nobody says what becomes of such a row
    assert sizes[0] == 50
    assert sizes[-1] == 1
    sizes.clear()
    options = {"schema": SCHEMA, "folder": folder, "rows_per_block": 8, "needs": {}, "purpose": "squaring"}
    with pytest.raises(EngineError, match="died"):
        in_memory(ROWS, never, lost=minus_one, say=print, **options)
    assert len(sizes) == 9


def test_an_engine_that_is_lost_once_costs_a_round(monkeypatch: pytest.MonkeyPatch, folder: Folder) -> None:
    deadly = {17}
    mortal_blocks(monkeypatch, deadly)
    said = Said()

    def say(line: object) -> None:
        said(line)
        deadly.clear()  # the node was lost, no row is at fault

    options = {"schema": SCHEMA, "folder": folder, "rows_per_block": 8, "needs": {}, "purpose": "squaring"}
    result = in_memory(ROWS, never, say=say, **options)  # as encoding does, with nothing to say of a lost row
    assert result["square"].to_pylist() == [n * n for n in range(50)]
    assert len([line for line in said if "died" in line]) == 1


def deadly_squares(deadly: set[int], batch: pa.Table) -> pa.Table:
    ids = batch["id"].to_numpy()
    if deadly & set(ids.tolist()):
        os._exit(1)
    return pa.table({"id": ids, "square": ids * ids})


class Mortal:
    """Squares; its process ends at some rows."""

    def __init__(self, deadly: set[int]) -> None:
        self.deadly = deadly

    def __call__(self, batch: pa.Table) -> pa.Table:
        return deadly_squares(self.deadly, batch)


def killed_by(deadly: set[int], kind: str) -> Callable[[Any], Any]:
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    if kind == "task":
        return lambda data: mapped(data, functools.partial(deadly_squares, deadly), retries=0, batch_size=None)
    pool = {"fn_constructor_args": (deadly,), "compute": ray.data.ActorPoolStrategy(size=1)}
    return lambda data: mapped(data, Mortal, retries=0, batch_size=None, **pool)


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["actor", "task"])
def test_a_row_that_kills_its_process_is_found_and_the_others_go_on(
    ray_session: None, folder: Folder, kind: str
) -> None:
    said = Said()
    options = {"schema": SCHEMA, "folder": folder, "rows_per_block": 8, "needs": {}, "purpose": "squaring"}
    result = in_memory(ROWS, killed_by({13}, kind), lost=minus_one, say=said, **options)
    assert result["square"].to_pylist() == [-1 if n == 13 else n * n for n in range(50)]
    assert 1 < len([line for line in said if "died" in line]) < 8


@pytest.mark.ray
def test_a_folder_without_its_requests_is_begun_anew(ray_session: None, tmp_path: Path) -> None:
    output = RunStore(str(tmp_path)).artifact("stage", "f")
    folder = work_folder(output, "pass")
    run(folder)
    Path(folder.path, "requests-0.parquet").unlink()  # as a deletion that was cut short leaves it
    assert run(folder, rows=ROWS.slice(20)).num_rows == 30
    assert len(ids_in(files_of(folder))) == 30
    output.commit({})
    assert not Path(output.path, "_work").exists()


@pytest.mark.ray
def test_too_small_a_cluster_is_said_before_anything_starts(ray_session: None, folder: Folder) -> None:
    with pytest.raises(ResourceError, match="squaring needs"):
        run(folder, never, CPU=100.0)
    assert not files_of(folder)


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

    results = tmp_path / "item_profiles" / "test" / "_work" / "item_profile-0" / "results" / "0"

    def committed() -> set[int]:
        found: set[int] = set()
        for path in results.glob("*.parquet"):
            with contextlib.suppress(pa.ArrowInvalid, OSError):  # half-written
                found.update(pq.read_table(path)["id"].to_pylist())
        return found

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


@pytest.mark.ray
def test_a_node_that_is_lost_costs_its_blocks_and_is_waited_for(tmp_path: Path) -> None:
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "tests.cluster.lost_node", str(tmp_path)]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300)
    assert (tmp_path / "found.json").exists(), done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["squares"] == [n * n for n in range(60)]
    assert found["kept"] >= 1
    assert any("died" in line and "rows are left" in line for line in found["said"])
    assert [line for line in found["said"] if "waiting" in line] == [
        "squaring needs 6 CPU (there are 4); waiting for more machines, 10 minutes at most"
    ]
