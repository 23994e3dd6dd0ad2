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

__all__ = ["model_digest"]

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
    key, cache = f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}", _cache_file()
    known = _read(cache)
    if key not in known:
        known[key] = _computed(path)
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
            cache.parent.mkdir(parents=True, exist_ok=True)
            temporary = cache.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(known), encoding="utf-8")
            temporary.replace(cache)
    return known[key]


def _computed(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def _cache_file() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "hnlm_ray" / "digests.json"


def _read(cache: Path) -> dict[str, str]:
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
