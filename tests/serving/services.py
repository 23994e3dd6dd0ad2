"""Bundles, shelves and running services that several tests share."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
import uvicorn
from fastapi.testclient import TestClient

from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.shelf import Shelf
from hnlm_ray.serving.bundle.writing import Extras, write_bundle
from hnlm_ray.serving.http.protocol import ASGI
from hnlm_ray.tables import ITEM_PROFILES, ITEMS, USER_PROFILES, USERS, WRITTEN_NEGATIVES
from tests.serving.conftest import ABOUT, make_contents

ODD_IDS = ("0", "a/b", "/", "ü ñ", "日本", "a?b#c%2Fd", "..", "'\"<&>", "\U0001f600", "a/recommendations")
"""Ids that a careless route or log would stumble over; ``0`` is what generated requests name first."""

N_USERS, N_ITEMS, DIM, TEXT_DIM = 30, 60, 4, 6


def some_contents(seed: int) -> Contents:
    """30 users, 60 items; another seed, another ranking and another version. ``u0`` has met nothing."""
    rng = np.random.default_rng(seed)
    seen = [sorted(rng.choice(N_ITEMS, size=rng.integers(1, 9), replace=False).tolist()) for _ in range(N_USERS)]
    seen[0] = []
    return make_contents(rng.normal(size=(N_USERS, DIM)), rng.normal(size=(N_ITEMS, DIM)), seen)


def rich_contents() -> Contents:
    """With odd ids at the end of users and items, categories, brands, and ``u1``, who has met everything."""
    plain = some_contents(11)
    rng = np.random.default_rng(12)
    seen = [sorted(rng.choice(N_ITEMS, size=rng.integers(1, 9), replace=False).tolist()) for _ in range(N_USERS)]
    seen[0], seen[1] = [], list(range(N_ITEMS))
    made = make_contents(plain.user_vectors, plain.item_vectors, seen)
    users = [f"u{row}" for row in range(N_USERS - len(ODD_IDS))] + list(ODD_IDS)
    items = [f"i{row}" for row in range(N_ITEMS - len(ODD_IDS))] + list(ODD_IDS)
    user_rows = [{"user": row, "user_id": name} for row, name in enumerate(users)]
    item_rows = [
        {
            "item": row, "item_id": name, "title": f"Tïtle {row}", "brand": f"Brand {row % 3}",
            "categories": ["All", f"Kind {row % 4}"], "description": f"Nice {row}",
        }
        for row, name in enumerate(items)
    ]  # fmt: skip
    return dataclasses.replace(
        made,
        users=pa.Table.from_pylist(user_rows, schema=USERS),
        items=pa.Table.from_pylist(item_rows, schema=ITEMS),
    )


def write_rich_bundle(folder: Path) -> None:
    """Profiles, negatives and a text encoder that only :class:`StubEncoder` can stand in for."""
    answer = {"status": "ok", "reason": "", "excerpt": "", "attempts": 1, "prompt_tokens": 1, "output_tokens": 1}
    users = [{"user": row, "summary": f"User {row}", "reasoning": "r", **answer} for row in range(1, N_USERS)]
    items = [{"item": row, "summary": f"Thing {row}", "reasoning": "r", **answer} for row in range(N_ITEMS)]
    negatives = [
        {
            "user": row, "item": row, "answer": f"Rival {row}", "reasoning": "close", "status": "matched",
            "negative": row + 5,
        }
        for row in range(1, N_USERS)
    ]  # fmt: skip
    negatives.append(
        {"user": 2, "item": 3, "answer": "Nowhere", "reasoning": "far", "status": "none", "negative": None}
    )
    encoder = folder.parent / f"{folder.name}-encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text("{}")
    extras = Extras(
        user_profiles=pa.Table.from_pylist(users, schema=USER_PROFILES),
        item_profiles=pa.Table.from_pylist(items, schema=ITEM_PROFILES),
        negatives=pa.Table.from_pylist(negatives, schema=WRITTEN_NEGATIVES),
        text_vectors=np.random.default_rng(13).normal(size=(N_ITEMS, TEXT_DIM)).astype(np.float32),
        encoder=str(encoder),
    )
    write_bundle(str(folder), rich_contents(), ABOUT, extras=extras)


class StubEncoder:
    """In the place of :class:`hnlm_ray.serving.recommend.text_encoder.TextEncoder`: a vector by a hash of the text."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def encode(self, text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
        vector = np.random.default_rng(seed).normal(size=TEXT_DIM)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


def stocked_shelf(folder: Path, seeds: tuple[int, ...] = (1, 2, 3)) -> tuple[Shelf, list[str]]:
    """A shelf with a bundle for each seed, pointing to the first, and the versions."""
    shelf = Shelf(str(folder / "shelf"))
    versions = []
    for seed in seeds:
        write_bundle(str(folder / f"from-{seed}"), some_contents(seed), ABOUT)
        versions.append(shelf.add(str(folder / f"from-{seed}")).version)
    shelf.use(versions[0])
    return shelf, versions


class LocalClient(TestClient):
    """Asks an application under the name ``localhost``, which a service without a token answers."""

    def __init__(self, app: ASGI, **options: Any) -> None:
        super().__init__(app, base_url="http://localhost", **options)


@contextlib.contextmanager
def running(app: ASGI, http: str = "auto") -> Iterator[str]:
    """The application under uvicorn in a thread, on a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, http=http, log_level="critical", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=30)


def until(is_true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def break_off_copies(patch: pytest.MonkeyPatch, after: int = 2) -> None:
    """Let the disk be full once some files have been copied."""
    copied: list[str] = []
    copy_files = pafs.copy_files

    def copy(source: str, target: str, *filesystems: pafs.FileSystem) -> None:
        if len(copied) == after:
            raise OSError("No space left on device")
        copied.append(target)
        copy_files(source, target, *filesystems)

    patch.setattr(pafs, "copy_files", copy)
