"""The language model's hard negatives in the loss of a batch."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from hnlm_ray import seeds
from hnlm_ray.config.losses import Loss
from hnlm_ray.config.semantic import Mode, SemanticOptions
from hnlm_ray.kernels.hashing import random_below
from hnlm_ray.kernels.rows import on_device
from hnlm_ray.models.alignment import Alignment
from hnlm_ray.models.losses import contrastive, mix_scores
from hnlm_ray.samplers.protocol import Negatives, Scene
from hnlm_ray.samplers.semantic import PairVectors

__all__ = ["SemanticNegatives", "Strength"]


class Strength(nn.Module):
    """The share or weight of the semantic vectors in each epoch.

    Attributes:
        logit: a scalar parameter where it is learned, equal on all workers; None otherwise.
    """

    def __init__(self, start: float, mode: Mode, epochs: int) -> None:
        """Prepare.

        Args:
            start: in [0, 1]; the value, where ``mode`` is ``learned`` the first.
            mode: see :class:`hnlm_ray.config.semantic.MixingOptions`.
            epochs: of the whole fit.
        """
        super().__init__()
        self._value, self._rises, self._epochs = start, mode == "rising", epochs
        is_learned = mode == "learned"
        self.logit = nn.Parameter(torch.tensor(math.log(start / (1.0 - start)))) if is_learned else None

    def forward(self, epoch: int) -> float | torch.Tensor:
        """The value in an epoch, from 1."""
        if self.logit is not None:
            return torch.sigmoid(self.logit)
        return self._value * min(1.0, epoch / max(1.0, self._epochs / 2)) if self._rises else self._value


class SemanticNegatives(nn.Module):
    """The semantic vectors of a worker's pairs, and how they enter the loss; what it learns is equal on all workers.

    A pair without a vector is left to the sampler.

    Attributes:
        alignment: into the space of the final vectors, for vectors of another space; None where they are items.
        strength: the share in mixing, or the weight of the extra negative in softmax losses.
        contrast_weight: of the contrast between positives and semantic vectors.
    """

    def __init__(
        self,
        options: SemanticOptions,
        loss: Loss,
        vectors: PairVectors,
        dim: int,
        seed: int,
        epochs: int,
        device: torch.device,
    ) -> None:
        """Prepare.

        Args:
            options: of the variant.
            loss: that the negatives enter.
            vectors: of the worker's pairs; with items, where the options want items.
            dim: of the final vectors.
            seed: of the fit.
            epochs: of the whole fit.
            device: where the parameters are.
        """
        super().__init__()
        self._options, self._loss, self._seed, self._device = options, loss, seed, device
        self.contrast_weight = options.contrast.weight
        mixing, extra = options.mixing, options.extra
        start, mode = (extra.weight, extra.mode) if loss.is_softmax else (mixing.share, mixing.mode)
        self.strength = Strength(start, mode, epochs)
        self.alignment: Alignment | None = None
        if options.has_items:
            assert vectors.items is not None
            self._table = torch.from_numpy(vectors.items.astype(np.int64)).to(device)
        else:
            self._table = torch.from_numpy(vectors.vectors).to(device)
            self.alignment = Alignment(vectors.dim, dim, seed)
            self.alignment.requires_grad_(options.alignment == "trained")
        self.to(device)

    def candidates(self, rows: npt.NDArray[np.int32]) -> torch.Tensor | None:
        """Items for the sampler to choose from: (B, M) int64, -1 for none; None where vectors are mixed in instead.

        Args:
            rows: (B,) numbers of the pairs' vectors, -1 for a pair without one.
        """
        if self._options.use == "mix":
            return None
        numbers = self._tensor(rows)
        items = self._table.index_select(0, numbers.clamp(min=0))
        return torch.where(numbers[:, None] >= 0, items, -1)

    def forward(
        self, scene: Scene, rows: npt.NDArray[np.int32], negatives: Negatives, scores: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Let the semantic vectors take part in the scores, and contrast them with the positives.

        Args:
            scene: the batch.
            rows: (B,) numbers of the pairs' vectors, -1 for a pair without one.
            negatives: of the sampler.
            scores: (B, K) of these negatives.

        Returns:
            Scores and log weights, both (B, K) or, with an extra negative, (B, K + 1), log weights perhaps None; and a
            scalar, the sum of the contrasts of the pairs.
        """
        chosen = np.flatnonzero(rows >= 0)
        where = self._tensor(chosen)
        semantic = self._vectors(self._tensor(rows[chosen]), where, scene)
        user, positive = scene.user.index_select(0, where), scene.positive.index_select(0, where)
        contrast = contrastive(user, positive, semantic, self._options.contrast.temperature).sum()
        if self._options.use == "candidates":  # the sampler has chosen among them
            return scores, negatives.log_weights, contrast
        strength = self.strength(scene.epoch)
        if self._loss.is_softmax:
            own = (user * semantic).sum(dim=1)
            return *_with_extra(scores, negatives.log_weights, where, own, strength), contrast
        lengths = negatives.vectors.norm(dim=-1).expand(scores.shape).index_select(0, where)
        mixed = mix_scores(scores.index_select(0, where), lengths, user, semantic, strength)
        return scores.index_copy(0, where, mixed), negatives.log_weights, contrast

    def _vectors(self, numbers: torch.Tensor, where: torch.Tensor, scene: Scene) -> torch.Tensor:
        """Semantic vectors in the space of the final vectors; of several items, one is drawn per pair and epoch.

        Args:
            numbers: (H,) int64 of the vectors.
            where: (H,) int64, their pairs in the batch.
            scene: the batch.
        """
        found = self._table.index_select(0, numbers)
        if self.alignment is not None:
            aligned: torch.Tensor = self.alignment(found.float())
            return functional.normalize(aligned) if self._loss.is_cosine else aligned
        key = seeds.derive(self._seed, "semantic", scene.epoch)
        drawn = random_below(key, scene.places.index_select(0, where), (found >= 0).sum(dim=1))
        return scene.table.index_select(0, found.gather(1, drawn[:, None]).squeeze(1))

    def _tensor(self, numbers: npt.NDArray[np.integer]) -> torch.Tensor:
        return on_device(numbers.astype(np.int64), self._device)


def _with_extra(
    scores: torch.Tensor,
    log_weights: torch.Tensor | None,
    where: torch.Tensor,
    own: torch.Tensor,
    weight: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One more negative for some pairs, which counts ``weight`` times as much as all others of the pair together.

    Args:
        scores: (B, K).
        log_weights: (B, K) or None.
        where: (H,) int64, the pairs that have one.
        own: (H,) its scores.
        weight: 0 adds none.
    """
    weights = torch.zeros_like(scores) if log_weights is None else log_weights
    if not isinstance(weight, torch.Tensor) and weight == 0.0:
        return scores, weights
    log_share = weight.log() if isinstance(weight, torch.Tensor) else math.log(weight)
    log_weight = torch.logsumexp(weights.index_select(0, where), dim=1) + log_share
    score = scores.new_zeros(len(scores)).index_copy(0, where, own)
    column = scores.new_full((len(scores),), -torch.inf).index_copy(0, where, log_weight)
    return torch.cat([scores, score[:, None]], dim=1), torch.cat([weights, column[:, None]], dim=1)
