"""The terms of the joint objective, one value per pair (HNLMRec, arXiv 2504.04726; BPR, Rendle et al., UAI 2009)."""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["bpr", "contrastive", "half_squares", "mix_negatives"]


def bpr(user: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """``-log sigmoid(<u, i> - <u, j>)`` in its stable form ``softplus(<u, j> - <u, i>)``.

    Args:
        user: (B, d).
        positive: (B, d).
        negative: (B, d).

    Returns:
        (B,).
    """
    return functional.softplus((user * (negative - positive)).sum(dim=1))


def contrastive(user: torch.Tensor, positive: torch.Tensor, hard: torch.Tensor, temperature: float) -> torch.Tensor:
    """``-log(e^(cos(u, i) / t) / (e^(cos(u, i) / t) + e^(cos(u, e_hard) / t)))``, shapes as in :func:`bpr`."""
    gap = functional.cosine_similarity(user, hard) - functional.cosine_similarity(user, positive)
    return functional.softplus(gap / temperature)


def half_squares(*rows: torch.Tensor) -> torch.Tensor:
    """Half the sum of all squares, a scalar; times ``l2`` and divided by the batch size, it is the penalty."""
    return 0.5 * torch.stack([block.square().sum() for block in rows]).sum()


def mix_negatives(sampled: torch.Tensor, hard: torch.Tensor, alpha: float) -> torch.Tensor:
    """``alpha * e_hard + (1 - alpha) * e_j`` with ``e_hard`` brought to the length of ``e_j``.

    An aligned vector has a length of its own, which says nothing: unscaled, the alignment could lower the loss by
    growing its output against the user, and ``alpha`` would mean another thing in every epoch.

    Args:
        sampled: (B, d) vectors of the sampled negatives.
        hard: (B, d) aligned vectors.
        alpha: in [0, 1]; 0 returns ``sampled`` bit for bit.
    """
    length = sampled.detach().norm(dim=1, keepdim=True)
    mixed: torch.Tensor = alpha * length * functional.normalize(hard) + (1.0 - alpha) * sampled
    return mixed
