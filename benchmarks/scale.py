"""How training, evaluation and guards grow: memory against what must be held, time against ten times the users.

    python benchmarks/scale.py [--users N] [--items I] [--per-user K]
    python benchmarks/scale.py --what guard --items 50000

Trains LightGCN (d 64, 3 layers) for a few steps on a generated world of N users and on one of 10 N, each in a process
of its own, and ranks a sample of the users. A step of full-graph propagation costs in proportion to the graph, so the
batch grows with the users, from 2,048, and an epoch has the same number of steps. ``held`` is parameters with their
gradients and Adam's moments, the best vectors so far, the graph in both directions and one block of scores.

With ``--what guard``, the first 200 items of every user by a blend of two models of vectors (d 64) and the votes of the
20 nearest items, in one process and in blocks of users as the stage ``guard`` does, and the nearest items of every item
by vectors of 384 dimensions, as the stage ``neighbours``; ``teachers_mib`` and ``scores_mib`` are what has to be held:
vectors and one block of scores. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.kernels.neighbours import nearest_rows
from hnlm_ray.kernels.ranking import ranked_block, users_at_once
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.models.blend import Blend, Teacher
from hnlm_ray.models.item_item import neighbour_votes
from hnlm_ray.models.rankers import ItemItemRanker, VectorRanker
from hnlm_ray.tables import NEIGHBOURS
from hnlm_ray.training.loop import TrainingLoop
from hnlm_ray.training.shard import Shard
from hnlm_ray.training.side_information import SideInformation

STEPS, RANKED = 12, 8192


def world(n_users: int, n_items: int, per_user: int) -> Interactions:
    """Zipf-like items; a pair that comes twice counts once."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(n_users), per_user)
    return Interactions.from_pairs(users, (n_items * rng.random(len(users)) ** 2).astype(np.int64), n_users, n_items)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(n_users: int, n_items: int, per_user: int, batch: int) -> dict[str, Any]:
    train = world(n_users, n_items, per_user)
    small = world(100, 100, 5)
    nothing, device = SideInformation(), torch.device("cpu")
    step(TrainingLoop(Shard.cut(small, small, 0, 1), VariantConfig(), 0, nothing, device), 2)  # compiles
    before = peak_mib()
    variant = VariantConfig(batch_size=batch)
    loop = TrainingLoop(Shard.cut(train, train, 0, 1), variant, 0, nothing, device)
    seconds = step(loop, STEPS)
    trained = peak_mib() - before
    parameters = sum(weight.numel() * weight.element_size() for weight in loop.model.parameters())
    held = 5 * parameters + 2 * len(train) * 8 + users_at_once(n_items) * n_items * 4
    users, items = loop.model.final_vectors()
    started = time.perf_counter()
    ranked = min(RANKED, n_users)
    for first in range(0, ranked, 1024):
        last = min(first + 1024, ranked)
        ranked_block(users[first:last], items, train.slice_users(first, last), 20)
    ranking = time.perf_counter() - started
    return {
        "users": n_users,
        "pairs": len(train),
        "s_per_epoch": seconds * -(-len(train) // batch),
        "s_per_ranking": ranking / ranked * n_users,
        "peak_mib": round(peak_mib() - before),
        "peak_of_training_mib": round(trained),
        "held_mib": round(held / 2**20),
    }


def measure_guard(n_users: int, n_items: int, per_user: int) -> dict[str, Any]:
    train, rng = world(n_users, n_items, per_user), np.random.default_rng(1)
    before, started = peak_mib(), time.perf_counter()
    units = unit_rows(rng.normal(size=(n_items, 384)).astype(np.float32))
    found = [nearest_rows(units, first, min(first + 1024, n_items), 20) for first in range(0, n_items, 1024)]
    neighbours = time.perf_counter() - started
    parts = ((one.rows, one.neighbours, one.similarities) for one in found)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    table = pa.table(dict(zip(NEIGHBOURS.names, columns, strict=True)), schema=NEIGHBOURS)
    nearest_peak = peak_mib() - before
    teachers = [
        Teacher(VectorRanker(*(rng.normal(size=(rows, 64)).astype(np.float32) for rows in (n_users, n_items))))
        for _ in range(2)
    ]
    teachers.append(Teacher(ItemItemRanker(neighbour_votes(table, n_items, 4.0), train), 0.5))
    before, started = peak_mib(), time.perf_counter()
    blend = Blend(teachers, train)
    for first in range(0, n_users, 1024):
        blend.first(first, min(first + 1024, n_users), 200)
    return {
        "users": n_users,
        "s_neighbours": round(neighbours, 1),
        "peak_of_neighbours_mib": round(nearest_peak),
        "s_guard": round(time.perf_counter() - started, 1),
        "peak_of_guard_mib": round(peak_mib() - before),
        "teachers_mib": round((n_users + n_items) * 64 * 4 * 2 / 2**20),
        "scores_mib": round(users_at_once(n_items) * n_items * 4 / 2**20),
    }


def step(loop: TrainingLoop, steps: int) -> float:
    """Median seconds of a step."""
    taken = []
    for batch in islice(loop.stream.epoch(1), steps):
        started = time.perf_counter()
        loop.optimizer.zero_grad(set_to_none=True)
        loop.model.loss(batch, 1).total.backward()  # type: ignore[no-untyped-call]
        loop.optimizer.step()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken[len(taken) // 4 :]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--per-user", type=int, default=20)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--what", choices=["training", "guard"], default="training")
    parser.add_argument("--alone", action="store_true", help="measure one world in this process")
    chosen = parser.parse_args()
    if chosen.alone and chosen.what == "guard":
        print(json.dumps(measure_guard(chosen.users, chosen.items, chosen.per_user)))
        return
    if chosen.alone:
        print(json.dumps(measure(chosen.users, chosen.items, chosen.per_user, chosen.batch)))
        return
    rows = []
    for times in (1, 10):
        command = [sys.executable, __file__, "--alone", "--users", str(times * chosen.users)]
        command += ["--batch", str(times * chosen.batch)]
        command += ["--items", str(chosen.items), "--per-user", str(chosen.per_user), "--what", chosen.what]
        rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    small, large = rows
    if chosen.what == "guard":
        growth = round(large["s_guard"] / small["s_guard"], 2)
        print(json.dumps({"benchmark": "scale", "worlds": rows, "guard_growth": growth}))
        return
    report = {
        "benchmark": "scale",
        "worlds": rows,
        "epoch_growth": round(large["s_per_epoch"] / small["s_per_epoch"], 2),
        "ranking_growth": round(large["s_per_ranking"] / small["s_per_ranking"], 2),
        "peak_to_held": [round(row["peak_mib"] / row["held_mib"], 2) for row in rows],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
