"""Terms over the nodes of a batch: contrast between views, alignment, uniformity."""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["alignment", "info_nce", "kernel_sums"]


def info_nce(
    rows: torch.Tensor, columns: torch.Tensor, own: torch.Tensor, counted: torch.Tensor, temperature: float
) -> torch.Tensor:
    """``-log(exp(cos(x, x') / t) / sum over y' of exp(cos(x, y') / t))``, one value per row (SGL, equation 10).

    Args:
        rows: (B, d), nodes in the first view.
        columns: (G, d), the nodes of the whole batch in the second view.
        own: (B,) int64, which column is the row's own node.
        counted: (G,) bool; a node that comes twice in the batch counts once.
        temperature: t.

    Returns:
        (B,).
    """
    logits = functional.normalize(rows) @ functional.normalize(columns).T / temperature
    logits = logits.masked_fill(~counted, -torch.inf)
    # A repeated node is its own column though that column does not count, so the logit is computed apart.
    same = functional.cosine_similarity(rows, columns.index_select(0, own)) / temperature
    return torch.logsumexp(logits, dim=1) - same


def alignment(users: torch.Tensor, positives: torch.Tensor) -> torch.Tensor:
    """``||f(u) - f(i)||^2`` of unit vectors (DirectAU, equation 4): (B, d) and (B, d) to (B,)."""
    return (functional.normalize(users) - functional.normalize(positives)).square().sum(dim=1)


def kernel_sums(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """The sum over columns of ``exp(-2 ||f(x) - f(y)||^2)`` of unit vectors: (B, d) and (G, d) to (B,).

    The log of its mean over pairs of different places is the uniformity of Wang and Isola (ICML 2020).
    """
    cosines = functional.normalize(rows) @ functional.normalize(columns).T
    return torch.exp(4.0 * cosines - 4.0).sum(dim=1)
