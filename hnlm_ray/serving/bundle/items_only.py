"""A bundle without its users: it recommends from histories and texts, and tells nobody who did what."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hnlm_ray.run.checksums import Checksum
from hnlm_ray.serving.bundle.bundle import Bundle
from hnlm_ray.serving.bundle.info import INFO, BundleInfo, bundle_errors
from hnlm_ray.tables import USERS

__all__ = ["write_items_only"]

_OF_USERS = ("user_profiles.parquet", "negatives.parquet")
"""Text about users."""


def write_items_only(bundle: Bundle, folder: str) -> BundleInfo:
    """Write a bundle without ids, vectors, histories and texts of users into an existing, empty local folder.

    Items keep their vectors, popularity and texts, and the maps that lead from a history or a text to a vector stay as
    the users of the bundle have taught them.

    Args:
        bundle: a whole one.
        folder: where to.

    Returns:
        The content of the new ``bundle.json``.

    Raises:
        BundleError: the folder cannot be written.
    """
    from safetensors.numpy import save

    contents, local = bundle.contents, pafs.LocalFileSystem()
    with bundle_errors(folder, "give a folder that can be written"):
        nobody = np.empty((0, bundle.info.dim), np.float32)
        vectors = {"user_vectors": nobody, "item_vectors": contents.item_vectors}
        seen = {"offsets": np.zeros(1, np.int64), "items": np.empty(0, np.int32)}
        for name, tensors in (("model", vectors), ("seen", seen)):
            Path(f"{folder}/{name}.safetensors").write_bytes(save(tensors))
        pq.write_table(USERS.empty_table(), f"{folder}/users.parquet")
        names = [name for name in bundle.info.files if name not in _OF_USERS]
        for name in names:
            target = f"{folder}/{name}"
            if not os.path.exists(target):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                pafs.copy_files(f"{bundle.folder}/{name}", target, local, local)
        files = {name: Checksum.of(local, f"{folder}/{name}") for name in names}
        draft = bundle.info.model_copy(update={"users": 0, "files": files, "version": ""})
        info = draft.model_copy(update={"version": draft.content_version()})
        with local.open_output_stream(f"{folder}/{INFO}") as stream:
            stream.write(info.model_dump_json(indent=2).encode())
    return info
