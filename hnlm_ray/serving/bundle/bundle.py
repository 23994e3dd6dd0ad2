"""A bundle: one folder that holds everything a recommender needs, checksummed, without code in it.

::

    model.safetensors     user_vectors (U, d) float32, item_vectors (I, d) float32
    seen.safetensors      offsets (U + 1,) int64, items (nnz,) int32
    popular.safetensors   counts (I,) int64
    fold_in.safetensors   weights (3 d, d) float32, of hnlm_ray.serving.bundle.cold_start
    users.parquet         hnlm_ray.tables.USERS
    items.parquet         hnlm_ray.tables.ITEMS
    bundle.json           version, SHA-256 of each file, and what the bundle was made from; written last

and, where the run has them, what answers to free text and to "why":

::

    user_profiles.parquet, item_profiles.parquet, negatives.parquet    as the language model wrote them
    text.safetensors      projection (t, d) float32, from the vector of a text to one of a user
    encoder/...           the model that makes text vectors, as its own folder has it

The version is a hash of everything else in ``bundle.json``, so equal bundles have equal versions and an edited
``bundle.json`` is noticed like any other damaged file. Arrays are mapped from the files, not read: a bundle is never
changed in place.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from hnlm_ray.errors import BundleError
from hnlm_ray.run.places import resolve, storage_errors
from hnlm_ray.serving.bundle.cold_start import fit_fold_in, fit_profile_map, fit_text_map
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.tensors import mapped_tensors
from hnlm_ray.tables import ITEM_PROFILES, USER_PROFILES, WRITTEN_NEGATIVES, conform

__all__ = [
    "INFO",
    "Bundle",
    "BundleAbout",
    "BundleFile",
    "BundleInfo",
    "Extras",
    "load_bundle",
    "read_info",
    "write_bundle",
]

INFO = "bundle.json"
FILES = (
    "fold_in.safetensors", "items.parquet", "model.safetensors", "popular.safetensors", "seen.safetensors",
    "users.parquet",
)  # fmt: skip
_TEXTS = {
    "user_profiles": ("user", USER_PROFILES),
    "item_profiles": ("item", ITEM_PROFILES),
    "negatives": ("user", WRITTEN_NEGATIVES),
}
_ROWS_PER_PAGE = 2048
"""Rows of a text table that are read for one answer."""

_ENCODER_FILES = (".json", ".safetensors", ".txt", ".model")
"""Endings of what an encoder needs; nothing that could hold code or a pickle."""

_AGAIN = "build the bundle again, or fetch a fresh copy"

_storage_errors = functools.partial(storage_errors, kind=BundleError)


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

    @field_validator("metrics")
    @classmethod
    def _measured(cls, metrics: dict[str, float]) -> dict[str, float]:
        """Without those that nobody has, such as of an empty split: JSON has no word for "not a number"."""
        return {name: value for name, value in metrics.items() if math.isfinite(value)}


class BundleFile(_Record):
    """One file of the bundle."""

    bytes: int
    sha256: str


class BundleInfo(_Record):
    """The content of ``bundle.json``."""

    format: Literal[2]
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
class Extras:
    """What a bundle can do without.

    Attributes:
        user_profiles: of :data:`hnlm_ray.tables.USER_PROFILES`, sorted by user.
        item_profiles: of :data:`hnlm_ray.tables.ITEM_PROFILES`, sorted by item.
        negatives: of :data:`hnlm_ray.tables.WRITTEN_NEGATIVES`, sorted by user.
        text_vectors: (I, t) float32, of the items; goes with ``encoder``.
        encoder: folder of the model that made them, in the format of transformers or sentence-transformers.
        profile_vectors: (n, t) float32, of some users' profiles by the same model; goes with ``profiled_users``.
        profiled_users: (n,) integers, the users.
    """

    user_profiles: pa.Table | None = None
    item_profiles: pa.Table | None = None
    negatives: pa.Table | None = None
    text_vectors: npt.NDArray[np.float32] | None = None
    encoder: str | None = None
    profile_vectors: npt.NDArray[np.float32] | None = None
    profiled_users: npt.NDArray[np.integer] | None = None


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle.

    Attributes:
        info: the content of ``bundle.json``.
        contents: arrays and tables.
        fold_in: (3 d, d) float32, see :mod:`hnlm_ray.serving.bundle.cold_start`.
        folder: where its files are on this machine.
        projection: (t, d) float32 from the vector of a text to one of a user; None without an encoder.
        held: keeps a fetched copy alive as long as the bundle.
    """

    info: BundleInfo
    contents: Contents
    fold_in: npt.NDArray[np.float32]
    folder: str
    projection: npt.NDArray[np.float32] | None = None
    held: object = field(default=None, repr=False, compare=False)

    @property
    def encoder(self) -> str | None:
        """Folder of the text encoder; None where the bundle has none."""
        return f"{self.folder}/encoder" if self.projection is not None else None

    def texts(self, name: str) -> str | None:
        """File of ``user_profiles``, ``item_profiles`` or ``negatives``; None where the bundle has none."""
        file = f"{name}.parquet"
        return f"{self.folder}/{file}" if file in self.info.files else None


def write_bundle(
    path: str, contents: Contents, about: BundleAbout, filesystem: pafs.FileSystem | None = None,
    extras: Extras | None = None,
) -> BundleInfo:  # fmt: skip
    """Write a bundle into a folder.

    Args:
        path: the folder, local or ``s3://`` / ``gs://``; made where absent.
        contents: what to write.
        about: what it was made from.
        filesystem: the one that ``path`` is on; by default derived from ``path``.
        extras: texts and the encoder, where there are any.

    Returns:
        What ``bundle.json`` now holds.

    Raises:
        BundleError: the folder cannot be written, or an extra does not belong to the contents.
        DataError: a table of the extras lacks a column.
    """
    filesystem, path = (filesystem, path) if filesystem is not None else _resolve(path)
    with _storage_errors(path, "check that the place is writable and has room"), tempfile.TemporaryDirectory() as local:
        _write_files(local, contents)
        _write_extras(local, contents, extras or Extras())
        names = sorted(_files_under(local))
        draft = BundleInfo(
            format=2,
            version="",
            users=contents.n_users,
            items=contents.n_items,
            dim=int(contents.item_vectors.shape[1]),
            about=about,
            files={name: _describe(f"{local}/{name}") for name in names},
        )
        info = draft.model_copy(update={"version": draft.content_version()})
        for folder in sorted({os.path.dirname(f"{path}/{name}") for name in names}):
            filesystem.create_dir(folder, recursive=True)
        for name in names:
            pafs.copy_files(f"{local}/{name}", f"{path}/{name}", pafs.LocalFileSystem(), filesystem)
        with filesystem.open_output_stream(f"{path}/{INFO}") as stream:
            stream.write(info.model_dump_json(indent=2).encode())
    return info


def read_info(path: str) -> BundleInfo:
    """What a bundle says about itself; its other files are not looked at.

    Raises:
        BundleError: there is no bundle, or its ``bundle.json`` is damaged.
    """
    return _read_info(*_resolve(path))


def load_bundle(path: str) -> Bundle:
    """Map a bundle into memory and check every byte of it.

    Args:
        path: the folder, local or ``s3://`` / ``gs://``; a remote one is fetched into a temporary folder first, which
            goes with the bundle.

    Raises:
        BundleError: there is no bundle, or a file of it is missing or damaged; the file is named.
    """
    filesystem, place = _resolve(path)
    info = _read_info(filesystem, place)
    with _storage_errors(place, _AGAIN):
        folder, held = _local_copy(filesystem, place, info)
        with ThreadPoolExecutor(max_workers=2) as pool:
            # Listed, so that an error of any of them is raised.
            list(pool.map(lambda name: _verify(f"{folder}/{name}", f"{place}/{name}", info.files[name]), info.files))
        return _read_files(info, folder, place, held)


def _write_files(folder: str, contents: Contents) -> None:
    from safetensors.numpy import save_file

    vectors = {"user_vectors": contents.user_vectors, "item_vectors": contents.item_vectors}
    save_file(vectors, f"{folder}/model.safetensors")
    save_file({"offsets": contents.seen_offsets, "items": contents.seen_items}, f"{folder}/seen.safetensors")
    save_file({"counts": contents.popularity}, f"{folder}/popular.safetensors")
    seen = (contents.seen_offsets, contents.seen_items)
    weights = fit_fold_in(contents.user_vectors, contents.item_vectors, contents.popularity, *seen)
    save_file({"weights": weights}, f"{folder}/fold_in.safetensors")
    pq.write_table(contents.users, f"{folder}/users.parquet")
    pq.write_table(contents.items, f"{folder}/items.parquet")


def _write_extras(folder: str, contents: Contents, extras: Extras) -> None:
    from safetensors.numpy import save_file

    for name, (key, schema) in _TEXTS.items():
        table = getattr(extras, name)
        if table is not None:
            # Small pages, found by the extremes of their keys: one answer reads one of them.
            ordered = conform(table, schema, f"{name} of the bundle").sort_by(key)
            pq.write_table(ordered, f"{folder}/{name}.parquet", row_group_size=_ROWS_PER_PAGE)
    if extras.encoder is None or extras.text_vectors is None:
        return
    if not os.path.isdir(extras.encoder):
        raise BundleError(f"the text encoder {extras.encoder} is not a folder", "give the folder of the model")
    if len(extras.text_vectors) != contents.n_items:
        raise BundleError(f"there are {len(extras.text_vectors)} text vectors for {contents.n_items} items", _AGAIN)
    if extras.profile_vectors is not None and extras.profiled_users is not None:
        projection = fit_profile_map(extras.profile_vectors, contents.user_vectors[extras.profiled_users])
    else:
        projection = fit_text_map(extras.text_vectors, contents.item_vectors, contents.popularity)
    save_file({"projection": projection}, f"{folder}/text.safetensors")
    for name in _files_under(extras.encoder):
        if name.endswith(_ENCODER_FILES):
            target = f"{folder}/encoder/{name}"
            os.makedirs(os.path.dirname(target), exist_ok=True)
            pafs.copy_files(f"{extras.encoder}/{name}", target, pafs.LocalFileSystem(), pafs.LocalFileSystem())


def _files_under(folder: str) -> list[str]:
    """Paths of all files in a folder and the folders in it, relative to it."""
    return [os.path.relpath(f"{root}/{name}", folder) for root, _, names in os.walk(folder) for name in names]


def _read_files(info: BundleInfo, folder: str, place: str, held: object) -> Bundle:
    try:
        vectors, seen, popular, fold_in = (
            mapped_tensors(f"{folder}/{name}.safetensors") for name in ("model", "seen", "popular", "fold_in")
        )
        contents = Contents(
            user_vectors=vectors["user_vectors"],
            item_vectors=vectors["item_vectors"],
            seen_offsets=seen["offsets"],
            seen_items=seen["items"],
            popularity=popular["counts"],
            users=pq.read_table(f"{folder}/users.parquet"),
            items=pq.read_table(f"{folder}/items.parquet"),
        )
        dim, weights, projection = contents.item_vectors.shape[1], fold_in["weights"], None
        if weights.shape != (3 * dim, dim):
            raise BundleError(f"{place}: fold_in has shape {weights.shape}, expected {(3 * dim, dim)}", _AGAIN)
        if "text.safetensors" in info.files:
            projection = mapped_tensors(f"{folder}/text.safetensors")["projection"]
            if projection.shape[1:] != (dim,):
                raise BundleError(f"{place}: projection has shape {projection.shape}, expected (t, {dim})", _AGAIN)
        return Bundle(info, contents, weights, folder, projection, held)
    except (ValueError, KeyError) as error:
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
    outside = [name for name in info.files if "\0" in name or {"", ".", ".."} & {*name.split("/")}]
    if outside:
        raise BundleError(f"{path} lists {outside[0]!a}, which is not inside the bundle", _AGAIN)
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
    with _storage_errors(path, "give a folder, or a place such as s3://bucket/folder"):
        return resolve(path)


def _local_copy(filesystem: pafs.FileSystem, place: str, info: BundleInfo) -> tuple[str, object]:
    """The folder on this machine, and what keeps it there."""
    if isinstance(filesystem, pafs.LocalFileSystem):
        return place, None
    held = tempfile.TemporaryDirectory(prefix="hnlm-bundle-")
    for name in info.files:
        target = f"{held.name}/{name}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if filesystem.get_file_info(f"{place}/{name}").type == pafs.FileType.File:
            pafs.copy_files(f"{place}/{name}", target, filesystem, pafs.LocalFileSystem())
    return held.name, held
