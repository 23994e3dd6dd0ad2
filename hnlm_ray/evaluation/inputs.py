"""What evaluation reads from the artefacts of other stages, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import StageError, StoreError
from hnlm_ray.evaluation.blocks import HeldOut, ItemItemRanker, Ranker, VectorRanker
from hnlm_ray.models.item_item import ItemItem
from hnlm_ray.run.store import Artifact

__all__ = ["read_held_out", "read_ranker", "read_text_vectors", "read_truth", "read_vectors", "training_vectors"]

_MODEL, _ACTION = "model.safetensors", "delete its folder and train again"


def read_held_out(prepare: Artifact) -> dict[str, HeldOut]:
    """The splits ``valid`` and ``test`` of the artefact ``prepare``, with what is masked in each."""
    n_users, n_items = len(prepare.read("users", ["user"])), len(prepare.read("items", ["item"]))
    table = prepare.read("interactions", ["user", "item", "split"])

    def part(*names: str) -> Interactions:
        return Interactions.from_table(table, n_users, n_items, splits=names)

    return {
        "valid": HeldOut("valid", seen=part("train"), relevant=part("valid")),
        "test": HeldOut("test", seen=part("train", "valid"), relevant=part("test")),
    }


def read_ranker(fit: Artifact, train: Interactions) -> Ranker:
    """The ranker of one fit, by vectors or by weights between items.

    Raises:
        StoreError: the file is missing or damaged, or does not belong to these users and items.
    """
    tensors = _tensors(fit)
    try:
        model = ItemItem.from_tensors(tensors, train.n_items)
    except ValueError as error:
        raise StoreError(f"{fit.path_of(_MODEL)}: {error}", _ACTION) from error
    return _vectors(fit, tensors, train.n_users, train.n_items) if model is None else ItemItemRanker(model, train)


def read_vectors(fit: Artifact, n_users: int, n_items: int) -> VectorRanker:
    """The vectors of a fit that has some; errors as in :func:`read_ranker`."""
    return _vectors(fit, _tensors(fit), n_users, n_items)


def training_vectors(
    fit: Artifact, variant: VariantConfig, train: Interactions
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Final vectors (U, d) and (I, d) as samplers see them: of unit length where the loss compares cosines.

    Errors as in :func:`read_ranker`.
    """
    model = read_vectors(fit, train.n_users, train.n_items)
    if variant.loss.name in ("bpr", "hinge"):
        return model.user_vectors, model.item_vectors
    lengths = np.linalg.norm(model.user_vectors, axis=1, keepdims=True)
    return model.user_vectors / np.maximum(lengths, 1e-12), model.item_vectors


def _tensors(fit: Artifact) -> dict[str, npt.NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = fit.path_of(_MODEL)
    if not fit.has(_MODEL):
        raise StoreError(f"there is no {path}", _ACTION)
    try:
        tensors: dict[str, npt.NDArray[Any]] = load(fit.read_bytes(_MODEL))
    except SafetensorError as error:
        raise StoreError(f"{path} cannot be read ({error})", _ACTION) from error
    return tensors


def _vectors(fit: Artifact, tensors: dict[str, npt.NDArray[Any]], n_users: int, n_items: int) -> VectorRanker:
    path = fit.path_of(_MODEL)
    for name, rows in (("user_vectors", n_users), ("item_vectors", n_items)):
        if name not in tensors or tensors[name].ndim != 2 or len(tensors[name]) != rows:
            found = f"shape {tensors[name].shape}" if name in tensors else "nothing"
            raise StoreError(f"{path}: {name} has {found}, expected {rows} rows", _ACTION)
        if not np.isfinite(tensors[name]).all():
            raise StoreError(f"{path}: {name} holds values that are not finite", "train with a lower learning_rate")
    users, items = tensors["user_vectors"].shape[1], tensors["item_vectors"].shape[1]
    if users != items:
        raise StoreError(f"{path}: item_vectors has {items} columns, user_vectors has {users}", _ACTION)
    return VectorRanker(tensors["user_vectors"].astype(np.float32), tensors["item_vectors"].astype(np.float32))


def read_truth(prepare: Artifact, train: Interactions) -> npt.NDArray[np.float32]:
    """The table ``truth`` as a matrix (n_users, n_items) float32.

    Raises:
        StageError: a pair is missing.
    """
    table = prepare.read("truth")
    truth = np.full((train.n_users, train.n_items), np.nan, dtype=np.float32)
    truth[table["user"].to_numpy(), table["item"].to_numpy()] = table["probability"].to_numpy()
    if np.isnan(truth).any():
        raise StageError(f"{prepare.path_of('truth')} lacks user-item pairs", "delete its folder and run prepare again")
    return truth


def read_text_vectors(vectors: Artifact, n_items: int) -> npt.NDArray[np.float16]:
    """The table ``item_vectors`` as a matrix (n_items, d) float16.

    Raises:
        StageError: an item is missing or stands twice, or the vectors have different lengths.
    """
    table = vectors.read("item_vectors").sort_by("item")
    values = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    lengths = np.unique(table["vector"].combine_chunks().value_lengths())
    if not np.array_equal(table["item"].to_numpy(), np.arange(n_items)) or len(lengths) > 1:
        where = vectors.path_of("item_vectors")
        raise StageError(f"{where} does not hold one vector of one length per item", "run the stage vectors again")
    matrix: npt.NDArray[np.float16] = values.reshape(n_items, -1)
    return matrix
