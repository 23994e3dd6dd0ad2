"""The baselines that are computed from the train interactions at once, by the name of their backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from hnlm_ray.models.ease import fit_ease
from hnlm_ray.models.item_knn import fit_item_knn
from hnlm_ray.models.popularity import popularity_vectors
from hnlm_ray.variants import EASE, ItemKNN, Popularity

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions
    from hnlm_ray.variants import Backbone

__all__ = ["closed_form"]


def closed_form(backbone: Backbone, train: Interactions) -> dict[str, npt.NDArray[Any]]:
    """Compute a baseline.

    Args:
        backbone: one of :data:`hnlm_ray.variants.CLOSED_FORM`, with its options.
        train: all train interactions.

    Returns:
        The tensors of a model file: ``user_vectors`` and ``item_vectors`` for popularity, those of
        :meth:`hnlm_ray.models.item_item.ItemItem.tensors` for the others.

    Raises:
        ResourceError: EASE of more items than fit into memory.
        DataError: EASE with a ridge that is lost to rounding.
        ValueError: the backbone is trained.
    """
    match backbone:
        case Popularity():
            users, items = popularity_vectors(train)
            return {"user_vectors": users, "item_vectors": items}
        case ItemKNN():
            return fit_item_knn(train, backbone.neighbours, backbone.shrink).tensors()
        case EASE():
            return fit_ease(train, backbone.ridge).tensors()
        case _:
            raise ValueError(f"the backbone {backbone.name} is trained, not computed")
