"""EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019), a linear model in closed form."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.errors import DataError, ResourceError
from hnlm_ray.kernels.incidence import incidence
from hnlm_ray.models.item_item import ItemItem

if TYPE_CHECKING:
    from hnlm_ray.config.backbones import EASEOptions
    from hnlm_ray.data.interactions import Interactions

__all__ = ["MAX_ITEMS", "ease", "fit_ease"]

MAX_ITEMS = 46_340
"""LAPACK numbers the entries of a matrix with 31 bits."""

_ITEM_BLOCK = 1024
_COPIES = 3
"""Matrices in memory at the peak: the weights, the copy that is written, and the workspace of the solver."""


def ease(options: EASEOptions, train: Interactions) -> dict[str, npt.NDArray[Any]]:
    """See :func:`hnlm_ray.models.closed_form.closed_form`."""
    return fit_ease(train, options.ridge).tensors()


def fit_ease(train: Interactions, ridge: float = 500.0) -> ItemItem:
    """The ridge regression of every item on all others, with a diagonal of zeros.

    With ``G = X'X`` the numbers of common users and ``P = (G + ridge * I)**-1``, equation 8 of the paper is
    ``B = I - P * diag(1 / diag(P))``, so that ``B_ij = -P_ij / P_jj`` and ``B_jj = 0``. One matrix of float32 holds
    ``G``, its Cholesky factor, ``P`` and ``B`` in turn.

    Args:
        train: all train interactions.
        ridge: lambda in the paper, above 0.

    Returns:
        Dense weights.

    Raises:
        ResourceError: a matrix of items by items does not fit into memory.
        DataError: the ridge is lost to rounding, so that the matrix cannot be factored.
    """
    from scipy.linalg.lapack import spotrf, spotri

    _check_size(train.n_items)
    matrix = _common_users(train)
    matrix[np.diag_indices_from(matrix)] += ridge
    # The transpose of a symmetric matrix is the same matrix in the order of LAPACK, which then works in place.
    factor, failed = spotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
    if failed:
        raise DataError(f"a ridge of {ridge:g} is too small to solve for EASE", "raise train.variants.*.backbone.ridge")
    inverse, _ = spotri(factor, lower=1, overwrite_c=1)
    weights = inverse.T
    _mirror_upper(weights)
    weights /= -weights.diagonal()
    np.fill_diagonal(weights, 0.0)
    return ItemItem(weights)


def _check_size(n_items: int) -> None:
    action = "raise data.k_core, or use item_knn, which is sparse"
    if n_items > MAX_ITEMS:
        raise ResourceError(
            f"EASE needs a matrix of items by items and has {n_items:,} items, at most {MAX_ITEMS:,} can be solved",
            action,
        )
    needed = _COPIES * 4 * n_items**2
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > present:
        what = f"EASE with {n_items:,} items needs {needed / 2**30:.0f} GiB, this machine has {present / 2**30:.0f}"
        raise ResourceError(what, action)


def _common_users(train: Interactions) -> npt.NDArray[np.float32]:
    """The number of users of both items: (n_items, n_items) float32."""
    users = incidence(train)
    by_item = users.T.tocsr()
    common = np.empty((train.n_items, train.n_items), dtype=np.float32)
    for start in range(0, train.n_items, _ITEM_BLOCK):
        (by_item[start : start + _ITEM_BLOCK] @ users).toarray(out=common[start : start + _ITEM_BLOCK])
    return common


def _mirror_upper(matrix: npt.NDArray[np.float32]) -> None:
    """Copy the upper triangle over the lower one, block by block."""
    for start in range(0, len(matrix), _ITEM_BLOCK):
        stop = start + _ITEM_BLOCK
        block = matrix[start:stop, start:stop]
        lower = np.tril_indices(len(block), -1)
        block[lower] = block.T[lower]
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T
