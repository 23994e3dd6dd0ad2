"""Softmax(rho, N) (Shi et al., "On the Theories Behind Hard Negative Sampling for Recommendation", WWW 2023).

With ``l_j`` the BPR loss of candidate ``j``, its weight is the softmax of ``l_j / t`` over the candidates, where
``t = sqrt(variance of l / (2 rho))`` is computed for each pair. Weights have no gradient.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from hnlm_ray.config.samplers import SoftmaxImportanceOptions
from hnlm_ray.kernels.rows import inner_products, rows_of
from hnlm_ray.samplers.candidates import CandidateSampler
from hnlm_ray.samplers.protocol import Negatives, Scene

__all__ = ["SoftmaxImportanceSampler", "importance_log_weights"]


class SoftmaxImportanceSampler(CandidateSampler[SoftmaxImportanceOptions]):
    """Gives all N unseen candidates of a pair, each with its weight."""

    def __call__(self, scene: Scene) -> Negatives:
        """See :class:`hnlm_ray.samplers.protocol.NegativeSampler`."""
        drawn = self._draw(scene)
        vectors = rows_of(scene.table, drawn)
        with torch.no_grad():
            gaps = inner_products(vectors, scene.user)
            gaps -= (scene.user * scene.positive).sum(dim=1, keepdim=True)
            log_weights = importance_log_weights(functional.softplus(gaps), self._options.rho)
        return Negatives(vectors, log_weights, drawn)


def importance_log_weights(losses: torch.Tensor, rho: float) -> torch.Tensor:
    """Log of the weights (B, N) for losses (B, N); equal losses have equal weights. ``rho`` is above 0."""
    # Written out, because `var` warns when a worker has no pairs in the batch.
    variance = (losses - losses.mean(dim=1, keepdim=True)).square().mean(dim=1, keepdim=True)
    temperature = (variance / (2.0 * rho)).sqrt()
    return functional.log_softmax(losses / temperature.clamp(min=1e-6), dim=1)
