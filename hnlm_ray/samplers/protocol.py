"""The interface between a negative sampler and the training loop.

Shapes: B pairs of a worker's part of a batch, G of the whole batch, I items (all of them), d the dimension of the final
vectors, K negatives per pair.
"""

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
    from hnlm_ray.samplers.guard import GuardLookup

__all__ = [
    "NegativeSampler",
    "Negatives",
    "Scene",
    "Setting",
    "candidate_scores",
    "chosen_items",
    "trust_in",
    "with_extra",
    "without_excluded",
]


@dataclass(frozen=True)
class Setting:
    """What every sampler is made with, apart from its options.

    Attributes:
        train: the train interactions of one block of users.
        item_degrees: (n_items,) train interactions of each item over all users.
        dim: of the final vectors.
        seed: of the fit.
        device: where negatives are drawn.
    """

    train: Interactions
    item_degrees: npt.NDArray[np.int64]
    dim: int
    seed: int
    device: torch.device


@dataclass(frozen=True)
class Scene:
    """A worker's part of a batch: its (user, positive) pairs and their vectors.

    Attributes:
        users: (B,) int64, rows of the worker's block of users.
        items: (B,) int64, the positives.
        places: (B,) int64, position of each pair in the epoch, over all workers.
        epoch: from 1.
        step: of the batch in the epoch, from 0.
        user: (B, d) final vectors of the users.
        positive: (B, d) final vectors of the positives.
        table: (I, d) final vectors of all items.
        user_layers: vectors (B, d) of the users on each layer; empty unless the sampler needs layers.
        positive_layers: the same of the positives, (B, d).
        table_layers: the same of all items, (I, d).
        batch_items: (G,) int64, the positives of the whole batch over all workers; None unless the
            sampler needs the batch.
        positions: (B,) int64, the places of the worker's pairs in ``batch_items``.
        extra: (B, E) int64, unseen items that join the candidates of samplers that choose among some, -1 for none.
        guard: which items are poor negatives of the users; None guards nothing.
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
    guard: GuardLookup | None = None


@dataclass(frozen=True)
class Negatives:
    """The negatives of a batch.

    Attributes:
        vectors: (B, K, d), or (M, d) when all pairs share them.
        log_weights: (B, K) or (B, M), log of the weight of each negative, without a gradient; minus infinity where it
            is not a negative of the pair. None for equal weights.
        items: (B, K) or (M,) int64, items whose embeddings are regularised; None for none.
        penalty: a scalar that is added to the sum of the losses of the batch, or None.
        stands_for: the items that the vectors are of, (B, K) or (M,) int64, where ``items`` does not say it; with one
            vector per pair that is mixed of L items, (B, L).
    """

    vectors: torch.Tensor
    log_weights: torch.Tensor | None = None
    items: torch.Tensor | None = None
    penalty: torch.Tensor | None = None
    stands_for: torch.Tensor | None = None


class NegativeSampler(Protocol):
    """Chooses the negatives of a batch, which do not depend on how users are divided over workers.

    Attributes:
        needs_layers: whether it reads the layers in a scene.
        needs_batch: whether it reads the items of the whole batch in a scene.
    """

    needs_layers: bool = False
    needs_batch: bool = False

    def __call__(self, scene: Scene) -> Negatives:
        """The negatives of the pairs of a scene; their ``vectors`` have gradients, the choice among items has none."""
        ...


def chosen_items(scene: Scene, chosen: torch.Tensor) -> Negatives:
    """Items (B, K) int64 as negatives of equal weight, with their own vectors."""
    return Negatives(vectors=rows_of(scene.table, chosen), items=chosen)


def with_extra(scene: Scene, drawn: torch.Tensor) -> torch.Tensor:
    """Candidates (B, N) joined by the extra ones of the scene: (B, N) or (B, N + E) int64.

    Where a pair lacks an extra item, its first candidate is repeated.
    """
    if scene.extra is None:
        return drawn
    return torch.cat([drawn, torch.where(scene.extra >= 0, scene.extra, drawn[:, :1])], dim=1)


@torch.no_grad()
def candidate_scores(scene: Scene, drawn: torch.Tensor) -> torch.Tensor:
    """Scores (B, N) of the candidates (B, N) of each pair, without a gradient; minus infinity for excluded ones."""
    return without_excluded(scene, drawn, inner_products(rows_of(scene.table, drawn), scene.user))


def without_excluded(scene: Scene, drawn: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Scores (B, N) of candidates (B, N), minus infinity for those that the guard excludes."""
    if scene.guard is None or not scene.guard.excludes:
        return scores
    return scores.masked_fill(scene.guard.trust(scene.users[:, None], drawn) == 0.0, -torch.inf)


@torch.no_grad()
def trust_in(scene: Scene, negatives: Negatives) -> torch.Tensor | None:
    """How far the guard trusts each negative, (B, K) or (B, M) float32 in [0, 1]; None where nothing is guarded.

    A vector that is mixed of several items has the mean of their trust.
    """
    items = negatives.items if negatives.stands_for is None else negatives.stands_for
    if scene.guard is None or items is None:
        return None
    trust = scene.guard.trust(scene.users[:, None], items)
    is_mixed = negatives.vectors.dim() == 3 and negatives.vectors.shape[1] != trust.shape[1]
    return trust.mean(dim=1, keepdim=True) if is_mixed else trust
