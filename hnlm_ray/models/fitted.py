"""Reads the model file of a fit, checked against the users and items that it is used for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pyarrow.fs import LocalFileSystem

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import StoreError
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.models.item_item import ItemItem
from hnlm_ray.models.rankers import Ranker, VectorRanker, ranker_of
from hnlm_ray.run.store import Artifact
from hnlm_ray.run.tensors import mapped_tensors

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["read_ranker", "read_rankers", "read_served", "read_vectors", "training_vectors"]

_MODEL, _ACTION = "model.safetensors", "delete its folder and train again"
_SEEN = "seen_user_vectors"


def read_ranker(fit: Artifact, train: Interactions) -> Ranker:
    """The ranker of one fit, by vectors, by weights between items, or by both; users are known by train.

    Args:
        fit: artifact of a variant.
        train: train interactions.

    Raises:
        StoreError: the file is missing or damaged, or does not belong to these users and items.
    """
    return _ranker(fit, _tensors(fit), train)


def read_rankers(fit: Artifact, train: Interactions) -> tuple[Ranker, Ranker]:
    """The rankers of one fit for the valid split and for the test split; arguments and errors of :func:`read_ranker`.

    They are one and the same, except of a backbone that reads histories: when the test split is ranked, its users are
    known by their valid interactions too.
    """
    tensors = _tensors(fit)
    known = _ranker(fit, tensors, train)
    return known, _ranker(fit, tensors, train, seen=True) if _SEEN in tensors else known


def read_vectors(fit: Artifact, n_users: int, n_items: int) -> VectorRanker:
    """The ranker of a fit that has vectors; errors as in :func:`read_ranker`."""
    return _vectors(fit, _tensors(fit), n_users, n_items)


def read_served(
    fit: Artifact, n_users: int, n_items: int
) -> tuple[VectorRanker, csr_array[np.float32, tuple[int, int]] | None]:
    """The vectors of a fit, and the lists between items beside them, if any; errors as in :func:`read_ranker`.

    Users are known by their train and valid interactions, where the fit has such vectors.
    """
    tensors = _tensors(fit)
    model = _item_item(fit, tensors, n_items)
    lists = None if model is None or isinstance(model.weights, np.ndarray) else model.weights
    return _vectors(fit, tensors, n_users, n_items, seen=True), lists


def training_vectors(
    fit: Artifact, train: Interactions, *, is_cosine: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Final vectors (U, d) and (I, d) float32 as samplers see them in training; errors as in :func:`read_ranker`.

    Args:
        fit: artifact of a trained variant.
        train: train interactions.
        is_cosine: whether its loss compares cosines, so that the vectors are scaled to unit length.
    """
    model = read_vectors(fit, train.n_users, train.n_items)
    if not is_cosine:
        return model.user_vectors, model.item_vectors
    return unit_rows(model.user_vectors), model.item_vectors


def _ranker(fit: Artifact, tensors: dict[str, npt.NDArray[Any]], train: Interactions, *, seen: bool = False) -> Ranker:
    model = _item_item(fit, tensors, train.n_items)
    has_vectors = model is None or "user_vectors" in tensors
    vectors = _vectors(fit, tensors, train.n_users, train.n_items, seen=seen) if has_vectors else None
    return ranker_of(vectors, model, train)


def _tensors(fit: Artifact) -> dict[str, npt.NDArray[Any]]:
    """The tensors of the file; one on this machine is mapped, so that workers share the memory of a large model."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = fit.path_of(_MODEL)
    if not fit.has(_MODEL):
        raise StoreError(f"there is no {path}", _ACTION)
    try:
        if isinstance(fit.filesystem, LocalFileSystem):
            fit.verify(_MODEL)
            return mapped_tensors(path)
        tensors: dict[str, npt.NDArray[Any]] = load(fit.read_bytes(_MODEL))
    except (SafetensorError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({error})", _ACTION) from error
    return tensors


def _item_item(fit: Artifact, tensors: dict[str, npt.NDArray[Any]], n_items: int) -> ItemItem | None:
    """The weights between items among the tensors; None without any."""
    try:
        return ItemItem.from_tensors(tensors, n_items)
    except ValueError as error:
        raise StoreError(f"{fit.path_of(_MODEL)}: {error}", _ACTION) from error


def _vectors(
    fit: Artifact, tensors: dict[str, npt.NDArray[Any]], n_users: int, n_items: int, *, seen: bool = False
) -> VectorRanker:
    path = fit.path_of(_MODEL)
    of_users = _SEEN if seen and _SEEN in tensors else "user_vectors"
    for name, rows in ((of_users, n_users), ("item_vectors", n_items)):
        if name not in tensors or tensors[name].ndim != 2 or len(tensors[name]) != rows:
            found = f"shape {tensors[name].shape}" if name in tensors else "nothing"
            raise StoreError(f"{path}: {name} has {found}, expected {rows} rows", _ACTION)
        if not np.isfinite(tensors[name]).all():
            raise StoreError(f"{path}: {name} holds values that are not finite", "train with a lower learning_rate")
    users, items = tensors[of_users].shape[1], tensors["item_vectors"].shape[1]
    if users != items:
        raise StoreError(f"{path}: item_vectors has {items} columns, {of_users} has {users}", _ACTION)
    return VectorRanker(tensors[of_users].astype(np.float32), tensors["item_vectors"].astype(np.float32))
