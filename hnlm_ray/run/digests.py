"""Digests of model folders, so that changed weights are never taken for the old ones.

A file of gigabytes takes seconds to read, and every command that plans a run asks for its digest: those of large files
are remembered in the user's cache folder, by path, size and time of the last change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from pyarrow.fs import LocalFileSystem

from hnlm_ray.errors import StoreError
from hnlm_ray.run.places import Folder

__all__ = ["model_digest"]

_CACHE = "digests.json"

_SUFFIXES = {".json", ".safetensors", ".jinja", ".model", ".txt", ".tiktoken"}
"""Of the files that decide what a model does: weights, configuration, tokenizer, templates."""

_REMEMBERED_FROM = 64 << 20
"""Bytes; a smaller file is read in a few hundredths of a second."""


def model_digest(model: str) -> str:
    """A digest of every byte of a model folder and its subfolders; a name of a hub stands for itself.

    Returns:
        16 hexadecimal digits, or ``model`` where it is no local folder.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return model
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in place.parts)
        if path.suffix in _SUFFIXES and path.is_file() and not is_hidden:
            digest.update(f"{place.as_posix()}:{_file_digest(path)};".encode())
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    status = path.stat()
    if status.st_size < _REMEMBERED_FROM:
        return _computed(path)
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Folder(LocalFileSystem(), f"{root}/hnlm_ray")
    known = _remembered(cache)
    key = f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}"
    if key not in known:
        known[key] = _computed(path)
        with contextlib.suppress(StoreError):  # a cache that cannot be written costs time, nothing else
            cache.create()
            cache.write_bytes(_CACHE, json.dumps(known).encode())
    return known[key]


def _computed(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def _remembered(cache: Folder) -> dict[str, str]:
    try:
        content = json.loads(cache.read_bytes(_CACHE))
    except (StoreError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
