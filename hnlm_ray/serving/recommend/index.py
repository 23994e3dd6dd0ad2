"""An approximate index over item vectors, for catalogues where scoring every item takes too long.

Exact scoring reads every vector once per user: at 64 dimensions about 12 ms for a million items on one core. For larger
catalogues an inverted file of faiss (Douze et al., 2024) searches only the cells nearest to the user. The candidates
are scored exactly, so an item may be missed, but no score is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.errors import require

__all__ = ["Index", "build_index"]

_PROBED = 0.06
"""Share of the cells that are searched; docs/results.md has the recall."""

_TRAIN_PER_CELL, _LEAST_PER_CELL = 64, 39
"""Items per cell in the clustering: about the first number, and never fewer than the second."""


@dataclass(frozen=True)
class Index:
    """Finds candidates for users.

    Attributes:
        faiss_index: an inverted file over all items, by inner product.
        n_items: number of items in it.
    """

    faiss_index: Any
    n_items: int

    @property
    def reach(self) -> int:
        """About the number of items that one search reads; a request for more is better served without the index."""
        return int(_PROBED * self.n_items)

    def candidates(
        self, vectors: npt.NDArray[np.float32], width: int, allowed: npt.NDArray[np.uint8] | None = None
    ) -> npt.NDArray[np.int64]:
        """Roughly the ``width`` best items of each user, (B, width) int64, best first, -1 where there are fewer.

        Args:
            vectors: (B, d) float32, of the users.
            width: at least 1.
            allowed: (at least I / 8,) a bit per item, the lowest of each byte first, 1 for those that are allowed; None
                for all.
        """
        import faiss

        options: dict[str, Any] = {"nprobe": self.faiss_index.nprobe}
        if allowed is not None:
            selector: Any = faiss.IDSelectorBitmap  # declared like its C++ constructor, which takes a pointer
            options["sel"] = selector(allowed)
        asked = faiss.SearchParametersIVF(**options)
        found: npt.NDArray[np.int64] = self.faiss_index.search(np.ascontiguousarray(vectors), width, params=asked)[1]
        return found


def build_index(item_vectors: npt.NDArray[np.float32]) -> Index:
    """Index all items in at most 4 sqrt(I) cells, of which a share of :data:`_PROBED` is searched.

    Args:
        item_vectors: (I, d) float32.

    Raises:
        PackageError: Faiss is not installed.
    """
    require("an index", "ann")
    import faiss

    n_items, dim = item_vectors.shape
    cells = max(1, min(int(4 * np.sqrt(n_items)), n_items // _LEAST_PER_CELL))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # avoids a warning for small catalogues
    step = max(1, n_items // (cells * _TRAIN_PER_CELL))
    index.train(np.ascontiguousarray(item_vectors[::step]))
    index.add(np.ascontiguousarray(item_vectors))
    index.nprobe = max(1, round(_PROBED * cells))
    return Index(index, n_items)
