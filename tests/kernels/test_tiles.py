"""Selection from tiles of scores equals selection from whole rows, in bounded memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.kernels import tiles
from hnlm_ray.kernels.selection import best_items, mask_rows
from hnlm_ray.kernels.tiles import Seen, best_products


@st.composite
def tile_worlds(draw: st.DrawFn) -> dict[str, Any]:
    """Ties of all lengths, or none; tiles from a group to everything; one thread to three."""
    return {
        "n_users": draw(st.integers(0, 60)),
        "n_items": draw(st.integers(1, 500)),
        "k": draw(st.integers(1, 120)),
        "ties": draw(st.sampled_from(["many", "all", "none", "rising"])),
        "tile_items": draw(st.sampled_from([1, 64, 96, 20_480])),
        "tile_scores": draw(st.sampled_from([1, 900, 1 << 20])),
        "threads": draw(st.integers(1, 3)),
        "masked": draw(st.booleans()),
        "forbids": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


def _vectors(rng: np.random.Generator, world: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    shape = (world["n_users"] + world["n_items"], 1 if world["ties"] == "rising" else 3)
    if world["ties"] == "many":
        vectors = rng.integers(-2, 3, size=shape).astype(np.float32)
    elif world["ties"] == "all":
        vectors = np.ones(shape, np.float32)
    else:
        vectors = rng.integers(-(2**10), 2**10, size=shape).astype(np.float32)  # products are exact in any order
    users, items = vectors[: world["n_users"]], vectors[world["n_users"] :]
    return users, np.sort(items, axis=0) if world["ties"] == "rising" else items


@settings(max_examples=300)
@given(world=tile_worlds())
def test_tiles_equal_whole_rows(world: dict[str, Any]) -> None:
    rng = np.random.default_rng(world["seed"])
    n_users, n_items = world["n_users"], world["n_items"]
    users, items = _vectors(rng, world)
    lengths = rng.integers(0, n_items + 1, size=n_users)
    met = [np.sort(rng.choice(n_items, size=length, replace=False)) for length in lengths]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    seen = Seen(rng.permutation(n_users), offsets, np.concatenate([np.empty(0), *met]).astype(np.int32))
    forbidden = np.where(rng.random(n_items) < 0.3, -np.inf, 0).astype(np.float32) if world["forbids"] else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "_widest", lambda k: world["tile_items"])
        patch.setattr(tiles, "_TILE_SCORES", world["tile_scores"])
        patch.setattr(tiles, "_ROWS_PER_THREAD", 1)
        patch.setenv("OMP_NUM_THREADS", str(world["threads"]))
        found = best_products(users, items, world["k"], seen if world["masked"] else None, forbidden)
    scores = users @ items.T
    if world["masked"]:
        mask_rows(scores, seen.rows, seen.offsets, seen.items)
    if forbidden is not None:
        scores += forbidden
    expected = best_items(scores, world["k"])
    assert np.array_equal(found[2], expected[2])
    filled = np.arange(found[0].shape[1]) < found[2][:, None]
    assert np.array_equal(found[0][filled], expected[0][filled])
    assert np.array_equal(found[1][filled], expected[1][filled])


def test_memory_does_not_grow_with_users_and_items() -> None:
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(size, 4)).astype(np.float32) for size in (2000, 40_000))
    best_products(users[:9], items[:99], 5)  # compiles
    tracemalloc.start()
    best_products(users, items, 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 << 20 < users.shape[0] * items.shape[0] * 4 / 10
