"""Loss terms over the nodes of a batch: contrast between views, alignment, uniformity."""

from __future__ import annotations

import torch
from torch.nn import functional

from hnlm_ray.kernels.rows import widened

__all__ = ["alignment", "info_nce", "kernel_sums"]


def info_nce(
    rows: torch.Tensor, columns: torch.Tensor, own: torch.Tensor, counted: torch.Tensor, temperature: float
) -> torch.Tensor:
    """``-log(exp(cos(x, x') / t) / sum over y' of exp(cos(x, y') / t))``, one value per row (SGL, equation 10).

    Args:
        rows: (B, d) float32, nodes in the first view.
        columns: (G, d) float32, the nodes of the whole batch in the second view.
        own: (B,) int64, the column of each row's own node.
        counted: (G,) bool, false for repetitions: a node that occurs twice in the batch counts once.
        temperature: t, above 0.

    Returns:
        (B,) float32.
    """
    logits = widened(functional.normalize(rows) @ functional.normalize(columns).T) / temperature
    logits = logits.masked_fill(~counted, -torch.inf)
    # The column of a repeated node may not be counted, so its own logit is computed separately.
    same = functional.cosine_similarity(rows, columns.index_select(0, own)) / temperature
    return torch.logsumexp(logits, dim=1) - same


def alignment(users: torch.Tensor, positives: torch.Tensor) -> torch.Tensor:
    """``||u - i||^2`` of the vectors at unit length (DirectAU, equation 4): (B, d) and (B, d) to (B,)."""
    return (functional.normalize(users) - functional.normalize(positives)).square().sum(dim=1)


def kernel_sums(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """The sum over columns of ``exp(-2 ||x - y||^2)`` of the vectors at unit length: (B, d) and (G, d) to (B,).

    The log of its mean over pairs of different positions is the uniformity of Wang and Isola (ICML 2020).
    """
    with torch.autocast(rows.device.type, enabled=False):  # cosines near 1 must not be rounded: a row meets itself
        cosines = functional.normalize(rows) @ functional.normalize(columns).T
    return torch.exp(4.0 * cosines - 4.0).sum(dim=1)
