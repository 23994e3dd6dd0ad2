"""What a sampler sees of a batch, and what it gives to the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch

from hnlm_ray.kernels.rows import inner_products, rows_of

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions

__all__ = ["NegativeSampler", "Negatives", "Scene", "Setting", "candidate_scores", "chosen_items", "with_extra"]


@dataclass(frozen=True)
class Setting:
    """What every sampler is made with, beside its options.

    Attributes:
        train: the train interactions of one block of users.
        item_degrees: (n_items,) train interactions of each item over all users.
        dim: of the final vectors.
        seed: of the fit.
        device: where draws are made.
    """

    train: Interactions
    item_degrees: npt.NDArray[np.int64]
    dim: int
    seed: int
    device: torch.device


@dataclass(frozen=True)
class Scene:
    """One worker's part of a batch, with the vectors that the model gives it.

    Attributes:
        users: (B,) int64, rows of the worker's block.
        items: (B,) int64, the positives.
        places: (B,) int64, the place of each pair in the epoch, over all workers.
        epoch: from 1.
        step: of the batch in the epoch, from 0.
        user: (B, d) final vectors of the users.
        positive: (B, d) final vectors of the positives.
        table: (I, d) final vectors of all items.
        user_layers: (B, d) per layer; only for samplers that need layers.
        positive_layers: (B, d) per layer, or none.
        table_layers: (I, d) per layer, or none.
        batch_items: (G,) int64, the positives of the whole batch over all workers; only for samplers that need them.
        positions: (B,) int64, where the worker's pairs stand in ``batch_items``.
        extra: (B, E) int64, more candidates for samplers that choose among some, -1 for none; never a met item.
    """

    users: torch.Tensor
    items: torch.Tensor
    places: torch.Tensor
    epoch: int
    step: int
    user: torch.Tensor
    positive: torch.Tensor
    table: torch.Tensor
    user_layers: Sequence[torch.Tensor] = ()
    positive_layers: Sequence[torch.Tensor] = ()
    table_layers: Sequence[torch.Tensor] = ()
    batch_items: torch.Tensor | None = None
    positions: torch.Tensor | None = None
    extra: torch.Tensor | None = None


@dataclass(frozen=True)
class Negatives:
    """The negatives of a batch.

    Attributes:
        vectors: (B, K, d), or (M, d) when all pairs share them.
        log_weights: (B, K) or (B, M), not differentiated: the log of what each negative counts; minus infinity where it
            is none. None: all count alike.
        items: int64 item numbers whose first-layer rows are regularised, (B, K) or (M,); None for none.
        penalty: a scalar that the sampler adds to the sum of the losses of the batch, or None.
    """

    vectors: torch.Tensor
    log_weights: torch.Tensor | None = None
    items: torch.Tensor | None = None
    penalty: torch.Tensor | None = None


class NegativeSampler(Protocol):
    """Gives negatives to the pairs of a batch; the same ones however users are divided over workers.

    Attributes:
        needs_layers: whether it reads the layers of the scene.
        needs_batch: whether it reads the items of the whole batch.
    """

    needs_layers: bool
    needs_batch: bool

    def __call__(self, scene: Scene) -> Negatives:
        """Draw or choose; ``vectors`` carry gradients, the choice does not."""
        ...


def chosen_items(scene: Scene, chosen: torch.Tensor) -> Negatives:
    """Negatives that are items as they are: (B, K) int64 numbers, all of the same weight."""
    return Negatives(vectors=rows_of(scene.table, chosen), items=chosen)


def with_extra(scene: Scene, drawn: torch.Tensor) -> torch.Tensor:
    """Candidates (B, N) and the extra ones of the scene; where there is none, the first candidate stands twice."""
    if scene.extra is None:
        return drawn
    return torch.cat([drawn, torch.where(scene.extra >= 0, scene.extra, drawn[:, :1])], dim=1)


@torch.no_grad()
def candidate_scores(scene: Scene, drawn: torch.Tensor) -> torch.Tensor:
    """Scores (B, N) of candidates (B, N), not differentiated."""
    return inner_products(rows_of(scene.table, drawn), scene.user)
