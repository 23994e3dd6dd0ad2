"""Dynamic negative sampling and its generalisation DNS(M, N).

Zhang et al., "Optimizing Top-N Collaborative Filtering via Dynamic Negative Item Sampling", SIGIR 2013; Shi et al., "On
the Theories Behind Hard Negative Sampling for Recommendation", WWW 2023.
"""

from __future__ import annotations

from hnlm_ray import seeds
from hnlm_ray.config.samplers import DNSOptions
from hnlm_ray.kernels.hashing import random_below
from hnlm_ray.samplers.candidates import CandidateSampler
from hnlm_ray.samplers.protocol import Negatives, Scene, candidate_scores, chosen_items, with_extra

__all__ = ["DNSSampler"]


class DNSSampler(CandidateSampler[DNSOptions]):
    """Chooses uniformly among the M best-scored of N unseen candidates; M = 1 is the best."""

    def __call__(self, scene: Scene) -> Negatives:
        """See :class:`hnlm_ray.samplers.protocol.NegativeSampler`."""
        drawn = with_extra(scene, self._draw(scene))
        scores = candidate_scores(scene, drawn)
        if self._options.top == 1:
            best = scores.argmax(dim=1, keepdim=True)
        else:
            among = scores.topk(self._options.top, dim=1).indices
            key = seeds.derive(self._seed, "dns", scene.epoch)
            best = among.gather(1, random_below(key, scene.places, self._options.top)[:, None])
        return chosen_items(scene, drawn.gather(1, best))
