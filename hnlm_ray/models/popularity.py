"""Popularity: every user is recommended the items with the most train interactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hnlm_ray.config.backbones import PopularityOptions
    from hnlm_ray.data.interactions import Interactions

__all__ = ["popularity", "popularity_vectors"]


def popularity(options: PopularityOptions, train: Interactions) -> dict[str, npt.NDArray[Any]]:
    """See :func:`hnlm_ray.models.closed_form.closed_form`."""
    return dict(zip(("user_vectors", "item_vectors"), popularity_vectors(train), strict=True))


def popularity_vectors(train: Interactions) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Vectors of dimension 1 whose inner product is the number of the item's train interactions.

    Args:
        train: all train interactions.

    Returns:
        User vectors (n_users, 1) float32, all 1, and item vectors (n_items, 1) float32; exact up to 2**24
        interactions of an item.
    """
    counts = train.item_popularity.astype(np.float32)
    return np.ones((train.n_users, 1), dtype=np.float32), counts[:, None]
