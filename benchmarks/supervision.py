"""What each choice of the supervising negative is worth, before any language model learns to emit it.

    make demo && python benchmarks/supervision.py --seeds 3

On the finished run of a generated world: for every choice its exact false-negative rate, its hardness (mean score of
the teacher), and NDCG@20 of LightGCN that takes it as the item of its semantic negative, mixed with a uniform negative
by the share. Uniform and DNS stand beside. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from hnlm_ray.config.load import load_config
from hnlm_ray.config.tuning import SupervisionConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.vectors import read_item_vectors
from hnlm_ray.evaluation.blocks import evaluate
from hnlm_ray.evaluation.false_negatives import Draws, pairs_rate, scored_rate
from hnlm_ray.evaluation.inputs import read_held_out, read_truth
from hnlm_ray.models.fitted import read_vectors
from hnlm_ray.models.rankers import VectorRanker
from hnlm_ray.run.plan import plan
from hnlm_ray.run.stage import first_fit
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.training.fit import fit
from hnlm_ray.training.side_information import SideInformation
from hnlm_ray.tuning.candidates import Knowledge
from hnlm_ray.tuning.supervision import MATCHED_COLUMNS, choose_targets, matched_items

DEMO = Path(__file__).parents[1] / "configs" / "demo.yaml"
CHOICES = {
    "window": {"strategy": "window"},
    "answer": {"strategy": "answer"},
    "refined": {"strategy": "refined"},
    "refined, near the item only": {"strategy": "refined", "far_from_user": 0.0},
    "refined, far from the user only": {"strategy": "refined", "near_item": 0.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("options", nargs="*", help="of the run, as for hnlm run")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.3, 1.0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    config = load_config([DEMO], chosen.options)
    run = plan(config)
    splits = read_held_out(run["prepare"].artifact)
    train, test = splits["valid"].seen, splits["test"]
    truth = read_truth(run["prepare"].artifact, train)
    name = config.teacher
    assert name is not None
    options = config.train.variants[name]
    teacher = read_vectors(run[first_fit(config.train, name).name].artifact, train.n_users, train.n_items)
    vectors = teacher.user_vectors, teacher.item_vectors
    texts = read_item_vectors(run["vectors"].artifact, train.n_items)
    knowledge = Knowledge(train, *vectors, texts)
    answers = matched_items(run["ground"].artifact.read("grounded", MATCHED_COLUMNS), train.keys)

    def quality(variant: VariantConfig, pairs: PairVectors | None = None) -> dict[str, float]:
        found = []
        for seed in range(chosen.seeds):
            result = fit(train, splits["valid"].relevant, variant, seed, side=SideInformation(vectors=pairs))
            ranker = VectorRanker(result.user_vectors, result.item_vectors)
            found.append((result.progress.best_ndcg, evaluate(ranker, test, (20,)).mean("ndcg", 20)))
        valid, tested = np.mean(found, axis=0)
        return {"valid": round(float(valid), 4), "test": round(float(tested), 4)}

    rows = []
    for sampler in ({"name": "uniform"}, {"name": "dns", "candidates": 8}):
        variant = VariantConfig.model_validate(options.model_dump() | {"sampler": sampler})
        rate = scored_rate(truth, train, Draws(variant.sampler), vectors)
        rows.append({"negatives": str(variant.sampler), "false_negatives": round(rate, 4), **quality(variant)})
        print(rows[-1], file=sys.stderr, flush=True)
    for label, choice in CHOICES.items():
        targets = choose_targets(train.keys, knowledge, SupervisionConfig.model_validate(choice), 0, answers)
        found = targets.negatives >= 0
        users, items = train.users[found], targets.negatives[found]
        pairs = PairVectors(
            targets.pairs[found], items, texts, train.n_items, np.arange(train.n_items, dtype=np.int32)[:, None]
        )
        for share in chosen.shares:
            semantic = {"source": "item", "mixing": {"share": share}}
            variant = VariantConfig.model_validate(options.model_dump() | {"semantic": semantic})
            rows.append(
                {
                    "negatives": label,
                    "share": share,
                    "false_negatives": round(pairs_rate(truth, users, items), 4),
                    "hardness": round(float((vectors[0][users] * vectors[1][items]).sum(axis=1).mean()), 3),
                    "pairs": int(found.sum()),
                    **quality(variant, pairs),
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "supervision", "seeds": chosen.seeds, "rows": rows}))


if __name__ == "__main__":
    main()
