"""The parameters of one worker and the loss of one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hnlm_ray.models.alignment import Alignment
from hnlm_ray.models.embeddings import initial_rows
from hnlm_ray.models.losses import bpr, contrastive, half_squares, mix_negatives
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.training.batches import Batch
from hnlm_ray.training.collectives import replicate, sum_over_workers
from hnlm_ray.training.propagation import Propagation
from hnlm_ray.training.shard import Shard
from hnlm_ray.variants import VariantConfig

__all__ = ["BatchLoss", "RecommenderModel"]


@dataclass(frozen=True)
class BatchLoss:
    """This worker's part of the loss: sums over its pairs, divided by the size of the global batch."""

    total: torch.Tensor
    ranking: torch.Tensor
    contrastive: torch.Tensor


class RecommenderModel(nn.Module):
    """Embeddings of a worker's users and of all items, and the alignment of semantic vectors.

    Attributes:
        users: (U_r, d) parameter, rows of this worker.
        items: (I, d) parameter, equal on all workers.
        alignment: None unless there are semantic vectors; equal on all workers.
    """

    def __init__(
        self, shard: Shard, variant: VariantConfig, seed: int, vectors: PairVectors | None, device: torch.device
    ) -> None:
        super().__init__()
        self._variant = variant
        self._device = device
        rows = initial_rows(seed, "users", shard.first_user, shard.last_user, variant.dim)
        self.users = nn.Parameter(rows.to(device))
        self.items = nn.Parameter(initial_rows(seed, "items", 0, shard.train.n_items, variant.dim).to(device))
        self.propagation = Propagation(
            shard, variant.backbone.layers if variant.backbone.name == "lightgcn" else 0, device
        )
        self.alignment: Alignment | None = None
        if vectors is not None:
            self.alignment = Alignment(vectors.dim, variant.dim, seed).to(device)
            self._vectors = torch.from_numpy(vectors.vectors).to(device)

    def loss(self, batch: Batch) -> BatchLoss:
        """The joint objective of the paper on one batch.

        The ranking loss is on ``(u, i, e~)``; ``e~`` mixes the sampled negative with the aligned vector where the
        pair has one and is the sampled negative where it has none. The contrastive term is over pairs with a vector.
        """
        users, pairs = self._tensor(batch.users), self._tensor(np.concatenate([batch.items, batch.negatives]))
        final_users, final_items = self.propagation(self.users, self.items)
        final_items, first_items = replicate(final_items, self.items)
        user = final_users.index_select(0, users)
        positive, negative = final_items.index_select(0, pairs).tensor_split(2)
        apart = user.new_zeros(())
        if self.alignment is not None:
            chosen = np.flatnonzero(batch.hard_rows >= 0)
            where = self._tensor(chosen)
            hard = self.alignment(self._vectors.index_select(0, self._tensor(batch.hard_rows[chosen])).float())
            mixed = mix_negatives(negative.index_select(0, where), hard, self._variant.alpha)
            negative = negative.index_copy(0, where, mixed)
            met = user.index_select(0, where), positive.index_select(0, where)
            apart = contrastive(*met, hard, self._variant.contrastive_temperature).sum() / batch.global_size
        ranking = bpr(user, positive, negative).sum() / batch.global_size
        penalty = half_squares(self.users.index_select(0, users), first_items.index_select(0, pairs))
        total = ranking + self._variant.contrastive_weight * apart + self._variant.l2 / batch.global_size * penalty
        return BatchLoss(total, ranking.detach(), apart.detach())

    def share_gradients(self) -> None:
        """Sum the alignment's gradients over the workers; those of the items are summed on the way back."""
        if self.alignment is not None:
            gradients = [weight.grad for weight in self.alignment.parameters() if weight.grad is not None]
            summed = sum_over_workers(nn.utils.parameters_to_vector(gradients))
            nn.utils.vector_to_parameters(summed, gradients)

    @torch.no_grad()
    def final_vectors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Propagated vectors (U_r, d) and (I, d), whose inner products are the scores."""
        users, items = self.propagation(self.users, self.items)
        return users.detach().clone(), items.detach().clone()

    def _tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)
