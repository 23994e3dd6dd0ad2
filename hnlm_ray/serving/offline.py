"""Recommendations for every user of a bundle, as Parquet files: Ray Data over ranges of users.

Each worker maps the bundle, ranks the users of one range after the other and writes a file for each, so that neither
scores nor recommendations of all users are ever held. The folder becomes visible as a whole: files of a run that has
not ended stand under a hidden name, beside a local folder or inside one in an object store, and ``_SUCCESS`` is written
last. Readers of Parquet folders pass over names with an underscore.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hnlm_ray.cluster.connect import require
from hnlm_ray.cluster.heartbeat import heartbeat, rate_line
from hnlm_ray.errors import HnlmError, StoreError
from hnlm_ray.run.places import resolve, storage_errors
from hnlm_ray.serving.bundle.bundle import read_info
from hnlm_ray.serving.bundle.shelf import at_present
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.serving.recommend.wishes import Wishes

if TYPE_CHECKING:
    import ray.data

__all__ = ["DONE", "Summary", "recommend_all", "recommend_range"]

DONE = "_SUCCESS"
"""Written last: what the folder holds, as JSON."""

_UNFINISHED = "_unfinished"
_MOVES_AT_ONCE = 8
_ROWS_PER_FILE = 1_000_000
_FEWEST_USERS = 512
"""In a file, unless there are fewer: what makes the work on it worth sending it."""

_FILES_PER_WORKER = 4
"""At least, so that workers end at about the same time."""

_WAITING = 8
"""Ranges handed to a worker ahead: Ray Data looks for finished ones ten times a second only."""

_WRITING: dict[str, Any] = {
    "use_dictionary": ["user_id", "rank", "item_id", "source"],
    "dictionary_pagesize_limit": 1 << 28,  # beyond it the writer falls back to repeating each id
    "write_statistics": ["user_id"],  # what a reader looks for; those of items cost more than all the rest
    "write_batch_size": 1 << 16,
    "store_schema": False,  # plain strings to a reader, not the dictionaries that they are written from
}

_RESULT = pa.schema(
    {
        "part": pa.string(),
        "rows": pa.int64(),
        "users": pa.int64(),
        "popular": pa.int64(),
        "bytes": pa.int64(),
        "started": pa.float64(),  # seconds since 1970
        "ended": pa.float64(),
        "processor": pa.float64(),  # seconds
        "error": pa.string(),  # name of its class, or ""
        "problem": pa.string(),
        "action": pa.string(),
    }
)
"""What a worker says of one range. An error that a user can mend travels as a row: Ray would wrap an exception."""

_storage_errors = functools.partial(
    storage_errors, action="give a folder that every node can write to", kind=StoreError
)

_ERRORS = {kind.__name__: kind for kind in HnlmError.__subclasses__()}


@dataclass(frozen=True)
class Summary:
    """What :func:`recommend_all` did.

    Attributes:
        rows: recommendations.
        users: who got them, or could have got some.
        popular_users: those of them with no interaction, who got popular items.
        seconds: of the whole call; Ray had been started before.
        ranking_seconds: from the begin of the first range, when its worker had loaded the bundle, to the last file.
        processor_seconds: of all workers on their ranges.
    """

    rows: int
    users: int
    popular_users: int
    seconds: float
    ranking_seconds: float
    processor_seconds: float

    @property
    def users_per_second(self) -> float:
        """Of the whole call."""
        return self.users / max(self.seconds, 1e-9)

    def __str__(self) -> str:
        return (
            f"{self.rows:,} recommendations for {self.users:,} users ({self.popular_users:,} of them by popularity), "
            f"{self.seconds:.1f} s, {self.users_per_second:,.0f} users/s"
        )


def recommend_all(
    bundle: str, to: str, k: int, workers: int | None = None, say: Callable[[str], None] = print
) -> Summary:
    """Write the ``k`` best items of every user into a folder; needs a running Ray.

    Args:
        bundle: the folder, local or remote; every node must reach it. Of a shelf the current one is taken, and items
            that cannot be had are left out.
        to: a folder that is absent or empty, local or remote; every node must reach it. Its files are in the order of
            users, :data:`hnlm_ray.tables.RECOMMENDATIONS`.
        k: at least 1; a user to whom fewer items are left gets fewer.
        workers: processes with one CPU each; by default one per CPU.
        say: gets a line about every ten seconds.

    Raises:
        BundleError: it is missing or damaged.
        StoreError: the folder holds something, or cannot be written.
        ResourceError: the cluster has fewer CPUs than workers.
        ValueError: ``k`` or ``workers`` is less than 1.
    """
    begun = time.perf_counter()
    Wishes(k=k)
    place, unavailable = at_present(bundle)
    info = read_info(place)
    target = _Target(to)
    target.check_free()
    workers = _cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected at least 1")
    require({"CPU": workers}, "recommending to all users")
    ranges = _ranges(info.users, min(k, info.items), workers)
    done: list[dict[str, Any]] = []
    with target.writing(), heartbeat(rate_line("recommending", info.users, lambda: _total(done, "users")), say):
        options = {"bundle": place, "unavailable": unavailable, "to": to, "folder": target.staging, "k": k}
        for row in _work(ranges, workers, options):
            if row["error"]:
                raise _ERRORS[row["error"]](row["problem"], row["action"])
            done.append(row)
        done.sort(key=lambda row: str(row["part"]))
        about = {"bundle_version": info.version, "k": k, "users": _total(done, "users"), "rows": _total(done, "rows")}
        target.finish({row["part"]: row["bytes"] for row in done}, about)
    return Summary(
        _total(done, "rows"),
        _total(done, "users"),
        _total(done, "popular"),
        time.perf_counter() - begun,
        max(row["ended"] for row in done) - min(row["started"] for row in done),
        sum(row["processor"] for row in done),
    )


def recommend_range(recommender: Recommender, start: int, stop: int, k: int) -> tuple[pa.Table, int]:
    """The ``k`` best items of the users from ``start`` to ``stop`` (excluded).

    Returns:
        A table of :data:`hnlm_ray.tables.RECOMMENDATIONS` with its strings as dictionaries, and how many of the users
        got popular items.
    """
    contents, wishes = recommender.bundle.contents, Wishes(k=k)
    known = np.diff(contents.seen_offsets[start : stop + 1]) > 0
    items, scores, counts = recommender.best_rows(start + np.flatnonzero(known), wishes)
    if not known.all():
        popular = recommender.fold_in([], wishes)
        padding = items.shape[1] - len(popular.items)
        everybody = np.where(known, np.cumsum(known) - 1, len(items))  # the row of each user; the last is for popular
        items = np.concatenate([items, np.pad(popular.items, (0, padding))[None].astype(np.int32)])[everybody]
        scores = np.concatenate([scores, np.pad(popular.scores, (0, padding))[None]])[everybody]
        counts = np.append(counts, len(popular.items))[everybody]
    ranks = np.broadcast_to(np.arange(1, items.shape[1] + 1, dtype=np.int32), items.shape)
    # Mostly everybody has all places filled, which needs no mask.
    filled = ranks <= counts[:, None] if (counts < items.shape[1]).any() else ...
    users = np.repeat(np.arange(len(known), dtype=np.int32), counts)
    columns = {
        "user_id": _dictionary(users, contents.users["user_id"].slice(start, len(known))),
        "rank": ranks[filled].reshape(-1),
        "item_id": _dictionary(*_used(items[filled].reshape(-1), contents.items["item_id"])),
        "score": scores[filled].reshape(-1),
        "source": _dictionary(np.repeat((~known).astype(np.int8), counts), pa.array(["personal", "popular"])),
    }
    return pa.table(columns), int((~known).sum())


def _used(items: npt.NDArray[np.int32], ids: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], pa.ChunkedArray]:
    """Places of the items (n,) among those ids that occur, and these ids: what a file must hold of the catalogue."""
    occurs = np.zeros(len(ids), np.bool_)
    occurs[items] = True
    places = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
    return places[items], ids.take(pa.array(np.flatnonzero(occurs)))


def _dictionary(places: npt.NDArray[np.integer], values: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    dictionary = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return pa.DictionaryArray.from_arrays(pa.array(places), dictionary)


def _total(rows: list[dict[str, Any]], column: str) -> int:
    return sum(row[column] for row in rows)


def _cores() -> int:
    """CPUs of the cluster; a local Ray is started with more slots than there are cores."""
    import ray

    slots = int(ray.cluster_resources().get("CPU", 1.0))
    is_local = sum(node["Alive"] for node in ray.nodes()) == 1
    return max(1, min(slots, os.cpu_count() or 1) if is_local else slots)


def _ranges(n_users: int, width: int, workers: int) -> pa.Table:
    """``part``, ``start`` and ``stop`` of every file; one that is empty where there are no users."""
    size = max(_FEWEST_USERS, -(-n_users // (workers * _FILES_PER_WORKER)))
    size = max(1, min(size, _ROWS_PER_FILE // width))
    starts = np.arange(0, max(n_users, 1), size)
    parts = [f"part-{number:06d}.parquet" for number in range(len(starts))]
    return pa.table({"part": parts, "start": starts, "stop": np.minimum(starts + size, n_users)})


def _work(ranges: pa.Table, workers: int, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of :data:`_RESULT`, as workers come to an end with them."""
    import ray

    dataset: ray.data.Dataset = ray.data.from_arrow([ranges.slice(row, 1) for row in range(len(ranges))]).map_batches(
        _Worker,
        fn_constructor_kwargs=options,
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(ranges)), max_tasks_in_flight_per_actor=_WAITING),
        num_cpus=1,  # from which Ray derives the threads of a matrix product
    )
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from table.to_pylist()


class _Worker:
    """One Ray Data actor."""

    def __init__(self, bundle: str, unavailable: Sequence[str], to: str, folder: str, k: int) -> None:
        self._folder, self._k = folder, k
        self._problem: HnlmError | None = None
        try:
            self._filesystem = _resolve(to)[0]
            self._recommender = Recommender.load(bundle)
            self._recommender.catalogue.set_unavailable(unavailable)
        except HnlmError as error:
            self._problem = error
            return
        one = np.arange(min(1, self._recommender.info.users))
        self._recommender.best_rows(one, Wishes(k=k))  # compiles, or reads what an earlier process compiled

    def __call__(self, ranges: pa.Table) -> pa.Table:
        """Rows of :data:`_RESULT` for rows of :func:`_ranges`."""
        return pa.Table.from_pylist([self._answer(**row) for row in ranges.to_pylist()], schema=_RESULT)

    def _answer(self, part: str, start: int, stop: int) -> dict[str, Any]:
        try:
            if self._problem is not None:
                raise self._problem
            return {"part": part, "error": "", **self._write(part, start, stop)}
        except HnlmError as error:
            return {"part": part, "error": type(error).__name__, "problem": error.problem, "action": error.action}

    def _write(self, part: str, start: int, stop: int) -> dict[str, Any]:
        started, processor = time.time(), time.process_time()
        table, popular = recommend_range(self._recommender, start, stop, self._k)
        path = f"{self._folder}/{part}"
        with _storage_errors(path), self._filesystem.open_output_stream(path) as stream:
            pq.write_table(table, stream, **_WRITING)
            size = stream.tell()
        return {
            "rows": table.num_rows,
            "users": stop - start,
            "popular": popular,
            "bytes": size,
            "started": started,
            "ended": time.time(),
            "processor": time.process_time() - processor,
        }


class _Target:
    """A folder that becomes visible as a whole."""

    def __init__(self, to: str) -> None:
        self._filesystem, self._place = _resolve(to)
        self._is_local = isinstance(self._filesystem, pafs.LocalFileSystem)
        token = uuid.uuid4().hex[:8]
        parent, _, name = self._place.rpartition("/")
        inside = f"{self._place}/{_UNFINISHED}-{token}"
        self.staging = f"{parent}/.{name}{_UNFINISHED}-{token}" if self._is_local else inside

    def check_free(self) -> None:
        """Refuse a place that holds something; what killed runs left hidden in it does not count."""
        with _storage_errors(self._place):
            kind = self._filesystem.get_file_info(self._place).type
            listed = []
            if kind == pafs.FileType.Directory:
                listed = self._filesystem.get_file_info(pafs.FileSelector(self._place))
        names = {entry.base_name for entry in listed if not entry.base_name.startswith(_UNFINISHED)}
        if kind == pafs.FileType.File:
            raise StoreError(f"{self._place} is a file", "give a folder that is absent or empty")
        if names:
            complete = "recommendations" if DONE in names else f"files and no {DONE}"
            raise StoreError(f"{self._place} holds {complete}", "give another folder, or remove this one")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Make the hidden folder; it goes in the end, whatever happens."""
        with _storage_errors(self._place):
            self._filesystem.create_dir(self.staging, recursive=True)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # it is gone where the whole was moved
                self._filesystem.delete_dir(self.staging)

    def finish(self, sizes: dict[str, int], about: dict[str, object]) -> None:
        """Make the files visible, after a look at their sizes in bytes."""
        with _storage_errors(self._place):
            found = self._filesystem.get_file_info([f"{self.staging}/{name}" for name in sizes])
            lost = [info.base_name for info in found if info.size != sizes[info.base_name]]
            if lost:
                raise StoreError(f"{self.staging}/{lost[0]} is lost", "give a folder that every node reaches")
            content = json.dumps({**about, "files": list(sizes)}, indent=2).encode()
            with self._filesystem.open_output_stream(f"{self.staging}/{DONE}") as stream:
                stream.write(content)
            if self._is_local:
                self._filesystem.move(self.staging, self._place)
                return
            with ThreadPoolExecutor(_MOVES_AT_ONCE) as pool:
                list(pool.map(self._uncover, sizes))
            self._uncover(DONE)

    def _uncover(self, name: str) -> None:
        self._filesystem.move(f"{self.staging}/{name}", f"{self._place}/{name}")


def _resolve(path: str) -> tuple[pafs.FileSystem, str]:
    with _storage_errors(path):
        return resolve(path)
