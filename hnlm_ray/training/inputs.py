"""What training reads from the artefacts of other stages."""

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

__all__ = ["SemanticInputs", "read_splits"]


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
        if not variant.semantic:
            return None
        if variant.is_tuned:
            assert self.encode is not None
            encoded, nearest = self.encode.read("encoded"), variant.semantic_source == "retrieved"
            own = PairVectors.from_encoded(encoded, train.n_items, nearest=nearest)
        else:
            assert self.ground is not None
            assert self.vectors is not None
            tables = self.ground.read("grounded"), self.vectors.read("item_vectors")
            own = PairVectors.from_tables(*tables, train.n_items)
        match variant.semantic_control:
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


def read_splits(prepare: Artifact) -> tuple[Interactions, Interactions]:
    """Train and valid, without reviews or other text; the test split stays on disk."""
    n_users, n_items = prepare.read("users", ["user"]).num_rows, prepare.read("items", ["item"]).num_rows
    table = prepare.read("interactions", ["user", "item", "split"])
    train, valid = (Interactions.from_table(table, n_users, n_items, splits=(name,)) for name in ("train", "valid"))
    return train, valid
