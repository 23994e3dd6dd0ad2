"""Items that the user has not seen in train, with equal probability."""

from __future__ import annotations

import torch

from hnlm_ray.config.samplers import UniformOptions
from hnlm_ray.kernels.rows import rows_of
from hnlm_ray.samplers.candidates import UnseenItems
from hnlm_ray.samplers.protocol import Negatives, NegativeSampler, Scene, Setting
from hnlm_ray.samplers.seen import SeenItems

__all__ = ["UniformSampler"]


class UniformSampler(NegativeSampler):
    """Draws ``negatives`` items for each pair, or once for the whole batch."""

    def __init__(self, options: UniformOptions, setting: Setting) -> None:
        """Prepare to draw for the users of a block."""
        self._options = options
        exact = options.rejection == "exact" and not options.shared
        self._items = UnseenItems(setting.train, setting.seed, setting.device, reject=exact)
        self._seen = None if exact or options.rejection == "none" else SeenItems(setting.train, setting.device)

    def __call__(self, scene: Scene) -> Negatives:
        """See :class:`hnlm_ray.samplers.protocol.NegativeSampler`."""
        n = self._options.negatives
        if self._options.shared:
            drawn = self._items.shared(scene.epoch, scene.step, n)
        else:
            drawn = self._items.draw(scene.users, scene.places, scene.epoch, n)
        return Negatives(rows_of(scene.table, drawn), self._log_weights(scene, drawn), drawn)

    def _log_weights(self, scene: Scene, drawn: torch.Tensor) -> torch.Tensor | None:
        """Minus infinity for draws that the user has seen; None where there are none, or where they are used."""
        if self._seen is None:
            return None
        seen = self._seen.contains(scene.users[:, None], drawn)
        return torch.zeros(seen.shape, device=seen.device).masked_fill_(seen, -torch.inf)
