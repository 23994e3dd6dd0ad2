"""Ranking losses and the terms that are added to them, one value per (user, positive) pair.

Most pairwise losses take gaps ``s_uj - s_ui`` between the score of a negative and that of the positive; the others and
softmax losses take the scores. ``log_weights`` is the weight of each negative, see
:class:`hnlm_ray.samplers.protocol.Negatives`.
"""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = [
    "bpr",
    "contrastive",
    "generalised_cross_entropy",
    "half_squares",
    "hinge",
    "mix_scores",
    "pairwise_contrastive",
    "softmax",
    "softmax_at_k",
    "weighted_mean",
]


def bpr(gaps: torch.Tensor) -> torch.Tensor:
    """``-log sigmoid(s_ui - s_uj)`` in its stable form, elementwise (Rendle et al., UAI 2009)."""
    return functional.softplus(gaps)


def hinge(gaps: torch.Tensor, margin: float) -> torch.Tensor:
    """``max(0, s_uj - s_ui + margin)``, elementwise (CML, Hsieh et al., WWW 2017, there with distances)."""
    return torch.relu(gaps + margin)


def pairwise_contrastive(gaps: torch.Tensor, temperature: float) -> torch.Tensor:
    """``-log(e^(s_ui / t) / (e^(s_ui / t) + e^(s_uj / t)))``, elementwise; ``temperature`` is t."""
    return functional.softplus(gaps / temperature)


def generalised_cross_entropy(
    positive: torch.Tensor, negatives: torch.Tensor, n_items: int, calibration: float
) -> torch.Tensor:
    """A part of gBCE for each negative, whose mean is the loss of a pair (Petrov and Macdonald, RecSys 2023).

    The loss of a pair is ``-(beta log sigmoid(s_ui) + sum over j of log(1 - sigmoid(s_uj))) / (K + 1)`` with
    ``beta = a (t (1 - 1/a) + 1/a)``, where ``a = K / (n_items - 1)`` is the share of the items that are drawn.

    Args:
        positive: (B, 1) scores.
        negatives: (B, K) scores.
        n_items: of the catalogue.
        calibration: t, from 0, binary cross-entropy, to 1.

    Returns:
        (B, K).
    """
    drawn = negatives.shape[1]
    share = min(1.0, drawn / max(1, n_items - 1))
    beta = share * (calibration * (1.0 - 1.0 / share) + 1.0 / share)
    return (beta * functional.softplus(-positive) + drawn * functional.softplus(negatives)) / (drawn + 1)


def weighted_mean(values: torch.Tensor, log_weights: torch.Tensor | None) -> torch.Tensor:
    """Weighted mean over the negatives of each pair: (B, K) to (B,), 0 for a pair whose negatives all weigh nothing."""
    if log_weights is None:
        return values.mean(dim=1)
    weights = log_weights.exp()
    return (values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-12)


def softmax(
    positive: torch.Tensor,
    negatives: torch.Tensor,
    log_weights: torch.Tensor | None,
    temperature: float,
    power: float = 1.0,
) -> torch.Tensor:
    """``-s_ui / t + power * log of the weighted sum of exp(s_uj / t)``: with power 1 SL, with another BSL.

    Sources: Wu et al., "On the Effectiveness of Sampled Softmax Loss for Item Recommendation", TOIS 2024; Wu et al.,
    "BSL: Understanding and Improving Softmax Loss for Recommendation", ICDE 2024, whose code raises the sum to a power.

    Args:
        positive: (B,) scores.
        negatives: (B, K) scores, without the positive.
        log_weights: (B, K), or None for equal weights.
        temperature: t, above 0.
        power: exponent of the sum.

    Returns:
        (B,), 0 for a pair whose negatives all weigh nothing.
    """
    log_sum, counts = _log_sum(negatives / temperature, log_weights)
    return torch.where(counts, power * log_sum - positive / temperature, 0.0)


def softmax_at_k(
    positive: torch.Tensor,
    negatives: torch.Tensor,
    log_weights: torch.Tensor | None,
    temperature: float,
    threshold: torch.Tensor,
    weight_temperature: float,
) -> torch.Tensor:
    """``sigmoid((s_ui - b_u) / t_w)`` times the softmax loss (SL@K, Yang et al., KDD 2025).

    Args:
        positive: (B,) scores.
        negatives: (B, K) scores, without the positive.
        log_weights: (B, K), or None for equal weights.
        temperature: of the softmax, above 0.
        threshold: (B,), the user's K-th best score ``b_u``.
        weight_temperature: ``t_w``, above 0.

    Returns:
        (B,).
    """
    weight = torch.sigmoid((positive - threshold) / weight_temperature)
    return weight * softmax(positive, negatives, log_weights, temperature)


def contrastive(user: torch.Tensor, positive: torch.Tensor, hard: torch.Tensor, temperature: float) -> torch.Tensor:
    """:func:`pairwise_contrastive` of cosines with one vector per pair (HNLMRec): three (B, d) to (B,)."""
    gap = functional.cosine_similarity(user, hard) - functional.cosine_similarity(user, positive)
    return pairwise_contrastive(gap, temperature)


def half_squares(*rows: torch.Tensor) -> torch.Tensor:
    """Half the sum of the squares of all entries, a scalar: the L2 penalty of rows of embeddings."""
    return 0.5 * torch.stack([block.square().sum() for block in rows]).sum()


def mix_scores(
    scores: torch.Tensor, lengths: torch.Tensor, user: torch.Tensor, hard: torch.Tensor, alpha: float | torch.Tensor
) -> torch.Tensor:
    """Scores of negatives mixed as ``alpha * e_hard + (1 - alpha) * e_j``, ``e_hard`` scaled to the length of ``e_j``.

    The length of an aligned vector carries no information. Unscaled, the alignment could lower the loss by making its
    output longer in the direction away from the user, and ``alpha`` would mean something else in every epoch. Since the
    score is linear, the vectors themselves need not be mixed.

    Args:
        scores: (B, K) of the sampled negatives ``e_j``.
        lengths: (B, K) or (1, K), the lengths of their vectors.
        user: (B, d).
        hard: (B, d), the aligned vector of each pair's hard negative.
        alpha: in [0, 1]; 0 returns ``scores`` bit for bit.

    Returns:
        (B, K).
    """
    direction = (user * functional.normalize(hard)).sum(dim=1, keepdim=True)
    return alpha * lengths.detach() * direction + (1.0 - alpha) * scores


def _log_sum(logits: torch.Tensor, log_weights: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Log of the weighted sum of exponentials of each row, and whether the row has a negative with a weight."""
    if log_weights is None:
        return torch.logsumexp(logits, dim=1), torch.ones(len(logits), dtype=torch.bool, device=logits.device)
    counts = (log_weights > -torch.inf).any(dim=1)
    # A row without negatives gets weights of 1, so that its value and gradient, though unused, are finite.
    weights = torch.where(counts[:, None], log_weights, 0.0)
    return torch.logsumexp(logits + weights, dim=1), counts
