"""A baseline or an ensemble, computed and measured on validation: what a fit is to the variants that are trained."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from hnlm_ray.errors import DataError
from hnlm_ray.models.closed_form import closed_form
from hnlm_ray.models.item_item import ItemItem
from hnlm_ray.models.rankers import Ranker, VectorRanker, ranker_of
from hnlm_ray.training.validation import validate_ranker

if TYPE_CHECKING:
    from hnlm_ray.config.backbones import Backbone
    from hnlm_ray.data.interactions import Interactions
    from hnlm_ray.models.joined import JoinedVectors

__all__ = ["Baseline", "compute"]


@dataclass(frozen=True)
class Baseline:
    """A computed baseline or ensemble.

    Attributes:
        tensors: of the model file, see :func:`hnlm_ray.models.closed_form.closed_form`.
        ranker: ranks with them.
        seconds: of the computation, validation excluded.
        valid_ndcg: validation NDCG@20.
        valid_recall: validation Recall@20.
    """

    tensors: dict[str, npt.NDArray[Any]]
    ranker: Ranker
    seconds: float
    valid_ndcg: float
    valid_recall: float

    @property
    def parameters(self) -> int:
        """Numbers in the model."""
        return sum(tensor.size for tensor in self.tensors.values())


def compute(
    backbone: Backbone, train: Interactions, valid: Interactions, members: JoinedVectors | None = None
) -> Baseline:
    """Compute a baseline or an ensemble in this process; there is no seed, since nothing is drawn.

    Args:
        backbone: one that is not trained.
        train: all train interactions.
        valid: the validation interactions of the same users and items.
        members: of an ensemble; None for a baseline.

    Raises:
        DataError: nothing to count, or EASE with a ridge that is lost to rounding.
        ResourceError: EASE of more items than fit into memory.
    """
    if not len(train.items):
        raise DataError("the train split is empty", "give more interactions or a smaller held-out share")
    started = time.monotonic()
    tensors = closed_form(backbone, train, members)
    seconds = time.monotonic() - started
    model = ItemItem.from_tensors(tensors, train.n_items)
    parts = {name: tensors[name] for name in ("user_vectors", "item_vectors") if name in tensors}
    ranker = ranker_of(VectorRanker(**parts) if parts else None, model, train)
    return Baseline(tensors, ranker, seconds, *validate_ranker(ranker, train, valid))
