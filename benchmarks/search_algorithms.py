"""Random search against Optuna's TPE on one real data set: the same trials to begin with, the same number of trials.

    python benchmarks/search_algorithms.py ml-100k --seeds 4

For each seed of the search, both algorithms share the trial as configured and the draws before ``search.startup``,
which are fitted once. Every fit has seed 0. Prints, per seed, the best validation NDCG@20 after each number of trials,
the test NDCG@20 of the best, and the mean validation NDCG@20 of the trials that are not shared.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass

import numpy as np
import torch
from shared_data import load_random

from hnlm_ray.config.tree import Config
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.evaluation.blocks import HeldOut, evaluate
from hnlm_ray.models.rankers import VectorRanker
from hnlm_ray.run.proposals import Told
from hnlm_ray.run.trials import Trial, draw_trials, proposed
from hnlm_ray.training.fit import fit

VARIANT = {
    "backbone": "mf",
    "sampler": {"name": "dns", "candidates": 2},
    "dim": 32,
    "epochs": 15,
    "validate_every": 3,
    "patience": 2,
    "batch_size": 8192,
}
SPACE = {
    "train.variants.mf.learning_rate": {"log_uniform": [1e-4, 1e-1]},
    "train.variants.mf.l2": {"log_uniform": [1e-7, 1e-1]},
    "train.variants.mf.sampler.candidates": {"integers": [1, 32]},
    "train.variants.mf.dim": {"choice": [16, 32, 64]},
}


@dataclass(frozen=True)
class Score:
    """What one trial gave: NDCG@20 on validation and on test, and epochs trained."""

    valid: float
    test: float
    epochs: int


def score(splits: list[Interactions], trial: Trial) -> Score:
    train, valid, test = splits
    result = fit(train, valid, trial.options, 0)
    ranker = VectorRanker(result.user_vectors, result.item_vectors)
    users, items = (np.concatenate(parts) for parts in ((train.users, valid.users), (train.items, valid.items)))
    seen = Interactions.from_pairs(users, items, train.n_users, train.n_items)
    found = evaluate(ranker, HeldOut("test", seen, test), (20,))
    return Score(result.progress.best_ndcg, found.mean("ndcg", 20), result.progress.epoch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    splits, started = load_random(options.data), time.monotonic()
    gains = []
    for seed in range(options.seeds):
        search = {"trials": options.trials, "seed": seed, "algorithm": "tpe", "space": SPACE}
        config = Config.model_validate(
            {"train": {"variants": {"mf": VARIANT}}, "serve": {"variant": "mf"}, "search": search}
        )
        drawn = draw_trials(config)
        random = [score(splits, trial) for trial in drawn]
        tried, scores = drawn[: config.search.startup], random[: config.search.startup]
        for trial in drawn[config.search.startup :]:
            told = [
                Told(one.parameters, "complete", got.valid, got.epochs) for one, got in zip(tried, scores, strict=True)
            ]
            tried = [*tried, proposed(config, trial, told)]
            scores = [*scores, score(splits, tried[-1])]
        for name, found in (("random", random), ("tpe", scores)):
            best = max(found, key=lambda one: one.valid)
            far = " ".join(f"{value:.4f}" for value in itertools.accumulate((one.valid for one in found), max))
            epochs = sum(one.epochs for one in found)
            late = np.mean([one.valid for one in found[config.search.startup :]])
            print(
                f"seed {seed} {name}: best so far {far}; test {best.test:.4f}, {epochs} epochs, "
                f"mean of the trials after the shared ones {late:.4f}",
                flush=True,
            )
        gains.append(max(one.valid for one in scores) / max(one.valid for one in random) - 1)
    spread = np.std(gains, ddof=1) if len(gains) > 1 else 0.0
    seconds = time.monotonic() - started
    print(f"TPE over random, best validation NDCG@20: {np.mean(gains):+.1%} ± {spread:.1%}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
