"""One training epoch: ours, its own sparse products, dearer samplers, and peers, in one run on the same data.

    python benchmarks/cf_epoch.py [ml-1m|gowalla] [--steps N] [--peers PYTHON ...]

All train LightGCN with d 64, 3 layers and batches of 2,048 on the train split of the data set. A step of ours includes
its sampling; the six sparse products are three hops forward and three backward on the same tables; all take turns.
``textbook`` is the form that most libraries use: COO adjacency, autograd through every layer, plain Adam; it gets our
batches and negatives, and its first loss is compared with ours. A peer is the Python of an environment that has
RecBole, LensKit or implicit; it runs ``benchmarks/peer_epoch.py`` on the same pairs. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shared_data import load_splits
from textbook import our_step, textbook_step

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.training.batches import Batch
from hnlm_ray.training.loop import TrainingLoop
from hnlm_ray.training.shard import Shard
from hnlm_ray.training.side_information import SideInformation

SAMPLERS: dict[str, dict[str, Any]] = {
    "dns_32": {"sampler": {"name": "dns", "candidates": 32}},
    "mixgcf_16": {"sampler": {"name": "mixgcf", "candidates": 16}},
    "mf": {"backbone": "mf"},
}
WARM_UP = 3


def loop_of(train: Interactions, **options: Any) -> TrainingLoop:
    variant = VariantConfig.model_validate(options)
    return TrainingLoop(Shard.cut(train, train, 0, 1), variant, 0, SideInformation(), torch.device("cpu"))


def step_of(loop: TrainingLoop) -> Callable[[Batch], float]:
    step = our_step(loop)
    return lambda batch: step(batch).item()


def products_of(loop: TrainingLoop) -> Callable[[Batch], float]:
    users, items = loop.model.users.detach(), loop.model.items.detach()

    def step(_: Batch) -> float:
        rows = users, items
        for _hop in range(6):
            rows = loop.model.graph.hop(*rows)
        return float(rows[0][0, 0])

    return step


def timed(steps: dict[str, Callable[[Batch], float]], batches: Iterable[Batch]) -> dict[str, tuple[float, float]]:
    """First loss, and median seconds of a step; the contenders take turns on every batch."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    first: dict[str, float] = {}
    for batch in batches:
        for name, step in steps.items():
            started = time.perf_counter()
            first.setdefault(name, step(batch))
            seconds[name].append(time.perf_counter() - started)
    return {name: (first[name], float(np.median(taken[WARM_UP:]))) for name, taken in seconds.items()}


def peers(pythons: list[str], train: Interactions) -> dict[str, Any]:
    """What ``peer_epoch.py`` measures in other environments."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.npz"
        sizes = np.array([train.n_users, train.n_items])
        np.savez(path, users=train.users, items=train.items, sizes=sizes)
        script = Path(__file__).with_name("peer_epoch.py")
        answers = [
            subprocess.run([python, script, path, str(torch.get_num_threads())], check=True, stdout=subprocess.PIPE)
            for python in pythons
        ]
    return {name: value for answer in answers for name, value in json.loads(answer.stdout.splitlines()[-1]).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="ml-1m", choices=("ml-1m", "gowalla"))
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--peers", nargs="*", default=[])
    chosen = parser.parse_args()
    (train,) = load_splits(chosen.data, "train")
    plain = loop_of(train)
    textbook = textbook_step(plain)
    steps = {"ours": step_of(plain), "products": products_of(plain), "textbook": lambda batch: textbook(batch).item()}
    steps |= {name: step_of(loop_of(train, **options)) for name, options in SAMPLERS.items()}
    taken = timed(steps, islice(plain.stream.epoch(1), chosen.steps + WARM_UP))
    per_epoch = -(-len(train) // 2048)
    ours = taken["ours"][1]
    epochs = {name: round(seconds * per_epoch, 2) for name, (_, seconds) in taken.items()}
    epochs |= peers(chosen.peers, train)
    report = {
        "benchmark": "cf_epoch",
        "data": chosen.data,
        "pairs": len(train),
        "threads": torch.get_num_threads(),
        "ms_per_step": {name: round(1e3 * seconds, 1) for name, (_, seconds) in taken.items()},
        "s_per_epoch": epochs,
        "times_ours": {name: round(seconds / (ours * per_epoch), 2) for name, seconds in epochs.items()},
        "ours_to_products": round(ours / taken["products"][1], 2),
        "first_loss_difference": abs(taken["ours"][0] - taken["textbook"][0]),
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
