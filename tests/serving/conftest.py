"""A small bundle whose right answers are easy to compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.serving.bundle import BundleAbout, write_bundle
from hnlm_ray.serving.contents import Contents
from hnlm_ray.tables import ITEMS, USERS

ABOUT = BundleAbout(
    data="toy (table)",
    variant="hnlm",
    seed=3,
    config={"backbone": "mf", "dim": 4},
    metrics={"test ndcg@20": 0.25},
    code_version="0.1.0",
)

MakeContents = Callable[..., Contents]


def make_contents(
    user_vectors: np.ndarray, item_vectors: np.ndarray, seen: list[list[int]], popularity: np.ndarray | None = None
) -> Contents:
    """Users ``u0``, ``u1``..., items ``i0``, ``i1``... titled ``Item 0``..."""
    n_users, n_items = len(user_vectors), len(item_vectors)
    flat = np.array([item for row in seen for item in sorted(row)], dtype=np.int32)
    users = [{"user": row, "user_id": f"u{row}"} for row in range(n_users)]
    items = [
        {"item": row, "item_id": f"i{row}", "title": f"Item {row}", "brand": "", "categories": [], "description": ""}
        for row in range(n_items)
    ]
    return Contents(
        user_vectors=np.ascontiguousarray(user_vectors, dtype=np.float32),
        item_vectors=np.ascontiguousarray(item_vectors, dtype=np.float32),
        seen_offsets=np.cumsum([0, *map(len, seen)]).astype(np.int64),
        seen_items=flat,
        popularity=np.bincount(flat, minlength=n_items).astype(np.int64) if popularity is None else popularity,
        users=pa.Table.from_pylist(users, schema=USERS),
        items=pa.Table.from_pylist(items, schema=ITEMS),
    )


@pytest.fixture(scope="session")
def contents() -> Contents:
    """40 users, 60 items; ``u0`` has met nothing, ``u1`` everything, ``u2`` all but item 7."""
    rng = np.random.default_rng(5)
    seen = [sorted(rng.choice(60, size=rng.integers(1, 12), replace=False).tolist()) for _ in range(40)]
    seen[0], seen[1], seen[2] = [], list(range(60)), [item for item in range(60) if item != 7]
    return make_contents(rng.normal(size=(40, 4)), rng.normal(size=(60, 4)), seen)


@pytest.fixture(scope="session")
def bundle_path(contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That bundle in a folder; read only."""
    path = tmp_path_factory.mktemp("bundle")
    write_bundle(str(path), contents, ABOUT)
    return path
