"""Writing bundles."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hnlm_ray.errors import BundleError
from hnlm_ray.run.checksums import Checksum
from hnlm_ray.run.places import resolve
from hnlm_ray.serving.bundle.cold_start import fit_fold_in, fit_profile_map, fit_text_map
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.info import INFO, LISTS, PLAIN, REBUILD, VOTING, BundleAbout, BundleInfo, bundle_errors
from hnlm_ray.tables import ITEM_PROFILES, USER_PROFILES, WRITTEN_NEGATIVES, conform

__all__ = ["Extras", "write_bundle"]

_TEXTS = {
    "user_profiles": ("user", USER_PROFILES),
    "item_profiles": ("item", ITEM_PROFILES),
    "negatives": ("user", WRITTEN_NEGATIVES),
}
_ROWS_PER_PAGE = 2048
"""Rows of a text table that are read at a time to answer a request."""

_ENCODER_FILES = (".json", ".safetensors", ".txt", ".model")
"""Endings of the files that an encoder needs; none of them can hold code or a pickle."""


@dataclass(frozen=True)
class Extras:
    """The optional parts of a bundle.

    Attributes:
        user_profiles: of :data:`hnlm_ray.tables.USER_PROFILES`, sorted by user.
        item_profiles: of :data:`hnlm_ray.tables.ITEM_PROFILES`, sorted by item.
        negatives: of :data:`hnlm_ray.tables.WRITTEN_NEGATIVES`, sorted by user.
        text_vectors: (I, t) float32, of the items; needs ``encoder``.
        encoder: folder of the model that made them, in the format of transformers or sentence-transformers.
        profile_vectors: (n, t) float32, of some users' profiles by the same model; needs ``profiled_users``.
        profiled_users: (n,) integers, numbers of these users.
        described_vectors: (m, t) float32, of some items' profiles by the same model; needs ``described_items``.
        described_items: (m,) integers, numbers of these items.
    """

    user_profiles: pa.Table | None = None
    item_profiles: pa.Table | None = None
    negatives: pa.Table | None = None
    text_vectors: npt.NDArray[np.float32] | None = None
    encoder: str | None = None
    profile_vectors: npt.NDArray[np.float32] | None = None
    profiled_users: npt.NDArray[np.integer] | None = None
    described_vectors: npt.NDArray[np.float32] | None = None
    described_items: npt.NDArray[np.integer] | None = None


def write_bundle(
    path: str, contents: Contents, about: BundleAbout, filesystem: pafs.FileSystem | None = None,
    extras: Extras | None = None,
) -> BundleInfo:  # fmt: skip
    """Write a bundle into a folder.

    Args:
        path: the folder, local or ``s3://`` / ``gs://``; created if absent.
        contents: the required parts.
        about: what the bundle is made from.
        filesystem: the one that ``path`` is on; by default derived from ``path``.
        extras: the optional parts.

    Returns:
        The content of the new ``bundle.json``.

    Raises:
        BundleError: the folder cannot be written, or an extra does not belong to the contents.
        DataError: a table of the extras lacks a column.
    """
    filesystem, path = (filesystem, path) if filesystem is not None else resolve(path, BundleError)
    with bundle_errors(path, "check that the place is writable and has room"), tempfile.TemporaryDirectory() as local:
        _write_files(local, contents)
        _write_extras(local, contents, extras or Extras())
        names = sorted(_files_under(local))
        draft = BundleInfo(
            format=PLAIN if contents.lists is None else VOTING,
            version="",
            users=contents.n_users,
            items=contents.n_items,
            dim=int(contents.item_vectors.shape[1]),
            about=about,
            files={name: Checksum.of(pafs.LocalFileSystem(), f"{local}/{name}") for name in names},
        )
        info = draft.model_copy(update={"version": draft.content_version()})
        for folder in sorted({os.path.dirname(f"{path}/{name}") for name in names}):
            filesystem.create_dir(folder, recursive=True)
        for name in names:
            pafs.copy_files(f"{local}/{name}", f"{path}/{name}", pafs.LocalFileSystem(), filesystem)
        with filesystem.open_output_stream(f"{path}/{INFO}") as stream:
            stream.write(info.model_dump_json(indent=2).encode())
    return info


def _write_files(folder: str, contents: Contents) -> None:
    from safetensors.numpy import save_file

    vectors = {"user_vectors": contents.user_vectors, "item_vectors": contents.item_vectors}
    save_file(vectors, f"{folder}/model.safetensors")
    save_file({"offsets": contents.seen_offsets, "items": contents.seen_items}, f"{folder}/seen.safetensors")
    save_file({"counts": contents.popularity}, f"{folder}/popular.safetensors")
    seen = (contents.seen_offsets, contents.seen_items)
    weights = fit_fold_in(contents.user_vectors, contents.item_vectors, contents.popularity, *seen)
    save_file({"weights": weights}, f"{folder}/fold_in.safetensors")
    if (lists := contents.lists) is not None:
        parts = lists.indptr.astype(np.int64), lists.indices.astype(np.int32), lists.data
        save_file(dict(zip(("offsets", "items", "weights"), parts, strict=True)), f"{folder}/{LISTS}")
    pq.write_table(contents.users, f"{folder}/users.parquet")
    pq.write_table(contents.items, f"{folder}/items.parquet")


def _write_extras(folder: str, contents: Contents, extras: Extras) -> None:
    from safetensors.numpy import save_file

    for name, (key, schema) in _TEXTS.items():
        table = getattr(extras, name)
        if table is not None:
            # Small row groups, found by the range of their keys: a request reads one of them.
            ordered = conform(table, schema, f"{name} of the bundle").sort_by(key)
            pq.write_table(ordered, f"{folder}/{name}.parquet", row_group_size=_ROWS_PER_PAGE)
    if extras.encoder is None or extras.text_vectors is None:
        return
    if not os.path.isdir(extras.encoder):
        raise BundleError(f"the text encoder {extras.encoder} is not a folder", "give the folder of the model")
    if len(extras.text_vectors) != contents.n_items:
        raise BundleError(f"there are {len(extras.text_vectors)} text vectors for {contents.n_items} items", REBUILD)
    if extras.profile_vectors is not None and extras.profiled_users is not None:
        items = None
        if extras.described_vectors is not None and extras.described_items is not None:
            items = extras.described_vectors, contents.item_vectors[extras.described_items]
        projection = fit_profile_map(extras.profile_vectors, contents.user_vectors[extras.profiled_users], items)
    else:
        projection = fit_text_map(extras.text_vectors, contents.item_vectors, contents.popularity)
    save_file({"projection": projection}, f"{folder}/text.safetensors")
    save_file({"vectors": _units(extras.text_vectors)}, f"{folder}/item_texts.safetensors")
    for name in _files_under(extras.encoder):
        if name.endswith(_ENCODER_FILES):
            target = f"{folder}/encoder/{name}"
            os.makedirs(os.path.dirname(target), exist_ok=True)
            pafs.copy_files(f"{extras.encoder}/{name}", target, pafs.LocalFileSystem(), pafs.LocalFileSystem())


def _units(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: npt.NDArray[np.float16] = (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float16)
    return units


def _files_under(folder: str) -> list[str]:
    """Paths of all files below a folder, relative to it."""
    return [os.path.relpath(f"{root}/{name}", folder) for root, _, names in os.walk(folder) for name in names]
