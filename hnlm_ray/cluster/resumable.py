"""Map a table with Ray Data so that an interrupted run goes on: what was written is not computed again.

Work is done in rounds. Each round maps the rows that have no durable result yet, and writes a file per finished block::

    <folder>/requests-0.parquet    the rows of the first round
             results/0/            one file per finished block of it
             requests-1.parquet    the rows that had no durable result when the second round began
             results/1/

A file that cannot be read, as a kill or a full disk leave it, counts as not written: its rows are in the next round.

When the process of an engine dies, the next rounds take fewer rows, down to one. A row that kills an engine when it is
alone there gets a result that says so, and the others go on.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnlm_ray.cluster.connect import require
from hnlm_ray.cluster.heartbeat import heartbeat, rate_line
from hnlm_ray.cluster.maps import old_names_allowed, task_limits
from hnlm_ray.errors import EngineError, ResourceError, StageError
from hnlm_ray.run.deaths import did_not_start, way_of_death
from hnlm_ray.run.places import Folder

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["resumable_map", "work_folder"]

_REQUESTS = "requests-{}.parquet"
_SPARE_CPUS = 2
"""Besides those of the engines: for reading, writing and the maps around the engine."""
_FEWER = 8
"""A round after a death has so many times fewer rows, and one after a success so many times more."""
_MOST_DEATHS = 40
"""Of engines in one call; then something else than a row is wrong."""
_MOST_DEATHS_IN_VAIN = 8
"""Without a single result between them: enough to come from all rows down to one."""
_PATIENCE_S, _LOOK_S = 600, 5.0
"""How long, and how often, a cluster that has lost a machine is looked at for another one."""
IsDurable = Callable[[pa.Table], pa.ChunkedArray]
Lost = Callable[[pa.ChunkedArray, str], pa.Table]


class _EngineDiedError(EngineError):
    """The process of an engine ended."""


def work_folder(output: Folder, name: str) -> Folder:
    """The folder for one resumable map of a stage; it is scratch, deleted when the stage is complete."""
    return output.folder("_work").folder(name)


def _always(results: pa.Table) -> pa.ChunkedArray:
    return pa.chunked_array([np.ones(results.num_rows, bool)])


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
    is_durable: IsDurable = _always,
    lost: Lost | None = None,
) -> pa.Table:
    """Apply ``transform`` to every row that has no durable result of an earlier call.

    Args:
        requests: rows with a unique int64 ``id``, which means the same in every call with this folder.
        transform: lazy and row-wise; keeps ``id`` and gives the columns of ``schema``.
        schema: of the result.
        folder: where work is kept between attempts.
        rows_per_block: rows that are computed and written together.
        needs: resources that ``transform`` holds.
        purpose: name of the work, for messages.
        say: called with a line of progress now and then.
        is_durable: the boolean mask of the results that later calls take as they are. The others are results of this
            call all the same.
        lost: the result of a row whose id it is given, and the reason, when the row kills the process of the engine;
            where it is None, such a row ends the map when it is alone.

    Returns:
        one row per request, sorted by id.

    Raises:
        ResourceError: the cluster is too small.
        EngineError: the engine did not start, or died.
        StageError: the engine gave no result for a row.
        StoreError: the folder cannot be read or written.
    """
    rounds = _rounds(folder)
    kept = _results(folder, range(rounds), schema, say)
    kept = kept.filter(pc.and_(is_durable(kept), pc.is_in(kept["id"], requests["id"].combine_chunks())))
    missing = requests.filter(pc.invert(pc.is_in(requests["id"], kept["id"].combine_chunks())))
    if missing.num_rows:
        needs = {**needs, "CPU": needs.get("CPU", 0.0) + _SPARE_CPUS}
        require(needs, purpose)
        sizes = kept.num_rows, requests.num_rows
        rounds_of = _Rounds(transform, folder, rows_per_block, schema, needs, purpose, say, *sizes)
        kept = pa.concat_tables([kept, rounds_of.all(missing, rounds, lost)])
    kept = _one_per_id(kept)
    if kept.num_rows != requests.num_rows:
        what = f"{purpose} gave {kept.num_rows} results for {requests.num_rows} rows"
        raise StageError(what, "run the same command again, which computes only what is missing")
    return kept


@dataclass
class _Rounds:
    """The rounds of one call; its fields are arguments of :func:`resumable_map`, and the rows done and in all."""

    transform: Callable[[Dataset], Dataset]
    folder: Folder
    rows_per_block: int
    schema: pa.Schema
    needs: Mapping[str, float]
    purpose: str
    say: Callable[[str], None]
    done: int
    total: int

    def all(self, missing: pa.Table, number: int, lost: Lost | None) -> pa.Table:
        """Results of the missing rows, from the round of this number on."""
        found = [self.schema.empty_table()]
        size, deaths, in_vain = missing.num_rows, 0, 0
        while missing.num_rows:
            asked, death = missing.slice(0, size), None
            largest = self.rows_per_block if deaths == 0 else max(1, asked.num_rows // _FEWER)
            try:
                self._one(asked, number, min(self.rows_per_block, largest))
            except _EngineDiedError as error:
                death = error
            got = _results(self.folder, [number], self.schema, self.say)
            number += 1
            if death is None and got.num_rows < asked.num_rows:
                return pa.concat_tables([*found, got])  # it is said that rows are missing
            in_vain = 0 if got.num_rows else in_vain + 1
            if death is not None:
                deaths += 1
                if deaths > _MOST_DEATHS or in_vain > _MOST_DEATHS_IN_VAIN or (lost is None and asked.num_rows == 1):
                    raise death
                if lost is not None and asked.num_rows == 1:
                    got = lost(asked["id"], death.problem)
            found.append(got)
            self.done += got.num_rows
            missing = missing.filter(pc.invert(pc.is_in(missing["id"], got["id"].combine_chunks())))
            if death is None:
                size *= _FEWER
            else:
                size = max(1, min(asked.num_rows, missing.num_rows, _FEWER**2 * self.rows_per_block) // _FEWER)
                then = f"{missing.num_rows} rows are left, the next {size} are tried"
                self.say(f"{self.purpose}: {death.problem}; {then if missing.num_rows else 'no row is left'}")
                self._wait_for_room()
        return pa.concat_tables(found)

    def _wait_for_room(self) -> None:
        """Until the cluster has what is needed again: a machine that was lost is perhaps replaced."""
        started = time.monotonic()
        while True:
            try:
                return require(self.needs, self.purpose)
            except ResourceError as error:
                waited = time.monotonic() - started
                if waited > _PATIENCE_S:
                    raise
                if waited < _LOOK_S:
                    self.say(f"{error.problem}; waiting for more machines, {_PATIENCE_S // 60} minutes at most")
                time.sleep(_LOOK_S)

    def _one(self, asked: pa.Table, number: int, rows_per_block: int) -> None:
        results = _begin_round(asked, self.folder, number)
        count = _RowCount(results, self.done)
        with _engine_errors(self.purpose), heartbeat(rate_line(self.purpose, self.total, count), self.say):
            _run(self.transform, self.folder, number, rows_per_block)
        count()


class _RowCount:
    """Counts the rows in the result files of a round, each file once; from then on the file outlives a power cut."""

    def __init__(self, folder: Folder, before: int) -> None:
        self.folder, self.before = folder, before
        self.rows: dict[str, int] = {}

    def __call__(self) -> int:
        found: dict[str, int] = {}
        for path in set(_files(self.folder)) - self.rows.keys():
            with contextlib.suppress(OSError, pa.ArrowInvalid):  # half-written: counted next time
                found[path] = pq.read_metadata(path, filesystem=self.folder.filesystem).num_rows
        if found:
            self.folder.sync(*map(os.path.basename, found))
            self.rows |= found
        return self.before + sum(self.rows.values())


def _files(folder: Folder) -> list[str]:
    return [f"{folder.path}/{name}" for name in folder.files()]


def _rounds(folder: Folder) -> int:
    """How many rounds were begun."""
    names = set(folder.files())
    return next(number for number in range(len(names) + 1) if _REQUESTS.format(number) not in names)


def _begin_round(missing: pa.Table, folder: Folder, number: int) -> Folder:
    """Write the rows of a round.

    Returns:
        the folder of its results.
    """
    results = folder.folder("results").folder(str(number))
    results.create()
    results.clear()  # of a folder that lost its requests
    with folder.replacing(_REQUESTS.format(number)) as temporary:
        pq.write_table(missing, temporary, filesystem=folder.filesystem)
    return results


def _results(folder: Folder, rounds: Iterable[int], schema: pa.Schema, say: Callable[[str], None]) -> pa.Table:
    """All rows of the readable files of some rounds."""
    tables = [schema.empty_table()]
    for number in rounds:
        for path in _files(folder.folder("results").folder(str(number))):
            try:
                table = pq.read_table(
                    path, filesystem=folder.filesystem, schema=schema, page_checksum_verification=True
                )
                tables.append(table.cast(schema))
            except (pa.ArrowException, OSError, ValueError) as error:
                reason = str(error).splitlines()[0][:100]
                say(f"{path} cannot be used ({reason}); its rows are computed again")
    return pa.concat_tables(tables)


def _one_per_id(results: pa.Table) -> pa.Table:
    """Sorted by id; a row that was written twice, as a repeated task may do, stands once."""
    results = results.sort_by("id")
    ids = results["id"].to_numpy()
    return results.filter(pa.array(np.append(True, ids[1:] != ids[:-1])[: ids.size]))


def _run(transform: Callable[[Dataset], Dataset], folder: Folder, number: int, rows_per_block: int) -> None:
    import ray
    from ray.data import DataContext

    context = DataContext.get_current().copy()
    # The newer reader of Parquet starts a dozen actors to list and read footers, for one small file.
    context.use_datasource_v2 = False
    with DataContext.current(context), old_names_allowed():
        path = f"{folder.path}/{_REQUESTS.format(number)}"
        once = task_limits(0)
        requests = ray.data.read_parquet(
            path, filesystem=folder.filesystem, override_num_blocks=1, ray_remote_args=once
        )
        # A block is written as one file: read all rows as one block, and cut it to size.
        results = transform(requests.repartition(target_num_rows_per_block=rows_per_block))
        target = f"{folder.path}/results/{number}"
        results.write_parquet(target, filesystem=folder.filesystem, write_page_checksum=True, ray_remote_args=once)


@contextlib.contextmanager
def _engine_errors(purpose: str) -> Iterator[None]:
    """Errors of the engine become errors of ours; another exception in a map is a bug and passes."""
    from ray.exceptions import ActorUnschedulableError, RayError

    try:
        yield
    except ActorUnschedulableError as error:
        what = f"{purpose} ran out of resources ({str(error).strip().splitlines()[0]})"
        raise ResourceError(what, "use a larger machine or fewer replicas") from error
    except RayError as error:
        if (way := way_of_death(error)) is None:
            raise
        kind, came = (EngineError, "did not start") if did_not_start(error) else (_EngineDiedError, "died")
        raise kind(f"the engine of {purpose} {came} ({way})", "see `hnlm doctor` and Ray's logs") from error
