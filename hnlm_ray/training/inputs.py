"""Reads what a fit needs from earlier stages besides the interactions: semantic vectors and texts of items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.vectors import read_text_vectors
from hnlm_ray.run.store import Artifact
from hnlm_ray.samplers.semantic import PairVectors

__all__ = ["SemanticInputs"]


@dataclass(frozen=True)
class SemanticInputs:
    """Where the semantic parts of variants come from.

    Attributes:
        vectors: of the stage ``vectors``, or None.
        ground: of the stage ``ground``, or None.
        encode: of the stage ``encode``, or None.
    """

    vectors: Artifact | None = None
    ground: Artifact | None = None
    encode: Artifact | None = None

    def arguments(self, variant: VariantConfig, train: Interactions) -> dict[str, Any]:
        """``vectors`` and ``item_texts`` of :func:`hnlm_ray.training.fit.fit`; None where the variant needs none."""
        return {"vectors": self._pair_vectors(variant, train), "item_texts": self._item_texts(variant, train)}

    def _pair_vectors(self, variant: VariantConfig, train: Interactions) -> PairVectors | None:
        options = variant.semantic
        if options is None:
            return None
        if options.is_tuned:
            assert self.encode is not None
            own = PairVectors.from_encoded(self.encode.read("encoded"), train.n_items, nearest=options.has_items)
        else:
            assert self.ground is not None
            assert self.vectors is not None
            tables = self.ground.read("grounded"), self.vectors.read("item_vectors")
            own = PairVectors.from_tables(*tables, train.n_items)
        match options.control:
            case "shuffled":
                return own.shuffled(train, 0)
            case "random":
                return own.random(train, 0)
        return own

    def _item_texts(self, variant: VariantConfig, train: Interactions) -> npt.NDArray[np.float16] | None:
        if not variant.item_text:
            return None
        assert self.vectors is not None
        return read_text_vectors(self.vectors, train.n_items)
