"""AHNS (Lai et al., "Adaptive Hardness Negative Sampling for Collaborative Filtering", AAAI 2024, arXiv 2401.05191).

The negative is the candidate whose score is nearest to ``beta * (s_ui + alpha) ** (p + 1)``. For ``p < -1`` this target
falls as the positive's score rises, so that a positive that is already ranked high gets an easier negative. The
authors' code does not guard against ``s_ui + alpha`` near or below 0; here a negative ``s_ui`` is taken as 0, so that
the base is at least ``alpha``.
"""

from __future__ import annotations

import torch

from hnlm_ray.config.samplers import AHNSOptions
from hnlm_ray.samplers.candidates import CandidateSampler
from hnlm_ray.samplers.protocol import Negatives, Scene, candidate_scores, chosen_items

__all__ = ["AHNSSampler"]


class AHNSSampler(CandidateSampler[AHNSOptions]):
    """Chooses one of N unseen candidates per pair."""

    def __call__(self, scene: Scene) -> Negatives:
        """See :class:`hnlm_ray.samplers.protocol.NegativeSampler`."""
        options = self._options
        drawn = self._draw(scene)
        with torch.no_grad():
            positive = (scene.user * scene.positive).sum(dim=1, keepdim=True).clamp_(min=0.0)
            target = options.beta * (positive + options.alpha) ** (options.p + 1.0)
            nearest = (candidate_scores(scene, drawn) - target).abs_().argmin(dim=1, keepdim=True)
        return chosen_items(scene, drawn.gather(1, nearest))
