"""A training step: ours, and the form of most libraries, COO adjacency, autograd through every layer and plain Adam."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from hnlm_ray.kernels.rows import on_device
from hnlm_ray.samplers.candidates import UnseenItems
from hnlm_ray.training.batches import Batch
from hnlm_ray.training.loop import TrainingLoop

__all__ = ["our_step", "textbook_step"]


def our_step(loop: TrainingLoop) -> Callable[[Batch], torch.Tensor]:
    """A step of a loop as training makes it; returns the loss, on the device."""

    def step(batch: Batch) -> torch.Tensor:
        loop.optimizer.zero_grad(set_to_none=True)
        loss = loop.model.loss(batch, 1).total
        loss.backward()  # type: ignore[no-untyped-call]
        loop.optimizer.step()
        return loss.detach()

    return step


def textbook_step(
    loop: TrainingLoop, *, layers: int = 3, drawn: int = 1, temperature: float | None = None
) -> Callable[[Batch], torch.Tensor]:
    """A step from the values with which a loop starts and with its negatives; returns the loss, on the device.

    Args:
        loop: not yet trained.
        layers: of LightGCN; 0 is MF.
        drawn: negatives of a pair. With BPR the one with the highest score counts, as in DNS.
        temperature: of a softmax over cosines; None for BPR.
    """
    train, device = loop.shard.train, loop.model.users.device
    users = torch.from_numpy(train.users.astype(np.int64))
    items = torch.from_numpy(train.items.astype(np.int64)) + train.n_users
    size = train.n_users + train.n_items
    indices = torch.stack([torch.cat([users, items]), torch.cat([items, users])])
    degrees = torch.bincount(indices[0], minlength=size).clamp(min=1).float()
    values = (degrees[indices[0]] * degrees[indices[1]]).rsqrt()
    adjacency = torch.sparse_coo_tensor(indices, values, (size, size), check_invariants=False).coalesce().to(device)
    table = torch.nn.Parameter(torch.cat([loop.model.users, loop.model.items]).detach().clone())
    optimizer = torch.optim.Adam([table], lr=1e-3)
    sampler = UnseenItems(train, 0, device)

    def step(batch: Batch) -> torch.Tensor:
        hops: list[torch.Tensor] = [table]
        for _ in range(layers):
            hops.append(torch.sparse.mm(adjacency, hops[-1]))
        final = torch.stack(hops, dim=1).mean(dim=1)
        if temperature is not None:
            final = torch.nn.functional.normalize(final)
        users, items, places = on_device(np.stack([batch.users, batch.items, batch.places]), device)
        negatives = sampler.draw(users, places, 1, drawn) + train.n_users
        user, positive = final[users], final[items + train.n_users]
        scores = (final[negatives] * user[:, None]).sum(dim=2)
        own = (user * positive).sum(dim=1)
        if temperature is None:
            best = scores.argmax(dim=1, keepdim=True)
            scores, negatives = scores.gather(1, best), negatives.gather(1, best)
            ranking = torch.nn.functional.softplus(scores[:, 0] - own).mean()
        else:
            ranking = (torch.logsumexp(scores / temperature, dim=1) - own / temperature).mean()
        shares = (users, 1.0), (items + train.n_users, 1.0), (negatives.reshape(-1), 1.0 / negatives.shape[1])
        penalty = torch.stack([table[row].square().sum() * share for row, share in shares]).sum()
        loss = ranking + 1e-4 * penalty / (2 * batch.global_size)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    return step
