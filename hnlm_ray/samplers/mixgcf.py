"""MixGCF: negatives synthesised from the layers of candidates and of the positive.

Huang et al., "MixGCF: An Improved Training Method for Graph Neural Network-based Recommender Systems", KDD 2021. On
each layer the candidates are mixed with the positive, ``a p + (1 - a) n`` with one ``a`` from (0, 1) per pair and layer
(equation 5). The hardest mixture of each layer by the inner product with the user is kept (equation 6), and the mean
over layers is the negative (equation 7). As ``a`` is the same for all candidates, the hardest mixture is that of the
hardest candidate, so that only the chosen rows are mixed.
"""

from __future__ import annotations

import torch

from hnlm_ray import seeds
from hnlm_ray.config.samplers import MixGCFOptions
from hnlm_ray.kernels.hashing import random_below
from hnlm_ray.kernels.rows import inner_products, rows_of
from hnlm_ray.samplers.candidates import CandidateSampler
from hnlm_ray.samplers.protocol import Negatives, Scene, with_extra, without_excluded

__all__ = ["MixGCFSampler"]

_STEPS = 1 << 24
"""Mixing shares are multiples of one over this number, which float32 holds exactly."""


class MixGCFSampler(CandidateSampler[MixGCFOptions]):
    """Synthesises one negative per pair."""

    needs_layers = MixGCFOptions.needs_layers

    def __call__(self, scene: Scene) -> Negatives:
        """See :class:`hnlm_ray.samplers.protocol.NegativeSampler`."""
        drawn = with_extra(scene, self._draw(scene))
        n_layers = len(scene.table_layers)
        mixed, chosen = [], []
        for layer, table in enumerate(scene.table_layers):
            with torch.no_grad():
                scores = without_excluded(scene, drawn, inner_products(rows_of(table, drawn), scene.user))
            best = drawn.gather(1, scores.argmax(dim=1, keepdim=True))
            share = self._shares(scene, layer)
            mixed.append(share * scene.positive_layers[layer] + (1.0 - share) * rows_of(table, best.squeeze(1)))
            chosen.append(best)
        return Negatives(torch.stack(mixed).sum(dim=0).div(n_layers)[:, None], items=torch.cat(chosen, dim=1))

    def _shares(self, scene: Scene, layer: int) -> torch.Tensor:
        """The shares ``a`` of the positives on a layer: (B, 1) in (0, 1)."""
        key = seeds.derive(self._seed, "mixgcf", scene.epoch, layer)
        return ((random_below(key, scene.places, _STEPS).float() + 0.5) / _STEPS)[:, None]
