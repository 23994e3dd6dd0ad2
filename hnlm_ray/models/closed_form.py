"""The baselines that are computed from the train interactions at once, by the name of their backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from hnlm_ray.config.backbones import EASEOptions, ItemKNNOptions, PopularityOptions
from hnlm_ray.models.ease import fit_ease
from hnlm_ray.models.item_knn import fit_item_knn
from hnlm_ray.models.popularity import popularity_vectors

if TYPE_CHECKING:
    from hnlm_ray.config.backbones import Backbone
    from hnlm_ray.data.interactions import Interactions

__all__ = ["closed_form"]


def closed_form(backbone: Backbone, train: Interactions) -> dict[str, npt.NDArray[Any]]:
    """Compute a baseline.

    Args:
        backbone: one of :data:`hnlm_ray.config.variants.CLOSED_FORM`, with its options.
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
        case PopularityOptions():
            users, items = popularity_vectors(train)
            return {"user_vectors": users, "item_vectors": items}
        case ItemKNNOptions():
            return fit_item_knn(train, backbone.neighbours, backbone.shrink).tensors()
        case EASEOptions():
            return fit_ease(train, backbone.ridge).tensors()
        case _:
            raise ValueError(f"the backbone {backbone.name} is trained, not computed")
