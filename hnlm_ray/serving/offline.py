"""Recommendations for every user of a bundle, as Parquet files, by Ray Data over ranges of users.

Each worker maps the bundle into memory, ranks the users of one range after the other, and writes a file for each range,
so that neither the scores nor the recommendations of all users are ever in memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hnlm_ray.cluster.connect import require
from hnlm_ray.cluster.heartbeat import heartbeat, rate_line
from hnlm_ray.cluster.maps import mapped
from hnlm_ray.errors import HnlmError
from hnlm_ray.run.places import resolve
from hnlm_ray.run.progress import Say
from hnlm_ray.serving.bundle.info import read_info
from hnlm_ray.serving.bundle.shelf import Offer, current_offer
from hnlm_ray.serving.output_folder import OutputFolder, output_errors
from hnlm_ray.serving.recommend.options import RankingOptions
from hnlm_ray.serving.recommend.recommender import Recommender

__all__ = ["Summary", "recommend_all", "recommendation_table"]

_ROWS_PER_FILE = 1_000_000
_MIN_USERS_PER_FILE = 512
"""Fewer would make the overhead of a task noticeable."""

_MIN_FILES_PER_WORKER = 4
"""Enough for workers to finish at about the same time."""

_RANGES_IN_FLIGHT = 8
"""Ranges sent to a worker ahead, because Ray Data checks for finished ones only ten times a second."""

_WRITING: dict[str, Any] = {
    "use_dictionary": ["user_id", "rank", "item_id", "source"],
    "dictionary_pagesize_limit": 1 << 28,  # beyond it the writer falls back to repeating each id
    "write_statistics": ["user_id"],  # readers filter by user; statistics of items would cost more than all the rest
    "write_batch_size": 1 << 16,
    "store_schema": False,  # plain strings for a reader, not the dictionaries that they are written from
}

_RESULT = pa.schema(
    {
        **dict.fromkeys(("part", "error", "problem", "action"), pa.string()),  # error: name of its class, or ""
        **dict.fromkeys(("rows", "users", "popular", "bytes"), pa.int64()),
        **dict.fromkeys(("started", "ended", "processor"), pa.float64()),  # seconds; the first two since 1970
    }
)
"""What a worker reports of one range. An error of the user is sent as a row, because Ray would wrap an exception."""

_ERRORS = {kind.__name__: kind for kind in HnlmError.__subclasses__()}


@dataclass(frozen=True)
class Summary:
    """The outcome of :func:`recommend_all`.

    Attributes:
        rows: number of recommendations.
        users: number of users, including those who have seen every item and get none.
        popular_users: users without interactions, who got popular items.
        seconds: time of the whole call, without the start of Ray.
        ranking_seconds: time from the start of the first range, with the bundle loaded, to the last file.
        processor_seconds: processor time of all workers on their ranges.
    """

    rows: int
    users: int
    popular_users: int
    seconds: float
    ranking_seconds: float
    processor_seconds: float

    @property
    def users_per_second(self) -> float:
        """Users per second of the whole call."""
        return self.users / max(self.seconds, 1e-9)

    def __str__(self) -> str:
        return (
            f"{self.rows:,} recommendations for {self.users:,} users ({self.popular_users:,} of them by popularity), "
            f"{self.seconds:.1f} s, {self.users_per_second:,.0f} users/s"
        )


def recommend_all(
    bundle: str,
    to: str,
    k: int,
    workers: int | None = None,
    say: Say = print,
    *,
    overwrite: bool = False,
) -> Summary:
    """Write the ``k`` best items of every user into a folder; needs a running Ray.

    Args:
        bundle: a bundle, a shelf or a run, local or remote, that every node can read; of a shelf the current bundle is
            used, with the shelf's new items and without unavailable ones.
        to: an absent or empty folder, local or remote, that every node can write to. Its files hold
            :data:`hnlm_ray.tables.RECOMMENDATIONS`, in the order of the users.
        k: at least 1; users with fewer items left get fewer.
        workers: processes with one CPU each; by default one per CPU.
        say: called with how many users are done, about every ten seconds.
        overwrite: replace recommendations that the folder holds.

    Raises:
        BundleError: the bundle is missing or damaged.
        StoreError: the folder is not empty, or cannot be written.
        ResourceError: the cluster has fewer CPUs than workers.
        ValueError: ``k`` or ``workers`` is less than 1.
    """
    begun = time.perf_counter()
    RankingOptions(k=k)
    offer = current_offer(bundle)
    info = read_info(offer.address)
    target = OutputFolder(to, overwrite=overwrite)
    target.check_free()
    workers = _cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected at least 1")
    require({"CPU": workers}, "recommending to all users")
    ranges = _ranges(info.users, min(k, info.items), workers)
    done: list[dict[str, Any]] = []
    with (
        target.writing(),
        heartbeat(rate_line("recommending", info.users, lambda: _total(done, "users"), "users"), say),
    ):
        options = {"offer": offer, "to": to, "folder": target.staging, "k": k}
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


def recommendation_table(recommender: Recommender, start: int, stop: int, k: int) -> tuple[pa.Table, int]:
    """The ``k`` best items of each user from number ``start`` to ``stop`` (exclusive).

    Returns:
        Rows of :data:`hnlm_ray.tables.RECOMMENDATIONS` with strings as dictionaries, and the number of users without
        interactions, who got popular items.
    """
    contents, options = recommender.bundle.contents, RankingOptions(k=k)
    known = np.diff(contents.seen_offsets[start : stop + 1]) > 0
    items, scores, counts = recommender.top_items(start + np.flatnonzero(known), options)
    if not known.all():
        popular = recommender.fold_in([], options)
        padding = items.shape[1] - len(popular.items)
        everybody = np.where(known, np.cumsum(known) - 1, len(items))  # a row each; the last is popular items
        items = np.concatenate([items, np.pad(popular.items, (0, padding))[None].astype(np.int32)])[everybody]
        scores = np.concatenate([scores, np.pad(popular.scores, (0, padding))[None]])[everybody]
        counts = np.append(counts, len(popular.items))[everybody]
    ranks = np.broadcast_to(np.arange(1, items.shape[1] + 1, dtype=np.int32), items.shape)
    # Usually all places of all users are filled, which needs no mask.
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
    """Positions of the items (n,) among the ids that occur, and these ids, so that a file holds no others."""
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
    """``part``, ``start`` and ``stop`` of every file; one empty range where there are no users."""
    size = max(_MIN_USERS_PER_FILE, -(-n_users // (workers * _MIN_FILES_PER_WORKER)))
    size = max(1, min(size, _ROWS_PER_FILE // width))
    starts = np.arange(0, max(n_users, 1), size)
    parts = [f"part-{number:06d}.parquet" for number in range(len(starts))]
    return pa.table({"part": parts, "start": starts, "stop": np.minimum(starts + size, n_users)})


def _work(ranges: pa.Table, workers: int, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of :data:`_RESULT`, in the order in which workers finish them."""
    import ray

    dataset = mapped(
        ray.data.from_arrow([ranges.slice(row, 1) for row in range(len(ranges))]),
        _Worker,
        fn_constructor_kwargs=options,
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(
            size=min(workers, len(ranges)), max_tasks_in_flight_per_actor=_RANGES_IN_FLIGHT
        ),
        num_cpus=1,  # Ray derives the number of threads of a matrix product from it
    )
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from table.to_pylist()


class _Worker:
    """A Ray Data actor that ranks ranges of users."""

    def __init__(self, offer: Offer, to: str, folder: str, k: int) -> None:
        self._folder, self._k = folder, k
        self._problem: HnlmError | None = None
        try:
            self._filesystem = resolve(to)[0]
            self._recommender = Recommender.of(offer)
        except HnlmError as error:
            self._problem = error
            return
        one = np.arange(min(1, self._recommender.info.users))
        self._recommender.top_items(one, RankingOptions(k=k))  # compiles, or reads what an earlier process compiled

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
        table, popular = recommendation_table(self._recommender, start, stop, self._k)
        path = f"{self._folder}/{part}"
        with output_errors(path), self._filesystem.open_output_stream(path) as stream:
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
