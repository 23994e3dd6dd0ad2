"""Losses of the encoder: a pair's vector is pulled to its supervising item, and away from other items and its own."""

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
    """InfoNCE (van den Oord et al., 2018) over a batch, with the pair's own item as one more negative.

    ``-log(e^(v.t_own / T) / (sum over other targets of e^(v.t / T) + e^(v.t_own / T) + e^(v.p / T)))``. A target
    that is the same item as the own one is left out of the sum.

    Args:
        vectors: (b, d) unit vectors of the encoder.
        targets: (B, d) unit vectors of the supervising items of the whole batch, over all workers.
        own: (b,) int64, the row of ``targets`` that supervises each.
        is_same: (b, B) bool, whether a target is the same item as the own one; True at ``own``.
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
    """The loss of the publication (HNLMRec), ``-log sigmoid((v.t_own - v.p) / T)``: (b,) float32.

    Arguments as in :func:`infonce`; ``own_targets`` (b, d) are the unit vectors of the supervising items.
    """
    gap = (vectors.float() * (positives.float() - own_targets.float())).sum(dim=1)
    return functional.softplus(gap / temperature)
