"""Small sets of interactions, some with a known right answer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnlm_ray.data.interactions import Interactions

__all__ = ["checkerboard", "random_world"]


def checkerboard(n_users: int, n_items: int) -> tuple[Interactions, Interactions, npt.NDArray[np.int32]]:
    """Users like the items of their own parity; all of these but one are in train.

    Returns:
        The train interactions; the withheld item of each user as interactions; and the same as an array (n_users,).
        A trained model must rank the withheld item first among the unseen items, as it is the only one of them that
        users of this parity like.
    """
    users = np.arange(n_users)
    likes = np.arange(n_items)[None, :] % 2 == (users % 2)[:, None]
    n_liked = likes.sum(axis=1)
    withheld = (users % 2 + 2 * ((users // 2) % n_liked)).astype(np.int32)
    held = np.zeros_like(likes)
    held[users, withheld] = True
    return _from_matrix(likes & ~held), _from_matrix(held), withheld


def random_world(n_users: int, n_items: int, density: float, seed: int) -> tuple[Interactions, Interactions]:
    """Random train and validation interactions; every user has at least one of each.

    Args:
        n_users: how many.
        n_items: at least 2.
        density: share of the pairs in train.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    users = np.arange(n_users)
    valid_items = rng.integers(n_items, size=n_users)
    train = rng.random((n_users, n_items)) < density
    train[users, (valid_items + 1) % n_items] = True
    train[users, valid_items] = False
    valid = np.zeros_like(train)
    valid[users, valid_items] = True
    return _from_matrix(train), _from_matrix(valid)


def _from_matrix(matrix: npt.NDArray[np.bool_]) -> Interactions:
    users, items = matrix.nonzero()
    return Interactions.from_pairs(users, items, n_users=len(matrix), n_items=matrix.shape[1])
