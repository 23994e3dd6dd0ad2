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
import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hnlm_ray.cluster.connect import require
from hnlm_ray.cluster.heartbeat import heartbeat, rate_line
from hnlm_ray.cluster.kept import lost as lost_actor
from hnlm_ray.cluster.maps import old_names_allowed, task_limits
from hnlm_ray.errors import EngineError, ResourceError, StageError
from hnlm_ray.run.deaths import did_not_start, way_of_death
from hnlm_ray.run.places import Folder, storage_errors
from hnlm_ray.run.progress import Say
from hnlm_ray.run.rows import Located, RowGroup, Rows, is_among, read_group, read_parts, write_parts

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
    requests: Rows,
    transform: Callable[[Dataset], Dataset],
    *,
    schema: pa.Schema,
    folder: Folder,
    rows_per_block: int,
    needs: Mapping[str, float],
    purpose: str,
    say: Say,
    is_durable: IsDurable = _always,
    lost: Lost | None = None,
) -> Located:
    """Apply ``transform`` to every row that has no durable result of an earlier call.

    Neither requests nor results are ever held whole: this process knows their ids.

    Args:
        requests: rows whose ``id`` means the same in every call with this folder.
        transform: lazy and row-wise; keeps ``id`` and gives the columns of ``schema``.
        schema: of the result.
        folder: where work is kept between attempts.
        rows_per_block: rows that are computed and written together.
        needs: resources that ``transform`` holds.
        purpose: name of the work, for messages.
        say: called with a line about the work, and with how many rows are done, now and then.
        is_durable: the boolean mask of the results that later calls take as they are. The others are results of this
            call all the same.
        lost: the result of a row whose id it is given, and the reason, when the row kills the process of the engine;
            where it is None, such a row ends the map when it is alone.

    Returns:
        where the result of each request is, in ``folder``.

    Raises:
        ResourceError: the cluster is too small.
        EngineError: the engine did not start, or died.
        StageError: the engine gave no result for a row.
        StoreError: the folder cannot be read or written.
    """
    rounds = _rounds(folder)
    kept = _results(folder, range(rounds), schema, say, is_durable)
    kept = kept.where(kept.durable & is_among(kept.ids, requests.ids))
    missing = requests.only(np.setdiff1d(requests.ids, kept.ids, assume_unique=True))
    if missing.ids.size:
        needs = {**needs, "CPU": needs.get("CPU", 0.0) + _SPARE_CPUS}
        require(needs, purpose)
        read = functools.partial(_results, schema=schema, say=say, is_durable=is_durable)
        sizes = kept.ids.size, requests.ids.size
        rounds_of = _Rounds(transform, folder, rows_per_block, read, needs, purpose, say, *sizes)
        kept = Located.together([kept, *rounds_of.all(missing, rounds, lost)])
    if kept.ids.size != requests.ids.size:
        what = f"{purpose} gave {kept.ids.size} results for {requests.ids.size} rows"
        raise StageError(what, "run the same command again, which computes only what is missing")
    return kept


@dataclass
class _Rounds:
    """The rounds of one call; its fields are arguments of :func:`resumable_map`, and the rows done and in all."""

    transform: Callable[[Dataset], Dataset]
    folder: Folder
    rows_per_block: int
    read: Callable[[Folder, Iterable[int]], Located]
    """Finds the results of some rounds."""
    needs: Mapping[str, float]
    purpose: str
    say: Say
    done: int
    total: int

    def all(self, missing: Rows, number: int, lost: Lost | None) -> list[Located]:
        """Results of the missing rows, from the round of this number on."""
        found: list[Located] = []
        first, size, deaths, in_vain = number, missing.ids.size, 0, 0
        while missing.ids.size:
            asked, death = missing.only(missing.ids[:size]), None
            largest = self.rows_per_block if deaths == 0 else max(1, asked.ids.size // _FEWER)
            try:
                self._one(asked, number, min(self.rows_per_block, largest))
            except _EngineDiedError as error:
                death = error
            got = self.read(self.folder, [number])
            if death is not None:
                deaths, in_vain = deaths + 1, 0 if got.ids.size else in_vain + 1
                if deaths > _MOST_DEATHS or in_vain > _MOST_DEATHS_IN_VAIN or (lost is None and asked.ids.size == 1):
                    raise death
                if lost is not None and asked.ids.size == 1:
                    got = self._written(lost(pa.chunked_array([asked.ids]), death.problem), number)
            found.append(got)
            self.done += got.ids.size
            if death is None and got.ids.size < asked.ids.size:
                return found  # it is said that rows are missing
            # The first round has written all rows: they are not made again.
            missing = self._of_round(first, np.setdiff1d(missing.ids, got.ids, assume_unique=True))
            if death is None:
                in_vain, size = 0, size * _FEWER
            else:
                left = missing.ids.size
                size = max(1, min(asked.ids.size, left, _FEWER**2 * self.rows_per_block) // _FEWER)
                then = f"{left} rows are left, the next {size} are tried"
                self.say(f"{self.purpose}: {death.problem}; {then if left else 'no row is left'}")
                self._wait_for_room()
            number += 1
        return found

    def _of_round(self, number: int, ids: npt.NDArray[np.int64]) -> Rows:
        """Rows with these ids of a round that was begun."""
        return Rows(ids, functools.partial(_requests, self.folder, number))

    def _written(self, results: pa.Table, number: int) -> Located:
        """Results that no engine gave, written beside those of a round."""
        place = self.folder.folder("results").folder(str(number))
        with place.replacing("lost.parquet") as temporary:
            pq.write_table(results, temporary, filesystem=place.filesystem)
        return self.read(self.folder, [number])

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

    def _one(self, asked: Rows, number: int, rows_per_block: int) -> None:
        results = _begin_round(asked, self.folder, number)
        count = _RowCount(results, self.done)
        with _engine_errors(self.purpose), heartbeat(rate_line(self.purpose, self.total, count, "rows"), self.say):
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


def _begin_round(missing: Rows, folder: Folder, number: int) -> Folder:
    """Write the rows of a round.

    Returns:
        the folder of its results.
    """
    results = folder.folder("results").folder(str(number))
    results.create()
    results.clear()  # of a folder that lost its requests
    with folder.replacing(_REQUESTS.format(number)) as temporary:
        write_parts(missing.read(), temporary, folder.filesystem)
    return results


def _requests(folder: Folder, number: int) -> Iterator[pa.Table]:
    """The rows of a round."""
    path = f"{folder.path}/{_REQUESTS.format(number)}"
    with storage_errors(path), pq.ParquetFile(path, filesystem=folder.filesystem) as file:
        yield from read_parts(file)


def _results(folder: Folder, rounds: Iterable[int], schema: pa.Schema, say: Say, is_durable: IsDurable) -> Located:
    """All rows of the readable files of some rounds."""
    found: list[tuple[RowGroup, npt.NDArray[np.int64], npt.NDArray[np.bool_]]] = []
    for number in rounds:
        for path in _files(folder.folder("results").folder(str(number))):
            try:
                found += _rows_of(path, folder, schema, is_durable)
            except (pa.ArrowException, OSError, ValueError, KeyError) as error:
                reason = str(error).splitlines()[0][:100]
                say(f"{path} cannot be used ({reason}); its rows are computed again")
    return Located.of(folder.filesystem, schema, found)


def _rows_of(
    path: str, folder: Folder, schema: pa.Schema, is_durable: IsDurable
) -> list[tuple[RowGroup, npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
    """The ids in a file, every value of which was read and found sound."""
    found = []
    with pq.ParquetFile(path, filesystem=folder.filesystem, page_checksum_verification=True) as file:
        for number in range(file.num_row_groups):
            rows = read_group(file, number, schema)
            durable = np.asarray(is_durable(rows).combine_chunks(), dtype=bool)
            found.append(((path, number), rows["id"].to_numpy(), durable))
    return found


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
        what = f"the engine of {purpose} {came} ({lost_actor() or way})"
        raise kind(what, "see `hnlm doctor` and Ray's logs") from error
