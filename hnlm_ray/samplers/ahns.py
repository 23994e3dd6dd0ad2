"""AHNS (Lai et al., AAAI 2024, "Adaptive Hardness Negative Sampling for Collaborative Filtering", arXiv 2401.05191).

The candidate whose score is nearest to ``beta * (s_ui + alpha) ** (p + 1)``: for ``p < -1`` the target falls as the
positive's score rises, so a positive that is already well ranked gets an easier negative. The authors' code has no
guard against ``s_ui + alpha`` near or below 0; here a negative ``s_ui`` counts as 0, so the base is at least ``alpha``.
"""

from __future__ import annotations

import torch

from hnlm_ray.config.samplers import AHNSOptions
from hnlm_ray.samplers.candidates import UnmetItems
from hnlm_ray.samplers.protocol import Negatives, Scene, Setting, candidate_scores, chosen_items

__all__ = ["AHNSSampler"]


class AHNSSampler:
    """One of N uniform unmet candidates per pair."""

    needs_layers = False
    needs_batch = False

    def __init__(self, options: AHNSOptions, setting: Setting) -> None:
        """Prepare to draw for the users of a block."""
        self._options = options
        self._items = UnmetItems(setting.train, setting.seed, setting.device)

    def __call__(self, scene: Scene) -> Negatives:
        """See :class:`hnlm_ray.samplers.protocol.NegativeSampler`."""
        options = self._options
        drawn = self._items.draw(scene.users, scene.places, scene.epoch, options.candidates)
        with torch.no_grad():
            positive = (scene.user * scene.positive).sum(dim=1, keepdim=True).clamp_(min=0.0)
            target = options.beta * (positive + options.alpha) ** (options.p + 1.0)
            nearest = (candidate_scores(scene, drawn) - target).abs_().argmin(dim=1, keepdim=True)
        return chosen_items(scene, drawn.gather(1, nearest))
