"""Full ranking of every user: ours against the matrix product alone, a dense mask with top-k, and a loop over users.

    python benchmarks/full_ranking.py [FOLDER] [--k K] [--dim D] [--rounds N] [--threads T]

FOLDER holds ``interactions.parquet`` with ``user_id``, ``item_id`` and ``split`` (default: gowalla beside the
checkout); train is masked. Vectors are drawn at random: the work does not depend on their values. The contenders take
turns in every round, and the medians of the rounds are reported. Those that would take minutes rank some users, and
their time is multiplied. Prints one JSON line; memory is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.kernels.ranking import ranked_block, users_at_once

GOWALLA = Path(__file__).resolve().parents[2] / "shared/data/gowalla"
USER_BLOCK = 1024
LOOP_USERS = 256
"""Users of the loops, and of the comparison of what everybody finds."""


def read_train(folder: Path) -> Interactions:
    table = pq.read_table(folder / "interactions.parquet", columns=["user_id", "item_id", "split"])
    users, items = (table[name].combine_chunks().dictionary_encode() for name in ("user_id", "item_id"))
    train = pc.equal(table["split"], "train").to_numpy()
    of_user, of_item = (column.indices.to_numpy()[train] for column in (users, items))
    return Interactions.from_pairs(of_user, of_item, len(users.dictionary), len(items.dictionary))


def vectors(train: Interactions, dim: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(n, dim)).astype(np.float32) for n in (train.n_users, train.n_items))
    return users, items


def ours(users: np.ndarray, items: np.ndarray, train: Interactions, k: int) -> np.ndarray:
    starts = range(0, len(users), USER_BLOCK)
    parts = [(users[at : at + USER_BLOCK], train.slice_users(at, min(at + USER_BLOCK, len(users)))) for at in starts]
    return np.concatenate([ranked_block(block, items, seen, k).items for block, seen in parts])


def product(users: np.ndarray, items: np.ndarray) -> None:
    """The same multiplications into the same memory, and nothing else."""
    step = users_at_once(len(items))
    out = torch.empty(step, len(items))
    for start in range(0, len(users), step):
        block = torch.from_numpy(users[start : start + step])
        torch.mm(block, torch.from_numpy(items).T, out=out[: len(block)])


def dense_mask(users: np.ndarray, items: np.ndarray, train: Interactions, k: int) -> np.ndarray:
    """What libraries do on a GPU: a block of scores, a block of booleans, ``torch.topk``."""
    found = []
    for start in range(0, len(users), USER_BLOCK):
        block = torch.from_numpy(users[start : start + USER_BLOCK])
        seen = train.slice_users(start, start + len(block))
        scores = block @ torch.from_numpy(items).T
        mask = torch.zeros(scores.shape, dtype=torch.bool)
        mask[torch.from_numpy(seen.users).long(), torch.from_numpy(seen.items).long()] = True
        found.append(scores.masked_fill_(mask, -torch.inf).topk(k, dim=1).indices.numpy())
    return np.concatenate(found)


def loop(users: np.ndarray, items: np.ndarray, train: Interactions, k: int, whole_sort: bool) -> np.ndarray:
    """One user at a time in NumPy."""
    found = []
    for user, vector in enumerate(users):
        scores = items @ vector
        scores[train.row(user)] = -np.inf
        if whole_sort:
            found.append(np.argsort(-scores, kind="stable")[:k])
        else:
            best = np.argpartition(scores, -k)[-k:]
            found.append(best[np.argsort(-scores[best], kind="stable")])
    return np.stack(found)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of all threads on a processor: those a busy machine stretches less."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def resident(field: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (the peak) of this process, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def added_memory(options: argparse.Namespace) -> float:
    """MiB by which ranking everybody raises the memory of a process that has loaded all it needs."""
    train = read_train(options.folder)
    users, items = vectors(train, options.dim)
    pa.default_memory_pool().release_unused()
    ours(users[:1], items, train.slice_users(0, 1), options.k)  # what libraries set up once
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    ours(users, items, train, options.k)
    return resident("VmHWM") - before


def measure(options: argparse.Namespace) -> dict[str, Any]:
    train = read_train(options.folder)
    users, items = vectors(train, options.dim)
    few, share, k = users[:LOOP_USERS], LOOP_USERS / len(users), options.k
    contenders: dict[str, tuple[Callable[[], object], float]] = {
        "product": (lambda: product(users, items), 1.0),
        "ours": (lambda: ours(users, items, train, k), 1.0),
        "dense_mask_topk": (lambda: dense_mask(users[: 4 * USER_BLOCK], items, train, k), 4 * USER_BLOCK / len(users)),
        "loop_argpartition": (lambda: loop(few, items, train, k, whole_sort=False), share),
        "loop_argsort": (lambda: loop(few, items, train, k, whole_sort=True), share),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, (work, _) in contenders.items():
            seconds[name].append(timed(work))
    clock, processor = (
        {name: statistics.median(times[which] for times in seconds[name]) / contenders[name][1] for name in contenders}
        for which in (0, 1)
    )
    best = ours(few, items, train.slice_users(0, LOOP_USERS), k)
    others = (dense_mask(few, items, train, k), loop(few, items, train, k, whole_sort=True))
    return {
        "benchmark": "full_ranking",
        "users": len(users),
        "items": len(items),
        "pairs_masked": len(train),
        "dim": options.dim,
        "k": k,
        "threads": torch.get_num_threads(),
        "rounds": options.rounds,
        **{f"{name}_s": round(value, 2) for name, value in clock.items()},
        **{f"{name}_cpu_s": round(value, 2) for name, value in processor.items()},
        "ours_to_product": round(clock["ours"] / clock["product"], 2),
        **{f"{name}_to_ours": round(clock[name] / clock["ours"], 1) for name in list(contenders)[2:]},
        "same_places": [round(float(np.mean(best == other)), 6) for other in others],
        "parameters_mib": round((users.nbytes + items.nbytes) / 2**20, 1),
        "interactions_mib": round((train.items.nbytes + train.offsets.nbytes) / 2**20, 1),
        "block_mib": round(4 * len(items) * users_at_once(len(items)) / 2**20, 1),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=GOWALLA)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", action="store_true", help="only what memory ranking adds")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        print(json.dumps(added_memory(options)))
        return
    command = [sys.executable, __file__, *sys.argv[1:], "--memory"]
    added = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    report = measure(options)
    parts = [report[f"{name}_mib"] for name in ("parameters", "interactions", "block")]
    share = (sum(parts[:2]) + added) / sum(parts)
    print(json.dumps({**report, "added_peak_mib": round(added, 1), "peak_to_parts": round(share, 2)}))


if __name__ == "__main__":
    main()
