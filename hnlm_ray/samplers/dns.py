"""Dynamic negative sampling (Zhang et al., SIGIR 2013), and DNS(M, N) (Shi et al., WWW 2023)."""

from __future__ import annotations

from hnlm_ray import seeds
from hnlm_ray.config.samplers import DNSOptions
from hnlm_ray.kernels.hashing import random_below
from hnlm_ray.samplers.candidates import UnmetItems
from hnlm_ray.samplers.protocol import Negatives, Scene, Setting, candidate_scores, chosen_items, with_extra

__all__ = ["DNSSampler"]


class DNSSampler:
    """One of the M best-scored of N uniform unmet candidates, each of the M alike; M = 1 takes the best."""

    needs_layers = False
    needs_batch = False

    def __init__(self, options: DNSOptions, setting: Setting) -> None:
        """Prepare to draw for the users of a block."""
        self._options = options
        self._seed = setting.seed
        self._items = UnmetItems(setting.train, setting.seed, setting.device)

    def __call__(self, scene: Scene) -> Negatives:
        """See :class:`hnlm_ray.samplers.protocol.NegativeSampler`."""
        drawn = self._items.draw(scene.users, scene.places, scene.epoch, self._options.candidates)
        drawn = with_extra(scene, drawn)
        scores = candidate_scores(scene, drawn)
        if self._options.top == 1:
            best = scores.argmax(dim=1, keepdim=True)
        else:
            among = scores.topk(self._options.top, dim=1).indices
            key = seeds.derive(self._seed, "dns", scene.epoch)
            best = among.gather(1, random_below(key, scene.places, self._options.top)[:, None])
        return chosen_items(scene, drawn.gather(1, best))
