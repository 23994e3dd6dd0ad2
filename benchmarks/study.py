"""Every variant of a configuration with several seeds, without Ray, each compared with one of them.

    hnlm run -c configs/table.yaml -c configs/study.yaml data.path=FOLDER ... --until encode
    python benchmarks/study.py -c configs/table.yaml -c configs/study.yaml data.path=FOLDER ... --seeds 5

Reads the stages before training of a run (prepare, vectors, encode, ground: those that exist), fits each variant with
each seed in processes of one thread, and evaluates it on the test split at its best validation epoch. The same fits as
the stage train makes, several at a time. Per variant: validation and test NDCG@20, mean over seeds, the spread over
seeds, the interval of the difference over users of the seeds' mean, and p-values of the paired t-test, Holm-adjusted.
Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hnlm_ray.config.load import load_config
from hnlm_ray.evaluation.blocks import evaluate
from hnlm_ray.evaluation.inputs import read_held_out
from hnlm_ray.evaluation.significance import holm, paired_bootstrap, paired_t_test
from hnlm_ray.models.rankers import VectorRanker
from hnlm_ray.run.plan import plan
from hnlm_ray.training.fit import fit
from hnlm_ray.training.inputs import FitInputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("options", nargs="*", help="of the run, as for hnlm run")
    parser.add_argument("-c", "--config", type=Path, action="append", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--against", default="repaired")
    parser.add_argument("--variants", nargs="*", help="only these")
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    names = chosen.variants or list(load_config(chosen.config, chosen.options).train.variants)
    tasks = [(chosen.config, chosen.options, name, seed) for name in names for seed in range(chosen.seeds)]
    with ProcessPoolExecutor(chosen.jobs, multiprocessing.get_context("spawn")) as pool:
        fits = list(pool.map(_fit, tasks))
    by_name = {name: [one for one in fits if one["variant"] == name] for name in names}
    users = {name: np.mean([one["users"] for one in found], axis=0) for name, found in by_name.items()}
    rows = [_row(name, found, users, chosen.against) for name, found in by_name.items()]
    compared = [row for row in rows if "p" in row]
    for row, adjusted in zip(compared, holm([row["p"] for row in compared]), strict=True):
        row["p_holm"] = round(adjusted, 4)
    for row in rows:
        print(row, file=sys.stderr)
    print(json.dumps({"benchmark": "study", "seeds": chosen.seeds, "against": chosen.against, "rows": rows}))


def _fit(task: tuple[list[Path], list[str], str, int]) -> dict[str, Any]:
    paths, options, name, seed = task
    torch.set_num_threads(1)
    config = load_config(paths, options)
    artifacts = {stage: one for stage, one in plan(config).artifacts().items() if one.is_complete}
    splits, variant = read_held_out(artifacts["prepare"]), config.train.variants[name]
    train = splits["valid"].seen
    side = FitInputs.of_stage(artifacts).of_variant(variant, train)
    result = fit(train, splits["valid"].relevant, variant, seed, side=side)
    found = evaluate(VectorRanker(result.user_vectors, result.item_vectors), splits["test"], (20,))
    progress = result.progress
    line = {"variant": name, "seed": seed, "epoch": progress.best_epoch, "seconds": round(progress.seconds)}
    line |= {"valid": progress.best_ndcg, "test": found.mean("ndcg", 20)}
    print(line, file=sys.stderr, flush=True)
    return line | {"users": found.per_user["ndcg", 20]}


def _row(name: str, found: list[dict[str, Any]], users: dict[str, np.ndarray], against: str) -> dict[str, Any]:
    tests = [one["test"] for one in found]
    row = {"variant": name, "valid": round(float(np.mean([one["valid"] for one in found])), 4)}
    row |= {"test": round(float(np.mean(tests)), 4), "spread": round(float(np.std(tests)), 4)}
    row["epoch"] = round(float(np.mean([one["epoch"] for one in found])))
    if name != against and against in users:
        interval = paired_bootstrap(users[name], users[against], 0)
        assert interval is not None
        row["difference"] = [round(value, 4) for value in (interval.mean, interval.low, interval.high)]
        row["p"] = paired_t_test(users[name], users[against])
    return row


if __name__ == "__main__":
    main()
