"""One LightGCN epoch: ours against the textbook form (COO adjacency, autograd through every layer, plain Adam).

    python benchmarks/lightgcn_epoch.py [users items pairs steps]

Both train on the same generated interactions from the same start, with the same batches and negatives; the first loss
of each is printed so that a difference in what is computed would show. Prints one JSON line.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice

import numpy as np
import torch

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.training.batches import Batch
from hnlm_ray.training.loop import TrainingLoop
from hnlm_ray.training.shard import Shard
from hnlm_ray.variants import VariantConfig

ML_1M = (6040, 3629, 650_000, 40)
"""Users, items, pairs drawn before duplicates fall away, steps to time: the size of ml-1m's train split."""


def world(n_users: int, n_items: int, n_pairs: int) -> Interactions:
    """Zipf-like items, each pair once."""
    rng = np.random.default_rng(0)
    items = (n_items * rng.random(n_pairs) ** 2).astype(np.int64)
    return Interactions.from_pairs(rng.integers(n_users, size=n_pairs), items, n_users, n_items)


def our_step(loop: TrainingLoop) -> Callable[[Batch], float]:
    def step(batch: Batch) -> float:
        loop.optimizer.zero_grad(set_to_none=True)
        loss = loop.model.loss(batch).total
        loss.backward()
        loop.optimizer.step()
        return loss.item()

    return step


def textbook_step(train: Interactions, loop: TrainingLoop, variant: VariantConfig) -> Callable[[Batch], float]:
    users = torch.from_numpy(train.users.astype(np.int64))
    items = torch.from_numpy(train.items.astype(np.int64)) + train.n_users
    size = train.n_users + train.n_items
    indices = torch.stack([torch.cat([users, items]), torch.cat([items, users])])
    degrees = torch.bincount(indices[0], minlength=size).clamp(min=1).float()
    values = (degrees[indices[0]] * degrees[indices[1]]).rsqrt()
    adjacency = torch.sparse_coo_tensor(indices, values, (size, size)).coalesce()
    table = torch.nn.Parameter(torch.cat([loop.model.users, loop.model.items]).detach().clone())
    optimizer = torch.optim.Adam([table], lr=variant.learning_rate)

    def step(batch: Batch) -> float:
        layers = [table]
        for _ in range(variant.backbone.layers):
            layers.append(torch.sparse.mm(adjacency, layers[-1]))
        final = torch.stack(layers, dim=1).mean(dim=1)
        rows = [torch.from_numpy(batch.users).long()]
        rows += [torch.from_numpy(items).long() + train.n_users for items in (batch.items, batch.negatives)]
        user, positive, negative = (final[row] for row in rows)
        ranking = torch.nn.functional.softplus((user * negative).sum(1) - (user * positive).sum(1)).mean()
        penalty = sum(table[row].square().sum() for row in rows) / (2 * batch.global_size)
        loss = ranking + variant.l2 * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def timed(step: Callable[[Batch], float], batches: Iterable[Batch]) -> tuple[float, float]:
    """First loss, and the median of the seconds of a step with its sampling."""
    losses, seconds, started = [], [], time.perf_counter()
    for batch in batches:
        losses.append(step(batch))
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
    return losses[0], float(np.median(seconds))


def main(n_users: int, n_items: int, n_pairs: int, steps: int) -> None:
    variant, train = VariantConfig(), world(n_users, n_items, n_pairs)
    loop = TrainingLoop(Shard.cut(train, train, 0, 1), variant, 0, None, torch.device("cpu"))
    textbook = timed(textbook_step(train, loop, variant), islice(loop.stream.epoch(1), steps))
    ours = timed(our_step(loop), islice(loop.stream.epoch(1), steps))
    steps_per_epoch = -(-len(train.items) // variant.batch_size)
    report = {
        "benchmark": "lightgcn_epoch",
        "users": n_users,
        "items": n_items,
        "pairs": len(train.items),
        "dim": variant.dim,
        "layers": variant.backbone.layers,
        "batch_size": variant.batch_size,
        "threads": torch.get_num_threads(),
        "ours_ms_per_step": round(1e3 * ours[1], 1),
        "textbook_ms_per_step": round(1e3 * textbook[1], 1),
        "ours_s_per_epoch": round(ours[1] * steps_per_epoch, 2),
        "textbook_s_per_epoch": round(textbook[1] * steps_per_epoch, 2),
        "speedup": round(textbook[1] / ours[1], 2),
        "first_loss_difference": abs(ours[0] - textbook[0]),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]) if len(sys.argv) > 1 else ML_1M)
