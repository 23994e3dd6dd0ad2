"""The best items of a batch of users, without what they have met: ours against the product alone and other libraries.

    python benchmarks/batch_topk.py [--items N...] [--threads T...] [--batch B] [--k K] [--rounds R]
    python benchmarks/batch_topk.py --offline [--items N...] [--users U] [--depths K...] [--rounds R]

Vectors of 64 dimensions and 30 met items per user are drawn at random: the work does not depend on their values. The
contenders take turns in every round. A turn is one call that does not count and two that do, so that each contender
finds the caches as it leaves them: what the one before still has to write to memory would be counted as its own.
Medians and minima are reported, on the clock and in processor time, which a busy machine stretches less. Whatever
libraries can keep from batch to batch is made before: room for the scores, an index, a mask per user. One JSON line per
contender; ``same_places`` is the share of places with the same item as ``argpartition``, and with the same or one whose
score differs in the last bits only.

Threads of OpenBLAS go to sleep at once after a product (``OPENBLAS_THREAD_TIMEOUT=4``, unless set otherwise): by
default they spin, and take the core of whatever threads select.

``product`` is one matrix product of the batch into memory that is there; ``product_tiles`` the same in our tiles.
``faiss_flat`` filters nothing, and so answers another question. faiss can leave out items for a whole search, not for
each of its queries: exact answers come from one search for the k + 30 best with the met ones dropped afterwards
(``faiss_flat_dropped``), or from one search per user with an ``IDSelector`` (``faiss_flat_selector``, 100 users,
multiplied).

With ``--offline``: ``recommend_all`` with two workers of one thread against the product in two processes of one
thread, which also start together; from the first range to the last written file. The start of Ray and of its workers
is left out, and is in ``call_s``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

DIM, MET, SELECTOR_USERS, STEP = 64, 30, 100, 1000
CALLS, WORKERS = 2, 2


def vectors(n_users: int, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(n, DIM)).astype(np.float32) for n in (n_users, n_items))
    return users, items


def write_world(folder: str, n_users: int, n_items: int) -> None:
    import pyarrow as pa

    from hnlm_ray.serving.bundle.contents import Contents
    from hnlm_ray.serving.bundle.info import BundleAbout
    from hnlm_ray.serving.bundle.writing import write_bundle
    from hnlm_ray.tables import ITEMS, USERS

    users, items = vectors(n_users, n_items)
    rng = np.random.default_rng(1)
    met = np.concatenate([np.sort(rng.choice(n_items, MET, replace=False)) for _ in range(n_users)]).astype(np.int32)
    user_table = {"user": np.arange(n_users, dtype=np.int32), "user_id": [f"A{row:013d}" for row in range(n_users)]}
    item_table = {
        "item": np.arange(n_items, dtype=np.int32),
        "item_id": [f"B{row:09d}" for row in range(n_items)],
        "title": [f"Item {row}" for row in range(n_items)],
        "brand": [""] * n_items,
        "categories": [[] for _ in range(n_items)],
        "description": [""] * n_items,
    }
    contents = Contents(
        user_vectors=users,
        item_vectors=items,
        seen_offsets=np.arange(n_users + 1, dtype=np.int64) * MET,
        seen_items=met,
        popularity=np.bincount(met, minlength=n_items).astype(np.int64),
        users=pa.table(user_table, schema=USERS),
        items=pa.table(item_table, schema=ITEMS),
    )
    about = BundleAbout(data="random", variant="random", seed=0, config={}, metrics={}, code_version="0")
    write_bundle(folder, contents, about)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds on the clock, and of all threads on a processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return 1e3 * (time.perf_counter() - clock), 1e3 * (time.process_time() - processor)


class Batch:
    """One batch of users, and everybody's way to answer it."""

    def __init__(self, folder: str, batch: int, k: int) -> None:
        from hnlm_ray.serving.recommend.options import RankingOptions
        from hnlm_ray.serving.recommend.recommender import Recommender

        self.recommender, self.options, self.k = Recommender.load(folder), RankingOptions(k=k), k
        contents = self.recommender.bundle.contents
        self.rows = np.random.default_rng(2).permutation(contents.n_users)[:batch]
        self.users = np.ascontiguousarray(contents.user_vectors[self.rows])
        self.items = np.array(contents.item_vectors)
        self.met = contents.seen_items.reshape(-1, MET)[self.rows]
        self.scores = np.zeros((batch, len(self.items)), np.float32)

    def product(self) -> None:
        """Into memory that is there."""
        np.matmul(self.users, self.items.T, out=self.scores)

    def product_tiles(self) -> None:
        """In our tiles, without a selection."""
        from hnlm_ray.kernels import tiles

        across = tiles._even(len(self.items), tiles._widest(self.k), tiles._GROUP)
        down = tiles._even(len(self.users), tiles._TILE_SCORES // across, 1)
        room = self.scores.reshape(-1)[: down * across]
        for start in range(0, len(self.users), down):
            block = self.users[start : start + down]
            for first in range(0, len(self.items), across):
                part = self.items[first : first + across]
                np.matmul(block, part.T, out=room[: len(block) * len(part)].reshape(len(block), len(part)))

    def ours(self) -> np.ndarray:
        """Numbers of users in, numbers of items out."""
        items: np.ndarray = self.recommender.top_items(self.rows, self.options)[0]
        return items

    def ours_rank_rows(self) -> np.ndarray:
        """What the service does: whole rows, one object per user."""
        return np.stack([ranking.items for ranking in self.recommender.rank_rows(self.rows, self.options)])

    def argpartition(self) -> np.ndarray:
        """Of NumPy; equal scores fall as they like."""
        self.product()
        np.put_along_axis(self.scores, self.met, -np.inf, axis=1)
        best = np.argpartition(self.scores, -self.k, axis=1)[:, -self.k :]
        order = np.argsort(-np.take_along_axis(self.scores, best, axis=1), axis=1, kind="stable")
        return np.take_along_axis(best, order, axis=1)

    def torch_topk(self) -> np.ndarray:
        """Likewise of PyTorch."""
        import torch

        scores, met = torch.from_numpy(self.scores), torch.from_numpy(self.met.astype(np.int64))
        torch.mm(torch.from_numpy(self.users), torch.from_numpy(self.items).T, out=scores)
        scores.scatter_(1, met, -torch.inf)
        found: np.ndarray = scores.topk(self.k, dim=1).indices.numpy()
        return found

    def agreement(self, found: np.ndarray, expected: np.ndarray) -> list[float]:
        """Shares of places with the same item, and with the same or one whose score differs in the last bits only."""
        mine, other = (
            np.einsum("ud,ukd->uk", self.users[: len(found)], self.items[numbers]) for numbers in (found, expected)
        )
        alike = np.isclose(mine, other, rtol=1e-5, atol=1e-5)
        return [round(float(np.mean(each)), 6) for each in (found == expected, alike)]

    def use_faiss(self, threads: int) -> None:
        """What faiss keeps from batch to batch."""
        import faiss

        faiss.omp_set_num_threads(threads)
        self.index = faiss.IndexFlatIP(DIM)
        self.index.add(self.items)
        lists = [np.ascontiguousarray(met, dtype=np.int64) for met in self.met[:SELECTOR_USERS]]
        inner = [faiss.IDSelectorBatch(met) for met in lists]
        outer = [faiss.IDSelectorNot(selector) for selector in inner]
        self.masks = [faiss.SearchParameters(sel=selector) for selector in outer]  # type: ignore[call-arg]
        self.kept = (lists, inner, outer)  # faiss holds pointers

    def faiss_flat(self) -> np.ndarray:
        """Met items are not left out."""
        found: np.ndarray = self.index.search(self.users, self.k)[1]
        return found

    def faiss_flat_dropped(self) -> np.ndarray:
        """Exact: so many more that enough are left."""
        found = self.index.search(self.users, self.k + MET)[1]
        met = (found[:, :, None] == self.met[:, None, :]).any(axis=2)
        order = np.argsort(met, axis=1, kind="stable")[:, : self.k]
        return np.take_along_axis(found, order, axis=1)

    def faiss_flat_selector(self) -> np.ndarray:
        """Exact: one search per user."""
        found = [
            self.index.search(self.users[row : row + 1], self.k, params=mask)[1][0]
            for row, mask in enumerate(self.masks)
        ]
        return np.stack(found)


def measure(options: argparse.Namespace, n_items: int) -> None:
    """All contenders in this process, whose number of threads is set."""
    import torch

    threads = options.threads[0]
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        write_world(folder, 2 * options.batch, n_items)
        batch = Batch(folder, options.batch, options.k)
    batch.use_faiss(threads)
    names = [
        "product", "product_tiles", "ours", "ours_rank_rows", "faiss_flat", "faiss_flat_dropped", "faiss_flat_selector",
        "argpartition", "torch_topk",
    ]  # fmt: skip
    expected = batch.argpartition()
    equal: dict[str, list[float]] = {}
    for name in names:  # compiles, allocates, and starts threads
        found = getattr(batch, name)()
        equal[name] = [] if found is None else batch.agreement(found, expected[: len(found)])
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            getattr(batch, name)()
            times[name] += [timed(getattr(batch, name)) for _ in range(CALLS)]
    for name in names:
        about = {"contender": name, "items": n_items, "batch": options.batch, "k": options.k, "threads": threads}
        scale = options.batch / SELECTOR_USERS if name == "faiss_flat_selector" else 1.0
        ours = scale * np.array(times[name])
        figures = compared(ours, np.array(times["product"]))
        print(json.dumps({"benchmark": "batch_topk", **about, **figures, "same_places": equal[name]}), flush=True)


def compared(times: np.ndarray, base: np.ndarray) -> dict[str, float]:
    """Of (calls, 2) milliseconds: median and least, and what multiple that is of the base."""
    figures: dict[str, float] = {"calls": len(times)}
    for column, kind in enumerate(("clock", "processor")):
        for what, reduce in (("", np.median), ("_min", np.min)):
            value, of_base = (float(reduce(each[:, column])) for each in (times, base))
            figures |= {f"{kind}{what}_ms": round(value, 1), f"{kind}{what}_to_product": round(value / of_base, 2)}
    return figures


def product_share(folder: str, share: int) -> None:
    """In a process of its own: the product of every ``WORKERS``-th step of users, when a line comes in."""
    from hnlm_ray.serving.bundle.bundle import load_bundle

    contents = load_bundle(folder).contents
    room = np.zeros((STEP, contents.n_items), np.float32)
    starts = range(share * STEP, contents.n_users, WORKERS * STEP)
    np.matmul(contents.user_vectors[:STEP], contents.item_vectors.T, out=room)
    print("ready", flush=True)
    sys.stdin.readline()
    began, processor = time.time(), time.process_time()
    for start in starts:
        block = contents.user_vectors[start : start + STEP]
        np.matmul(block, contents.item_vectors.T, out=room[: len(block)])
    print(json.dumps([began, time.time(), time.process_time() - processor]), flush=True)


def product_of_all(folder: str) -> tuple[float, float]:
    """Seconds on the clock, and on processors, of processes that start together."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--product-share", folder]
    shares = [
        subprocess.Popen(
            [*command, str(share)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for share in range(WORKERS)
    ]
    for share in shares:
        assert share.stdout
        share.stdout.readline()
    for share in shares:
        assert share.stdin
        share.stdin.write("\n")
        share.stdin.flush()
    times = [json.loads(share.communicate()[0]) for share in shares]
    return max(end for _, end, _ in times) - min(began for began, _, _ in times), sum(each[2] for each in times)


def offline(options: argparse.Namespace, n_items: int) -> None:
    from hnlm_ray.serving.offline import Summary, recommend_all

    with tempfile.TemporaryDirectory() as folder:
        bundle = f"{folder}/bundle"
        write_world(bundle, options.users, n_items)
        products: list[tuple[float, float]] = []
        ours: dict[int, list[Summary]] = {depth: [] for depth in options.depths}
        for number in range(options.rounds):
            for depth in options.depths:
                products.append(product_of_all(bundle))
                ours[depth].append(
                    recommend_all(bundle, f"{folder}/{number}-{depth}", depth, WORKERS, say=lambda _: None)
                )
    common = {"benchmark": "recommend_all", "items": n_items, "users": options.users, "rounds": options.rounds}
    clock, processor = ([each[which] for each in products] for which in (0, 1))
    report(common, "product", clock, processor, (clock, processor))
    for depth, runs in ours.items():
        times = [run.ranking_seconds for run in runs], [run.processor_seconds for run in runs]
        calls = {"k": depth, "call_s": round(statistics.median(run.seconds for run in runs), 1)}
        report({**common, **calls}, "ours", *times, (clock, processor))


def report(
    about: dict[str, Any], name: str, clock: list[float], processor: list[float], base: tuple[list[float], list[float]]
) -> None:
    users, middle = about["users"], statistics.median
    line = {
        **about,
        "contender": name,
        "workers": WORKERS,
        "clock_s": round(middle(clock), 2),
        "clock_min_s": round(min(clock), 2),
        "processor_s": round(middle(processor), 2),
        "users_per_s": round(users / middle(clock)),
        "users_per_processor_s": round(users / middle(processor)),
        "share_of_product_clock": round(middle(base[0]) / middle(clock), 2),
        "share_of_product_clock_min": round(min(base[0]) / min(clock), 2),
        "share_of_product_processor": round(middle(base[1]) / middle(processor), 2),
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 100], help="k of --offline")
    parser.add_argument("--product-share", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.product_share:
        product_share(options.product_share[0], int(options.product_share[1]))
    elif options.offline:
        from hnlm_ray.cluster.connect import connected
        from hnlm_ray.config.tree import ClusterConfig

        os.environ["OMP_NUM_THREADS"] = "1"
        with connected(ClusterConfig()):
            import ray

            ray.data.DataContext.get_current().wait_for_min_actors_s = 60  # so that they start together here too
            for n_items in options.items:
                offline(options, n_items)
    elif options.inside:
        for n_items in options.items:
            measure(options, n_items)
    else:
        for threads in options.threads:
            environment = {"OPENBLAS_THREAD_TIMEOUT": "4", **os.environ, "OMP_NUM_THREADS": str(threads)}
            command = [sys.executable, __file__, *sys.argv[1:], "--inside", "--threads", str(threads)]
            subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()
