"""MixGCF (Huang et al., KDD 2021): negatives synthesised from layers of candidates and the positive.

On each layer the candidates are mixed with the positive, ``a p + (1 - a) n`` with one ``a`` from (0, 1) per pair and
layer (equation 5); the hardest mixture of each layer by the inner product with the user is kept (equation 6), and their
mean is the negative (equation 7). As ``a`` is the same for all candidates, the hardest mixture is that of the hardest
candidate, so that only the chosen rows are ever mixed.
"""

from __future__ import annotations

import torch

from hnlm_ray import seeds
from hnlm_ray.config.samplers import MixGCFOptions
from hnlm_ray.kernels.hashing import random_below
from hnlm_ray.kernels.rows import inner_products, rows_of
from hnlm_ray.samplers.candidates import UnmetItems
from hnlm_ray.samplers.protocol import Negatives, Scene, Setting, with_extra

__all__ = ["MixGCFSampler"]

_STEPS = 1 << 24
"""Mixing shares are multiples of its inverse, which float32 holds exactly."""


class MixGCFSampler:
    """One synthetic negative per pair."""

    needs_layers = MixGCFOptions.needs_layers
    needs_batch = False

    def __init__(self, options: MixGCFOptions, setting: Setting) -> None:
        """Prepare to draw for the users of a block."""
        self._options = options
        self._seed = setting.seed
        self._items = UnmetItems(setting.train, setting.seed, setting.device)

    def __call__(self, scene: Scene) -> Negatives:
        """See :class:`hnlm_ray.samplers.protocol.NegativeSampler`."""
        drawn = self._items.draw(scene.users, scene.places, scene.epoch, self._options.candidates)
        drawn = with_extra(scene, drawn)
        n_layers = len(scene.table_layers)
        mixed, chosen = [], []
        for layer, table in enumerate(scene.table_layers):
            with torch.no_grad():
                scores = inner_products(rows_of(table, drawn), scene.user)
            best = drawn.gather(1, scores.argmax(dim=1, keepdim=True))
            share = self._shares(scene, layer)
            mixed.append(share * scene.positive_layers[layer] + (1.0 - share) * rows_of(table, best.squeeze(1)))
            chosen.append(best)
        return Negatives(torch.stack(mixed).sum(dim=0).div(n_layers)[:, None], items=torch.cat(chosen, dim=1))

    def _shares(self, scene: Scene, layer: int) -> torch.Tensor:
        """(B, 1) in (0, 1)."""
        key = seeds.derive(self._seed, "mixgcf", scene.epoch, layer)
        return ((random_below(key, scene.places, _STEPS).float() + 0.5) / _STEPS)[:, None]
