"""What training reads from the artefacts of other stages."""

from __future__ import annotations

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.store import Artifact

__all__ = ["read_pair_vectors", "read_splits"]


def read_splits(prepare: Artifact) -> tuple[Interactions, Interactions]:
    """Train and valid, without reviews or other text; the test split stays on disk."""
    n_users, n_items = prepare.read("users", ["user"]).num_rows, prepare.read("items", ["item"]).num_rows
    table = prepare.read("interactions", ["user", "item", "split"])
    train, valid = (Interactions.from_table(table, n_users, n_items, splits=(name,)) for name in ("train", "valid"))
    return train, valid


def read_pair_vectors(ground: Artifact | None, vectors: Artifact | None, n_items: int) -> PairVectors | None:
    """The hard negatives of a semantic variant; None where an artefact is not given."""
    if ground is None or vectors is None:
        return None
    return PairVectors.from_tables(ground.read("grounded"), vectors.read("item_vectors"), n_items)
