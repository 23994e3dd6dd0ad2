"""One fit as a task, on one process with all cores, beside the same fit divided over workers of Ray Train.

    python benchmarks/workers.py [--workers N] [--epochs E] [--users U --items I --interactions K]

The stage ``train`` of LightGCN (d 64, 3 layers, batches of 1,024) on a generated world, one Ray for both, each way
twice in turn: ``stage_s`` is the whole stage the second time, ``epoch_s`` one of its epochs. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from hnlm_ray.cluster.connect import connected
from hnlm_ray.config.load import load_config
from hnlm_ray.run.execute import execute
from hnlm_ray.run.plan import plan


def train(folder: str, workers: int, chosen: argparse.Namespace) -> dict[str, float]:
    """Seconds of the stage and of an epoch."""
    world = f"{{users: {chosen.users}, items: {chosen.items}, interactions: {chosen.interactions}}}"
    variant = f"{{epochs: {chosen.epochs}, batch_size: 1024, patience: 1000, learning_rate: 0.01}}"
    options = [f"run={folder}", f"data.demo={world}", f"train.variants={{uniform: {variant}}}"]
    config = load_config([], [*options, f"train.workers={workers}"])
    planned = plan(config)
    execute(config, planned, ["prepare"])
    started = time.perf_counter()
    execute(config, planned, ["train.uniform.s0"])
    seconds = time.perf_counter() - started
    history = planned["train.uniform.s0"].artifact.read("history")["seconds"].to_pylist()
    per_epoch = (history[-1] - history[0]) / (len(history) - 1)
    return {"stage_s": round(seconds, 1), "epoch_s": round(per_epoch, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"workers": 2, "epochs": 20, "users": 800, "items": 480, "interactions": 14_000}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, connected(load_config([], []).cluster):
        for attempt in range(2):
            for workers in (1, chosen.workers):
                found[f"{workers}"] = train(str(Path(folder, f"{attempt}-{workers}")), workers, chosen)
    sizes = {name: getattr(chosen, name) for name in ("users", "items", "interactions", "epochs")}
    print(json.dumps({"benchmark": "workers", **sizes, "cores": os.cpu_count(), "by_workers": found}))


if __name__ == "__main__":
    main()
