"""What 100 million users, 10 million items and 10 billion interactions would cost, and where the design ends.

    python benchmarks/plan.py               # the tables of docs/scale.md
    python benchmarks/plan.py --simulate    # the counts behind two of its limits, on a small world

The plan is arithmetic on the constants below: sizes, tokens of a prompt and an answer, and what one engine reads and
writes per second, which are assumptions. ``--simulate`` counts what two workers sum over the network in one step of
LightGCN, in item tables, and the memory that the choice of pairs takes for 20 million pairs.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from hnlm_ray.config.language import NegativesConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.language.pairs import choose_pairs
from hnlm_ray.training.loop import TrainingLoop
from hnlm_ray.training.shard import Shard
from hnlm_ray.training.side_information import SideInformation

USERS, ITEMS, PAIRS, TRAIN_SHARE = 10**8, 10**7, 10**10, 0.8
DIM, LAYERS, EPOCHS, BATCH, WORKERS = 64, 3, 20, 2**20, 16
READ, WRITTEN, DOLLARS = 25_000, 5_000, 3.0
"""Tokens per second of one engine (8 billion parameters on one GPU), and the price of its hour: assumptions."""
MEMORY, NETWORK = 3e12, 50e9
"""Bytes per second of a GPU's memory and of the network to it: assumptions."""


@dataclass(frozen=True)
class Written:
    """A stage of the language model: answers, and tokens of one prompt and one answer."""

    stage: str
    rows: float
    prompt: int
    answer: int

    @property
    def hours(self) -> float:
        """Of one engine."""
        return self.rows * (self.prompt / READ + self.answer / WRITTEN) / 3600


def written() -> list[Written]:
    train = PAIRS * TRAIN_SHARE
    budget = 1e7
    return [
        Written("item_profiles", ITEMS, 600, 80),
        Written("user_profiles, every user", USERS, 1200, 100),
        Written("user_profiles, of 10 million pairs", min(USERS, budget), 1200, 100),
        Written("negatives, policy all", train, 500, 60),
        Written("negatives, per_user 3", 3 * USERS, 500, 60),
        Written("negatives, budget 10 million", budget, 500, 60),
        Written("encode, pair form, every pair", train, 270, 0),
        Written("encode, pair form, 10 million pairs", budget, 270, 0),
        Written("encode, factorised: users and items", USERS + ITEMS, 140, 0),
    ]


def training(batch: int, workers: int) -> dict[str, float]:
    """Seconds of one step, and GPU-hours and dollars of a fit, of LightGCN over the whole graph."""
    train, table = PAIRS * TRAIN_SHARE, ITEMS * DIM * 4
    hops = 2 * LAYERS  # forward and backward
    products = hops * 2 * train * DIM * 4 / MEMORY / workers  # a row of the other side per edge, in both directions
    sums = (hops + 2) * 2 * table / NETWORK  # as many tables as --simulate counts; a ring moves each byte about twice
    steps = train / batch
    hours = EPOCHS * steps * (products + sums) * workers / 3600
    return {"products_s": products, "sums_s": sums, "steps": steps, "hours": hours, "dollars": hours * DOLLARS}


def show() -> None:
    print("| stage | answers | tokens, billion | GPU-hours | dollars |\n|---|---|---|---|---|")
    for one in written():
        tokens = one.rows * (one.prompt + one.answer) / 1e9
        print(f"| `{one.stage}` | {one.rows:,.0f} | {tokens:,.0f} | {one.hours:,.0f} | {one.hours * DOLLARS:,.0f} |")
    columns = ("batch", "workers", "steps an epoch", "products, s", "sums, s", "GPU-hours", "dollars")
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for batch, workers in ((2**11, WORKERS), (2**16, WORKERS), (BATCH, WORKERS), (BATCH, 4 * WORKERS)):
        t = training(batch, workers)
        cells = (
            f"{t['steps']:,.0f} | {t['products_s']:.2f} | {t['sums_s']:.2f} | {t['hours']:,.0f} | {t['dollars']:,.0f}"
        )
        print(f"| {batch:,} | {workers} | {cells} |")


def world(n_users: int, n_items: int, per_user: int) -> Interactions:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(n_users), per_user)
    return Interactions.from_pairs(users, rng.integers(n_items, size=len(users)), n_users, n_items)


def _worker(rank: int, meeting: str, n_items: int, result: str) -> None:
    """One of two workers: counts the floats that it sums with the other in a step."""
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    train = world(2000, n_items, 10)
    variant = VariantConfig.model_validate({"backbone": {"name": "lightgcn", "layers": LAYERS}, "dim": DIM})
    loop = TrainingLoop(Shard.cut(train, train, rank, 2), variant, 0, SideInformation(), torch.device("cpu"))
    summed, plain = 0, dist.all_reduce

    def counting(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        nonlocal summed
        summed += tensor.numel() if tensor.is_floating_point() else 0
        return plain(tensor, *args, **kwargs)

    dist.all_reduce = counting
    loop.model.loss(next(iter(loop.stream.epoch(1))), 1).total.backward()  # type: ignore[no-untyped-call]
    loop.model.share_gradients()
    if rank == 0:
        Path(result).write_text(str(summed / (n_items * DIM)), encoding="utf-8")
    dist.destroy_process_group()


_ITEMS_OF_PAIRS = 20


def _parts() -> Iterator[npt.NDArray[np.int64]]:
    """Twenty million pairs, of 25,000 users at a time."""
    for first in range(0, 1_000_000, 25_000):
        yield np.arange(first * _ITEMS_OF_PAIRS, (first + 25_000) * _ITEMS_OF_PAIRS, dtype=np.int64)


def simulate() -> None:
    found: dict[str, Any] = {}
    for n_items in (5_000, 20_000):
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder, "summed")
            spawn(_worker, (str(Path(folder, "meeting")), n_items, str(result)), nprocs=2)  # type: ignore[no-untyped-call]
            found[f"item_tables_summed_in_a_step_of_{n_items}_items"] = round(float(result.read_text()), 3)
    policies = ({"policy": "budget", "budget": 10_000}, {"policy": "per_user", "per_user": 3}, {"policy": "all"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for policy in policies:  # from the one that needs least: the peak of a process only grows
        chosen = choose_pairs(_parts(), _ITEMS_OF_PAIRS, NegativesConfig.model_validate(policy), 0)
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        found[f"policy_{policy['policy']}"] = {"chosen": len(chosen), "peak_mib": round(grown / 2**20, 1)}
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", action="store_true")
    if parser.parse_args().simulate:
        simulate()
    else:
        show()


if __name__ == "__main__":
    main()
