"""Reads what a model is evaluated against from the artifact of the stage ``prepare``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.errors import StageError
from hnlm_ray.evaluation.blocks import HeldOut
from hnlm_ray.run.store import Artifact

__all__ = ["read_held_out", "read_truth"]


def read_held_out(prepare: Artifact) -> dict[str, HeldOut]:
    """The splits ``valid`` and ``test`` by name, with the items that are masked in each.

    Args:
        prepare: artifact of the stage.

    Raises:
        StoreError: a table is missing or damaged.
    """
    splits = read_splits(prepare)
    return {
        "valid": HeldOut("valid", seen=splits.train, relevant=splits.valid),
        "test": HeldOut("test", seen=splits.seen, relevant=splits.test),
    }


def read_truth(prepare: Artifact, train: Interactions) -> npt.NDArray[np.float32]:
    """The table ``truth`` as a matrix of probabilities (n_users, n_items) float32.

    Args:
        prepare: artifact of the stage, on generated data.
        train: interactions of the same users and items.

    Raises:
        StageError: a pair is missing.
    """
    table = prepare.read("truth")
    truth = np.full((train.n_users, train.n_items), np.nan, dtype=np.float32)
    truth[table["user"].to_numpy(), table["item"].to_numpy()] = table["probability"].to_numpy()
    if np.isnan(truth).any():
        raise StageError(f"{prepare.path_of('truth')} lacks user-item pairs", "delete its folder and run prepare again")
    return truth
