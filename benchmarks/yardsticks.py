"""One variant on one real data set, against published figures: several seeds, chosen on validation, tested once.

    python benchmarks/yardsticks.py ml-100k '{backbone: mf, l2: 0}' --seeds 3
    python benchmarks/yardsticks.py gowalla '{loss: softmax}' --choose-on test
    python benchmarks/yardsticks.py ml-100k '{backbone: sasrec, loss: gbce}' --last-two

Splits: gowalla comes with its published one, of which ``--choose-on test`` trains on train and valid together and
chooses the epoch on the test users, as that literature does; the others are split per user at random, 8:1:1, or with
``--last-two`` by time, the last interaction of each user being test and the one before it valid. Prints one line per
validation, and one JSON line of means over seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
import torch
import yaml
from shared_data import load_last_two, load_random, load_splits

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.evaluation.blocks import HeldOut, evaluate
from hnlm_ray.models.rankers import VectorRanker
from hnlm_ray.training.fit import fit
from hnlm_ray.training.loop import TrainingLoop

CUTOFFS = (10, 20)
MEASURES = [(name, k) for name in ("recall", "ndcg", "mrr", "hit_rate", "precision") for k in CUTOFFS]


def say(loop: TrainingLoop) -> None:
    record = loop.progress.history[-1]
    print(
        f"epoch {record.epoch}: {record.seconds:.0f} s, loss {record.loss:.4f}, "
        f"NDCG@20 {record.valid_ndcg:.4f}, Recall@20 {record.valid_recall:.4f}",
        file=sys.stderr,
        flush=True,
    )


def splits(name: str, choose_on: str) -> tuple[Interactions, Interactions, Interactions]:
    if name != "gowalla":
        train, valid, test = load_random(name)
    else:
        train, valid, test = load_splits(name, "train", "valid", "test")
    return (join(train, valid), test, test) if choose_on == "test" else (train, valid, test)


def join(first: Interactions, second: Interactions) -> Interactions:
    users, items = (np.concatenate(parts) for parts in ((first.users, second.users), (first.items, second.items)))
    return Interactions.from_pairs(users, items, first.n_users, first.n_items)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("variant", nargs="?", default="{}", help="options of a variant, as YAML")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--choose-on", choices=("valid", "test"), default="valid")
    parser.add_argument("--last-two", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    variant = VariantConfig.model_validate(yaml.safe_load(chosen.variant))
    side = None
    if chosen.last_two:
        (train, valid, test), side = load_last_two(chosen.data)
    else:
        train, valid, test = splits(chosen.data, chosen.choose_on)
    seen = join(train, valid) if chosen.choose_on == "valid" else train
    held_out, found, started = HeldOut("test", seen, test), [], time.monotonic()
    for seed in range(chosen.seeds):
        result = fit(train, valid, variant, seed, side=side, on_validation=say)
        ranking = evaluate(VectorRanker(result.known_by(seen=True), result.item_vectors), held_out, CUTOFFS, 1024)
        found.append({f"{name}@{k}": ranking.mean(name, k) for name, k in MEASURES})
        found[-1] |= {"best_epoch": result.progress.best_epoch, "epochs": result.progress.epoch}
        print(f"seed {seed}: {found[-1]}", file=sys.stderr, flush=True)
    report = {
        "benchmark": "yardsticks",
        "data": chosen.data,
        "split": "last two" if chosen.last_two else "published or random",
        "chosen_on": chosen.choose_on,
        "variant": {name: str(getattr(variant, name)) for name in sorted(variant.model_fields_set)},
        "seeds": chosen.seeds,
        "seconds": round(time.monotonic() - started),
        "mean": {name: round(float(np.mean([run[name] for run in found])), 4) for name in found[0]},
        "sd": {name: round(float(np.std([run[name] for run in found])), 4) for name in found[0]},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
