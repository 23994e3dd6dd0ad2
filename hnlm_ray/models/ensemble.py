"""Fits of other variants as one model of vectors, with or without lists between items that vote beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.models.closed_form import closed_form
from hnlm_ray.models.item_item import ItemItem

if TYPE_CHECKING:
    from hnlm_ray.config.backbones import EnsembleOptions
    from hnlm_ray.data.interactions import Interactions
    from hnlm_ray.models.joined import JoinedVectors

__all__ = ["ensemble"]


def ensemble(options: EnsembleOptions, train: Interactions, members: JoinedVectors) -> dict[str, npt.NDArray[Any]]:
    """See :func:`hnlm_ray.models.closed_form.closed_form`.

    The item vectors of each member are brought to a mean length of 1, and its user vectors take the factor. That leaves
    the scores as they are, and lets every member count alike where items are compared with each other. Where the items
    of a history vote, too, the user vectors are divided by the weight of the votes, whose deviation is 1.
    """
    scales = members.scales()
    tensors = {"user_vectors": members.users(0, train.n_users) * scales, "item_vectors": members.items / scales}
    lists = options.lists
    if lists is None:
        return tensors
    tensors["user_vectors"] /= np.float32(lists.weight)
    model = ItemItem.from_tensors(closed_form(lists.of, train), train.n_items)
    assert model is not None
    return tensors | model.strongest(lists.neighbours).tensors()
