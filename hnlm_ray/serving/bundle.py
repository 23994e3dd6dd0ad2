"""A bundle: one folder that holds everything a recommender needs, checksummed, without code in it.

::

    model.safetensors     user_vectors (U, d) float32, item_vectors (I, d) float32
    seen.safetensors      offsets (U + 1,) int64, items (nnz,) int32
    popular.safetensors   counts (I,) int64
    users.parquet         hnlm_ray.tables.USERS
    items.parquet         hnlm_ray.tables.ITEMS
    bundle.json           version, SHA-256 of each file, and what the bundle was made from; written last

The version is a hash of everything else in ``bundle.json``, so equal bundles have equal versions and an edited
``bundle.json`` is noticed like any other damaged file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from hnlm_ray.errors import BundleError, HnlmError
from hnlm_ray.serving.contents import Contents

__all__ = ["INFO", "Bundle", "BundleAbout", "BundleFile", "BundleInfo", "load_bundle", "write_bundle"]

INFO = "bundle.json"
FILES = ("items.parquet", "model.safetensors", "popular.safetensors", "seen.safetensors", "users.parquet")

_AGAIN = "build the bundle again, or fetch a fresh copy"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BundleAbout(_Record):
    """What a bundle was made from."""

    data: str
    """Name of the data set."""
    variant: str
    """Name in ``train.variants``."""
    seed: int
    config: dict[str, Any]
    """The options of the variant."""
    metrics: dict[str, float]
    """Measured on held-out interactions, for example ``{"test ndcg@20": 0.058}``."""
    code_version: str


class BundleFile(_Record):
    """One file of the bundle."""

    bytes: int
    sha256: str


class BundleInfo(_Record):
    """The content of ``bundle.json``."""

    format: Literal[1]
    version: str
    """Twelve hex digits."""
    users: int
    items: int
    dim: int
    about: BundleAbout
    files: dict[str, BundleFile]

    def content_version(self) -> str:
        """The version that the other fields give."""
        text = json.dumps(self.model_dump(exclude={"version"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle.

    Attributes:
        info: the content of ``bundle.json``.
        contents: arrays and tables.
    """

    info: BundleInfo
    contents: Contents


def write_bundle(
    path: str, contents: Contents, about: BundleAbout, filesystem: pafs.FileSystem | None = None
) -> BundleInfo:
    """Write a bundle into a folder.

    Args:
        path: the folder, local or ``s3://`` / ``gs://``; made where absent.
        contents: what to write.
        about: what it was made from.
        filesystem: the one that ``path`` is on; by default derived from ``path``.

    Returns:
        What ``bundle.json`` now holds.

    Raises:
        BundleError: the folder cannot be written.
    """
    filesystem, path = (filesystem, path) if filesystem is not None else _resolve(path)
    with _storage_errors(path, "check that the place is writable and has room"), tempfile.TemporaryDirectory() as local:
        _write_files(local, contents)
        files = {name: _describe(f"{local}/{name}") for name in FILES}
        draft = BundleInfo(
            format=1,
            version="",
            users=contents.n_users,
            items=contents.n_items,
            dim=int(contents.item_vectors.shape[1]),
            about=about,
            files=files,
        )
        info = draft.model_copy(update={"version": draft.content_version()})
        filesystem.create_dir(path, recursive=True)
        for name in FILES:
            pafs.copy_files(f"{local}/{name}", f"{path}/{name}", pafs.LocalFileSystem(), filesystem)
        with filesystem.open_output_stream(f"{path}/{INFO}") as stream:
            stream.write(info.model_dump_json(indent=2).encode())
    return info


def load_bundle(path: str) -> Bundle:
    """Read a bundle and check every byte of it.

    Args:
        path: the folder, local or ``s3://`` / ``gs://``; a remote one is fetched into a temporary folder first.

    Raises:
        BundleError: there is no bundle, or a file of it is missing or damaged; the file is named.
    """
    filesystem, place = _resolve(path)
    info = _read_info(filesystem, place)
    with _storage_errors(place, _AGAIN), _local_copy(filesystem, place) as folder:
        for name in FILES:
            _verify(f"{folder}/{name}", f"{place}/{name}", info.files[name])
        contents = _read_files(folder, place)
    return Bundle(info, contents)


def _write_files(folder: str, contents: Contents) -> None:
    from safetensors.numpy import save_file

    vectors = {"user_vectors": contents.user_vectors, "item_vectors": contents.item_vectors}
    save_file(vectors, f"{folder}/model.safetensors")
    save_file({"offsets": contents.seen_offsets, "items": contents.seen_items}, f"{folder}/seen.safetensors")
    save_file({"counts": contents.popularity}, f"{folder}/popular.safetensors")
    pq.write_table(contents.users, f"{folder}/users.parquet")
    pq.write_table(contents.items, f"{folder}/items.parquet")


def _read_files(folder: str, place: str) -> Contents:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        vectors = load_file(f"{folder}/model.safetensors")
        seen = load_file(f"{folder}/seen.safetensors")
        popular = load_file(f"{folder}/popular.safetensors")
        return Contents(
            user_vectors=vectors["user_vectors"],
            item_vectors=vectors["item_vectors"],
            seen_offsets=seen["offsets"],
            seen_items=seen["items"],
            popularity=popular["counts"],
            users=pq.read_table(f"{folder}/users.parquet"),
            items=pq.read_table(f"{folder}/items.parquet"),
        )
    except (SafetensorError, KeyError) as error:
        raise BundleError(f"{place} lacks a tensor that a bundle has ({error})", _AGAIN) from error


def _read_info(filesystem: pafs.FileSystem, place: str) -> BundleInfo:
    path = f"{place}/{INFO}"
    action = "give the folder of a bundle, which the bundle stage writes"
    with _storage_errors(path, action), filesystem.open_input_stream(path) as stream:
        content = bytes(stream.read())
    try:
        info = BundleInfo.model_validate_json(content)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        what = f"{where}: {error.errors()[0]['msg']}" if where else error.errors()[0]["msg"]
        raise BundleError(f"{path} cannot be understood ({what})", _AGAIN) from error
    if info.version != info.content_version():
        raise BundleError(f"{path} is damaged: its version does not match its content", _AGAIN)
    missing = [name for name in FILES if name not in info.files]
    if missing:
        raise BundleError(f"{path} does not list {', '.join(missing)}", _AGAIN)
    return info


def _describe(path: str) -> BundleFile:
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return BundleFile(bytes=os.path.getsize(path), sha256=digest)


def _verify(local: str, shown: str, expected: BundleFile) -> None:
    try:
        found = _describe(local)
    except FileNotFoundError as error:
        raise BundleError(f"{shown} is missing", _AGAIN) from error
    if found.bytes != expected.bytes:
        raise BundleError(f"{shown} is damaged: it has {found.bytes} bytes, expected {expected.bytes}", _AGAIN)
    if found.sha256 != expected.sha256:
        raise BundleError(f"{shown} is damaged: its checksum does not match {INFO}", _AGAIN)


def _resolve(path: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in path:
        return pafs.LocalFileSystem(), os.path.abspath(path)
    with _storage_errors(path, "give a folder, or a place such as s3://bucket/folder"):
        filesystem, place = pafs.FileSystem.from_uri(path)
        return filesystem, place


@contextlib.contextmanager
def _local_copy(filesystem: pafs.FileSystem, place: str) -> Iterator[str]:
    if isinstance(filesystem, pafs.LocalFileSystem):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="hnlm-bundle-") as folder:
        for name in FILES:
            if filesystem.get_file_info(f"{place}/{name}").type == pafs.FileType.File:
                pafs.copy_files(f"{place}/{name}", f"{folder}/{name}", filesystem, pafs.LocalFileSystem())
        yield folder


@contextlib.contextmanager
def _storage_errors(path: str, action: str) -> Iterator[None]:
    try:
        yield
    except HnlmError:
        raise
    except (OSError, pa.ArrowInvalid) as error:
        raise BundleError(f"{path}: {str(error).split('Detail:')[0].strip()}", action) from error
