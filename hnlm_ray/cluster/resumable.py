"""Map a table with Ray Data so that an interrupted run goes on: what was written is not computed again.

::

    <folder>/requests.parquet    the rows to map, written before anything starts
             results/            one file per finished block
             checkpoint/         ids of the rows of each file: the two-phase commit of Ray Data
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hnlm_ray.cluster.connect import require
from hnlm_ray.cluster.heartbeat import heartbeat, rate_line
from hnlm_ray.errors import EngineError, ResourceError, StoreError
from hnlm_ray.run.places import Folder

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["resumable_map", "work_folder"]

_REQUESTS = "requests.parquet"
_SPARE_CPUS = 2
"""Besides those of the engines: for the filter of a resumed run, and for the maps around the engine."""
_FILTER_BYTES = 256 * 2**20
_PENDING_SUFFIX = ".pending.parquet"


def work_folder(output: Folder, name: str) -> Folder:
    """The folder for one resumable map of a stage; it is scratch, deleted when the stage is complete."""
    return output.folder("_work").folder(name)


def resumable_map(
    requests: pa.Table,
    transform: Callable[[Dataset], Dataset],
    *,
    schema: pa.Schema,
    folder: Folder,
    rows_per_block: int,
    needs: Mapping[str, float],
    purpose: str,
    say: Callable[[str], None],
) -> pa.Table:
    """Apply ``transform`` to every row exactly once, over any number of interrupted attempts.

    Args:
        requests: rows with a unique int64 ``id``; a resumed run must be given the same ids.
        transform: lazy and row-wise; keeps ``id`` and gives the columns of ``schema``.
        schema: of the result.
        folder: where work is kept between attempts.
        rows_per_block: rows that are computed and written together.
        needs: resources that ``transform`` holds.
        purpose: name of the work, for messages.
        say: called with a line of progress now and then.

    Returns:
        one row per request, sorted by id.

    Raises:
        ResourceError: the cluster is too small.
        EngineError: the engine did not start, or died.
        StoreError: the folder was begun for other requests, or holds other results.
    """
    _remember(requests, folder)
    wanted = np.sort(requests["id"].to_numpy())
    committed = _read(folder, "checkpoint", pa.schema({"id": pa.int64()}))["id"].unique()
    has_pending = any(path.endswith(_PENDING_SUFFIX) for path in _files(folder, "checkpoint"))
    if len(committed) < len(wanted) or has_pending:
        require({**needs, "CPU": needs.get("CPU", 0.0) + _SPARE_CPUS}, purpose)
        look = rate_line(purpose, len(wanted), _RowCount(folder))
        with _checkpointing(folder), _engine_errors(purpose), heartbeat(look, say):
            _run(transform, folder, rows_per_block)
    results = _read(folder, "results", schema).sort_by("id")
    if not np.array_equal(results["id"].to_numpy(), wanted):
        what = f"{folder.path} holds {results.num_rows} results for {len(wanted)} requests"
        raise StoreError(what, "delete it and run again")
    return results


class _RowCount:
    """Counts the rows in the result files; reads the footers of new files only."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.rows: dict[str, int] = {}

    def __call__(self) -> int:
        paths = set(_files(self.folder, "results"))
        self.rows = {path: rows for path, rows in self.rows.items() if path in paths}
        for path in paths - self.rows.keys():
            with contextlib.suppress(OSError, pa.ArrowInvalid):  # half-written: counted next time
                self.rows[path] = pq.read_metadata(path, filesystem=self.folder.filesystem).num_rows
        return sum(self.rows.values())


def _files(folder: Folder, name: str) -> list[str]:
    """Paths of the files of a subfolder."""
    inside = folder.folder(name)
    return [f"{inside.path}/{file}" for file in inside.files()]


def _read(folder: Folder, name: str, schema: pa.Schema) -> pa.Table:
    """All rows of the finished files of a subfolder."""
    files = [path for path in _files(folder, name) if not path.endswith(_PENDING_SUFFIX)]
    tables = [pq.read_table(path, filesystem=folder.filesystem, schema=schema) for path in files]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _run(transform: Callable[[Dataset], Dataset], folder: Folder, rows_per_block: int) -> None:
    import ray

    requests = ray.data.read_parquet(f"{folder.path}/{_REQUESTS}", filesystem=folder.filesystem, override_num_blocks=1)
    # A block is written as one file: read all rows as one block, and cut it to size.
    results = transform(requests.repartition(target_num_rows_per_block=rows_per_block))
    target = folder.folder("results")
    target.create()
    results.write_parquet(target.path, filesystem=folder.filesystem)


def _remember(requests: pa.Table, folder: Folder) -> None:
    if _REQUESTS in folder.files():
        path = f"{folder.path}/{_REQUESTS}"
        old = pq.read_table(path, filesystem=folder.filesystem, columns=["id"])["id"].to_numpy()
        if not np.array_equal(np.sort(old), np.sort(requests["id"].to_numpy())):
            raise StoreError(f"{folder.path} was begun for other rows", "delete it and run again")
        return
    folder.create()
    folder.clear()
    with folder.replacing(_REQUESTS) as temporary:
        pq.write_table(requests, temporary, filesystem=folder.filesystem)


@contextlib.contextmanager
def _checkpointing(folder: Folder) -> Iterator[None]:
    """Ray Data's checkpointing for the data sets made in the body."""
    from ray.data import DataContext
    from ray.data.checkpoint import CheckpointConfig

    config = CheckpointConfig(
        id_column="id",
        checkpoint_path=f"{folder.path}/checkpoint",
        override_filesystem=folder.filesystem,
        delete_checkpoint_on_success=False,  # the table is not written yet
    )
    # The default is up to ten actors of one CPU and 1 GiB each, to look up integers.
    config.checkpoint_actor_pool_max_size = 1
    config.checkpoint_actor_memory_bytes = _FILTER_BYTES
    context = DataContext.get_current().copy()
    context.checkpoint_config = config
    # The newer reader of Parquet starts a dozen actors to list and read footers, for one small file.
    context.use_datasource_v2 = False
    with DataContext.current(context):
        yield


@contextlib.contextmanager
def _engine_errors(purpose: str) -> Iterator[None]:
    """Errors of the engine become errors of ours; an exception in a map is a bug and passes."""
    from ray.exceptions import ActorDiedError, ActorUnschedulableError, OutOfMemoryError

    try:
        yield
    except ActorDiedError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise EngineError(f"the engine of {purpose} died ({lines[-1]})", "see `hnlm doctor` and Ray's logs") from error
    except (ActorUnschedulableError, OutOfMemoryError) as error:
        what = f"{purpose} ran out of resources ({str(error).strip().splitlines()[0]})"
        raise ResourceError(what, "use a larger machine or fewer replicas") from error
