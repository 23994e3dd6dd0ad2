"""The plain sampler: the items that the user has not met in train, with equal probability."""

from __future__ import annotations

import torch

from hnlm_ray.config.samplers import UniformOptions
from hnlm_ray.kernels.rows import rows_of
from hnlm_ray.samplers.candidates import UnmetItems
from hnlm_ray.samplers.membership import Met
from hnlm_ray.samplers.protocol import Negatives, Scene, Setting

__all__ = ["UniformSampler"]


class UniformSampler:
    """Draws ``negatives`` items per pair, or once for the whole batch."""

    needs_layers = False
    needs_batch = False

    def __init__(self, options: UniformOptions, setting: Setting) -> None:
        """Prepare to draw for the users of a block."""
        self._options = options
        exact = options.rejection == "exact" and not options.shared
        self._items = UnmetItems(setting.train, setting.seed, setting.device, reject=exact)
        self._met = None if exact or options.rejection == "none" else Met(setting.train, setting.device)

    def __call__(self, scene: Scene) -> Negatives:
        """See :class:`hnlm_ray.samplers.protocol.NegativeSampler`."""
        n = self._options.negatives
        if self._options.shared:
            drawn = self._items.shared(scene.epoch, scene.step, n)
        else:
            drawn = self._items.draw(scene.users, scene.places, scene.epoch, n)
        return Negatives(rows_of(scene.table, drawn), self._log_weights(scene, drawn), drawn)

    def _log_weights(self, scene: Scene, drawn: torch.Tensor) -> torch.Tensor | None:
        """Minus infinity for draws that the user has met, where they count for nothing."""
        if self._met is None:
            return None
        met = self._met.contains(scene.users[:, None], drawn)
        return torch.zeros(met.shape, device=met.device).masked_fill_(met, -torch.inf)
