"""What the encoder is tuned by: near the supervising item, away from the others and from the pair's own item."""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["infonce", "pairwise_logistic"]


def infonce(
    vectors: torch.Tensor,
    targets: torch.Tensor,
    own: torch.Tensor,
    is_same: torch.Tensor,
    positives: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """InfoNCE (van den Oord et al., 2018) over a batch, with the pair's own item as one more distractor.

    ``-log(e^(v.t_own / T) / (sum over other targets of e^(v.t / T) + e^(v.t_own / T) + e^(v.p / T)))``. A target that
    is the same item as the own one is no distractor.

    Args:
        vectors: (b, d) unit vectors of the encoder.
        targets: (B, d) unit vectors of the supervising items of the whole batch, over all workers.
        own: (b,) int64, the row of ``targets`` that supervises each.
        is_same: (b, B) bool, targets that are the same as the own one; True at ``own``.
        positives: (b, d) unit vectors of the items of the pairs.
        temperature: T.

    Returns:
        (b,) float32.
    """
    vectors = vectors.float()
    scores = vectors @ targets.float().T
    own_scores = scores.gather(1, own[:, None])
    others = scores.masked_fill(is_same, -torch.inf)
    positive_scores = (vectors * positives.float()).sum(dim=1, keepdim=True)
    logits = torch.cat([own_scores, positive_scores, others], dim=1) / temperature
    return torch.logsumexp(logits, dim=1) - logits[:, 0]


def pairwise_logistic(
    vectors: torch.Tensor, own_targets: torch.Tensor, positives: torch.Tensor, temperature: float
) -> torch.Tensor:
    """``-log sigmoid((v.t - v.p) / T)``, the loss of the publication; three (b, d) of unit vectors to (b,) float32."""
    gap = (vectors.float() * (positives.float() - own_targets.float())).sum(dim=1)
    return functional.softplus(gap / temperature)
