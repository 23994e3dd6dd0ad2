"""Who has which item, as compressed sparse rows: the form in which kernels take interactions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["PairRows", "Pairs", "incidence"]


class Pairs(Protocol):
    """Distinct (row, item) pairs; :class:`hnlm_ray.data.interactions.Interactions` is one, with a row per user."""

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(rows + 1,) int64; the items of row ``r`` are ``items[offsets[r]:offsets[r + 1]]``."""

    @property
    def items(self) -> npt.NDArray[np.int32]:
        """(pairs,) int32, ascending inside each row."""

    @property
    def n_items(self) -> int:
        """How many items there are, in a pair or not."""


@dataclass(frozen=True)
class PairRows:
    """:class:`Pairs` that a kernel or a service makes for a moment."""

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    n_items: int


def incidence(pairs: Pairs, values: npt.NDArray[np.float32] | None = None) -> csr_array[np.float32, tuple[int, int]]:
    """The matrix (rows, n_items) float32 with ``values`` at the pairs and 0 elsewhere.

    Args:
        pairs: where the matrix is not 0.
        values: (pairs,) float32; None for ones.
    """
    from scipy.sparse import csr_array

    filled = np.ones(len(pairs.items), dtype=np.float32) if values is None else values
    parts: tuple[npt.NDArray[Any], ...] = filled, pairs.items, pairs.offsets
    return csr_array(parts, shape=(len(pairs.offsets) - 1, pairs.n_items))
