"""Items in proportion to a power of their train interactions, by default 0.75 as in word2vec (Mikolov et al., 2013).

Popularity is counted on the train split alone; some libraries also count the test split, which leaks it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnlm_ray.config.samplers import PopularitySamplerOptions
from hnlm_ray.samplers.candidates import UnseenItems, integer_weights
from hnlm_ray.samplers.protocol import Negatives, NegativeSampler, Scene, Setting, chosen_items

__all__ = ["PopularitySampler", "popularity_weights"]


class PopularitySampler(NegativeSampler):
    """Draws unseen items; one without train interactions counts as having one, so that every item can be drawn."""

    def __init__(self, options: PopularitySamplerOptions, setting: Setting) -> None:
        """Prepare to draw for the users of a block."""
        self._n = options.negatives
        weights = integer_weights(popularity_weights(setting.item_degrees, options.exponent))
        self._items = UnseenItems(setting.train, setting.seed, setting.device, weights=weights)

    def __call__(self, scene: Scene) -> Negatives:
        """See :class:`hnlm_ray.samplers.protocol.NegativeSampler`."""
        return chosen_items(scene, self._items.draw(scene.users, scene.places, scene.epoch, self._n))


def popularity_weights(item_degrees: npt.NDArray[np.int64], exponent: float) -> npt.NDArray[np.float64]:
    """``max(1, train interactions) ** exponent``, divided by the largest so that no exponent overflows.

    Args:
        item_degrees: (n_items,) train interactions of each item.
        exponent: at least 0.

    Returns:
        (n_items,) float64 in (0, 1].
    """
    degrees = np.maximum(item_degrees, 1).astype(np.float64)
    weights: npt.NDArray[np.float64] = (degrees / degrees.max(initial=1.0)) ** exponent
    return weights
