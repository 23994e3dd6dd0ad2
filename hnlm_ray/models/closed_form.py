"""From the options of a backbone in closed form to its model: computed, not trained."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

if TYPE_CHECKING:
    from hnlm_ray.config.backbones import Backbone
    from hnlm_ray.data.interactions import Interactions
    from hnlm_ray.models.joined import JoinedVectors

__all__ = ["closed_form"]


def closed_form(
    backbone: Backbone, train: Interactions, members: JoinedVectors | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Compute a model from the train interactions, or an ensemble from its members.

    Args:
        backbone: options of one that is not trained.
        train: all train interactions.
        members: of an ensemble; None for a baseline.

    Returns:
        The tensors of a model file: ``user_vectors`` and ``item_vectors`` for popularity and ensembles, those of
        :meth:`hnlm_ray.models.item_item.ItemItem.tensors` for the others, and both for an ensemble with lists.

    Raises:
        ResourceError: EASE of more items than fit into memory.
        DataError: EASE with a ridge that is lost to rounding.
        ValueError: the backbone is trained.
    """
    if backbone.is_trained:
        raise ValueError(f"the backbone {backbone.name} is trained, not computed")
    inputs = (train,) if members is None else (train, members)
    tensors: dict[str, npt.NDArray[Any]] = pkgutil.resolve_name(backbone.implementation)(backbone, *inputs)
    return tensors
