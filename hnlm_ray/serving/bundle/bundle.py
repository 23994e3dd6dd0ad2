"""A bundle: one folder that holds everything a recommender needs, checksummed, without code in it.

::

    model.safetensors     user_vectors (U, d) float32, item_vectors (I, d) float32
    seen.safetensors      offsets (U + 1,) int64, items (nnz,) int32
    popular.safetensors   counts (I,) int64
    fold_in.safetensors   weights (3 d, d) float32, of hnlm_ray.serving.bundle.cold_start
    users.parquet         hnlm_ray.tables.USERS
    items.parquet         hnlm_ray.tables.ITEMS
    bundle.json           version, SHA-256 of each file, and what the bundle was made from; written last

and, where the run has them, what recommendations from a text and explanations need:

::

    user_profiles.parquet, item_profiles.parquet, negatives.parquet    as the language model wrote them
    text.safetensors      projection (t, d) float32, from a text's vector to a user's
    encoder/...           the model that makes text vectors, as in its own folder
    item_texts.safetensors    vectors (I, t) float16, of the items' texts, by which new items find their place

and, where items of a history vote for others (an ensemble with lists):

::

    lists.safetensors     offsets (I + 1,) int64, items (n,) int32, weights (n,) float32

The version is a hash of everything else in ``bundle.json``, so equal bundles have equal versions and an edited
``bundle.json`` is noticed like any other damaged file. Arrays are mapped from the files, not read: a bundle is never
changed in place.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hnlm_ray.errors import BundleError
from hnlm_ray.run.checksums import verify
from hnlm_ray.run.places import Folder, resolve
from hnlm_ray.run.tensors import mapped_tensors
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.info import INFO, LISTS, REBUILD, BundleInfo, bundle_errors, read_info_at

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Bundle", "load_bundle"]


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle.

    Attributes:
        info: the content of ``bundle.json``.
        contents: arrays and tables.
        fold_in: (3 d, d) float32, see :mod:`hnlm_ray.serving.bundle.cold_start`.
        folder: the local folder of its files.
        projection: (t, d) float32, from a text's vector to a user's; None without an encoder.
        item_texts: (I, t) float16, text vectors of the items, of unit length; None where the bundle has none.
        held: keeps a downloaded copy alive as long as the bundle.
    """

    info: BundleInfo
    contents: Contents
    fold_in: npt.NDArray[np.float32]
    folder: str
    projection: npt.NDArray[np.float32] | None = None
    item_texts: npt.NDArray[np.float16] | None = None
    held: object = field(default=None, repr=False, compare=False)

    @property
    def encoder(self) -> str | None:
        """Folder of the text encoder; None without one."""
        return f"{self.folder}/encoder" if self.projection is not None else None

    def text_table(self, name: str) -> str | None:
        """Path of ``user_profiles``, ``item_profiles`` or ``negatives``; None where the bundle has no such table."""
        file = f"{name}.parquet"
        return f"{self.folder}/{file}" if file in self.info.files else None


def load_bundle(path: str) -> Bundle:
    """Map a bundle into memory and verify the checksum of every file.

    Args:
        path: the folder, local or ``s3://`` / ``gs://``; a remote one is downloaded into a temporary folder, which is
            deleted with the bundle.

    Raises:
        BundleError: there is no bundle, or a file is missing or damaged; the message names it.
    """
    filesystem, place = resolve(path, BundleError)
    info = read_info_at(filesystem, place)
    with bundle_errors(place, REBUILD):
        folder, held = _local_copy(filesystem, place, info)
        local = Folder(pafs.LocalFileSystem(), folder)
        verify(local, info.files, listed_in=INFO, action=REBUILD, kind=BundleError, shown=place)
        return _read_files(info, folder, place, held)


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
            lists=_lists(folder, info),
        )
        dim, weights, projection = contents.item_vectors.shape[1], fold_in["weights"], None
        if weights.shape != (3 * dim, dim):
            raise BundleError(f"{place}: fold_in has shape {weights.shape}, expected {(3 * dim, dim)}", REBUILD)
        if "text.safetensors" in info.files:
            projection = mapped_tensors(f"{folder}/text.safetensors")["projection"]
            if projection.shape[1:] != (dim,):
                raise BundleError(f"{place}: projection has shape {projection.shape}, expected (t, {dim})", REBUILD)
        return Bundle(info, contents, weights, folder, projection, _item_texts(info, folder, place, projection), held)
    except KeyError as error:
        raise BundleError(f"{place} lacks a tensor that a bundle has ({error})", REBUILD) from error
    except (ValueError, pa.ArrowException) as error:
        raise BundleError(f"a file of {place} cannot be read ({error})", REBUILD) from error


def _lists(folder: str, info: BundleInfo) -> csr_array[np.float32, tuple[int, int]] | None:
    if LISTS not in info.files:
        return None
    from scipy.sparse import csr_array

    stored = mapped_tensors(f"{folder}/{LISTS}")
    return csr_array((stored["weights"], stored["items"], stored["offsets"]), shape=(info.items, info.items))


def _item_texts(
    info: BundleInfo, folder: str, place: str, projection: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.float16] | None:
    if projection is None or "item_texts.safetensors" not in info.files:
        return None
    texts: npt.NDArray[np.float16] = mapped_tensors(f"{folder}/item_texts.safetensors")["vectors"]
    expected = (info.items, len(projection))
    if texts.shape != expected:
        raise BundleError(f"{place}: item_texts has shape {texts.shape}, expected {expected}", REBUILD)
    return texts


def _local_copy(filesystem: pafs.FileSystem, place: str, info: BundleInfo) -> tuple[str, object]:
    """A local folder with the files, and the object that keeps it from being deleted."""
    if isinstance(filesystem, pafs.LocalFileSystem):
        return place, None
    held = tempfile.TemporaryDirectory(prefix="hnlm-bundle-")
    for name in info.files:
        target = f"{held.name}/{name}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if filesystem.get_file_info(f"{place}/{name}").type == pafs.FileType.File:
            pafs.copy_files(f"{place}/{name}", target, filesystem, pafs.LocalFileSystem())
    return held.name, held
