"""How long a service waits for a large bundle, and how much memory the bundle takes.

    python benchmarks/bundle_load.py [--users N] [--items I] [--dim D] [--per-user K] [--folder FOLDER] [--rounds R]

Writes a bundle of random vectors into a temporary folder (0.4 GB at the default size), or finds it in FOLDER, where it
is kept. Each round loads it in a process of its own: ``load_bundle`` checks every byte and maps the arrays,
``Recommender`` makes what finds users and items by their ids, ``first`` is the first answer, which compiles or loads
the kernels. ``longest_hold_s`` is the longest time for which a second thread, which wakes every millisecond, did not
get its turn meanwhile: what other requests of a service would have waited. The files are in the page cache. Prints one
JSON line, of the medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnlm_ray.serving.bundle.bundle import load_bundle
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.info import INFO, BundleAbout
from hnlm_ray.serving.bundle.writing import write_bundle
from hnlm_ray.serving.recommend.recommender import Recommender

ABOUT = BundleAbout(data="random", variant="none", seed=0, config={}, metrics={}, code_version="0")


def write(folder: Path, n_users: int, n_items: int, dim: int, per_user: int) -> None:
    rng = np.random.default_rng(0)
    pairs = np.repeat(np.arange(n_users), per_user) * n_items + rng.integers(n_items, size=n_users * per_user)
    pairs = np.unique(pairs)
    items = (pairs % n_items).astype(np.int32)
    users = pa.table(
        {
            "user": np.arange(n_users, dtype=np.int32),
            "user_id": [f"A{number:013d}" for number in rng.permutation(n_users)],
        }
    )
    numbers = range(n_items)
    catalogue = pa.table(
        {
            "item": np.arange(n_items, dtype=np.int32),
            "item_id": [f"B{number:09d}" for number in numbers],
            "title": [f"A title of about forty characters {number}" for number in numbers],
            "brand": [f"Brand {number % 999}" for number in numbers],
            "categories": [["All", f"Group {number % 20}", f"Kind {number % 400}"] for number in numbers],
            "description": [f"{number} " + "a few words of description " * 8 for number in numbers],
        }
    )
    contents = Contents(
        user_vectors=rng.standard_normal((n_users, dim), dtype=np.float32),
        item_vectors=rng.standard_normal((n_items, dim), dtype=np.float32),
        seen_offsets=np.searchsorted(pairs, np.arange(n_users + 1) * n_items).astype(np.int64),
        seen_items=items,
        popularity=np.bincount(items, minlength=n_items).astype(np.int64),
        users=users,
        items=catalogue,
    )
    write_bundle(str(folder), contents, ABOUT)


class Watch:
    """Notes how late a thread gets its turn."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.is_set():
            before = time.perf_counter()
            time.sleep(0.001)
            self.longest = max(self.longest, time.perf_counter() - before - 0.001)


def resident(field: str) -> float:
    """A field of this process, such as ``RssAnon``: what no file is mapped to, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def load(folder: Path) -> dict[str, float]:
    before = resident("RssAnon")
    figures = {}
    marks = [time.perf_counter()]
    with Watch() as of_load:
        bundle = load_bundle(str(folder))
        marks.append(time.perf_counter())
    with Watch() as of_recommender:
        started = time.perf_counter()
        recommender = Recommender(bundle)
        figures["recommender_s"] = time.perf_counter() - started
    started = time.perf_counter()
    recommender.recommend(recommender.users.ids[5], k=20)
    figures["first_s"] = time.perf_counter() - started
    with Watch() as of_search:
        started = time.perf_counter()
        recommender.users.search("A000000", 10)
        figures["first_find_users_s"] = time.perf_counter() - started
    return {
        "load_bundle_s": marks[1] - marks[0],
        **figures,
        "load_bundle_longest_hold_s": of_load.longest,
        "recommender_longest_hold_s": of_recommender.longest,
        "find_users_longest_hold_s": of_search.longest,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "own_mib": resident("RssAnon") - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--per-user", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the bundle here")
    parser.add_argument("--load", action="store_true", help="only load it, once")
    options = parser.parse_args()
    if options.load:
        print(json.dumps(load(options.folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / INFO).exists():
            write(folder, options.users, options.items, options.dim, options.per_user)
        command = [sys.executable, __file__, "--load", "--folder", str(folder)]
        rounds = [
            json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            for _ in range(options.rounds)
        ]
        size = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
    medians = {name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]}
    sizes = {"users": options.users, "items": options.items, "dim": options.dim, "bundle_mib": round(size, 1)}
    print(json.dumps({"benchmark": "bundle_load", **sizes, "rounds": options.rounds, **medians}))


if __name__ == "__main__":
    main()
