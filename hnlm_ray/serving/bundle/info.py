"""``bundle.json``: what a bundle says about itself."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from typing import Any, Literal

import pyarrow.fs as pafs
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from hnlm_ray.errors import BundleError
from hnlm_ray.run.checksums import Checksum
from hnlm_ray.run.places import resolve, storage_errors

__all__ = [
    "FILES",
    "INFO",
    "LISTS",
    "PLAIN",
    "REBUILD",
    "VOTING",
    "BundleAbout",
    "BundleInfo",
    "bundle_errors",
    "read_info",
    "read_info_at",
]

INFO = "bundle.json"
"""Name of the file, which is written last: without it a folder is not a bundle."""

REBUILD = "build the bundle again, or fetch a fresh copy"
"""What a user does about a damaged bundle."""

FILES = (
    "fold_in.safetensors", "items.parquet", "model.safetensors", "popular.safetensors", "seen.safetensors",
    "users.parquet",
)  # fmt: skip
"""Files that every bundle has besides ``bundle.json``."""

LISTS = "lists.safetensors"
"""The file of a bundle whose histories vote."""

PLAIN: Literal[2] = 2
VOTING: Literal[3] = 3
"""Formats of a bundle: software that knows the first alone would leave out the votes of the second."""

bundle_errors = functools.partial(storage_errors, kind=BundleError)
"""Turns storage errors about a bundle into :class:`BundleError`."""


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
    """Values on held-out interactions, for example ``{"test ndcg@20": 0.058}``."""
    code_version: str

    @field_validator("metrics")
    @classmethod
    def _measured(cls, metrics: dict[str, float]) -> dict[str, float]:
        """Drop those that are undefined, such as on an empty split: JSON has no NaN."""
        return {name: value for name, value in metrics.items() if math.isfinite(value)}


class BundleInfo(_Record):
    """The content of ``bundle.json``."""

    format: Literal[2, 3]
    """3 where histories vote, otherwise 2."""
    version: str
    """Twelve hex digits."""
    users: int
    items: int
    dim: int
    about: BundleAbout
    files: dict[str, Checksum]

    def content_version(self) -> str:
        """The version that follows from the other fields."""
        text = json.dumps(self.model_dump(exclude={"version"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_info(path: str) -> BundleInfo:
    """The content of a bundle's ``bundle.json``; the other files are not read.

    Raises:
        BundleError: there is no bundle, or its ``bundle.json`` is damaged.
    """
    return read_info_at(*resolve(path, BundleError))


def read_info_at(filesystem: pafs.FileSystem, place: str) -> BundleInfo:
    """:func:`read_info` for a place on a file system."""
    path = f"{place}/{INFO}"
    action = "give a bundle, a shelf that `hnlm export` filled, or a run that is finished"
    with bundle_errors(path, action):
        try:
            with filesystem.open_input_stream(path) as stream:
                content = bytes(stream.read())
        except FileNotFoundError as error:
            raise BundleError(f"{place} holds no bundle, it has no {INFO}", action) from error
    try:
        info = BundleInfo.model_validate_json(content)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        what = f"{where}: {error.errors()[0]['msg']}" if where else error.errors()[0]["msg"]
        raise BundleError(f"{path} cannot be understood ({what})", REBUILD) from error
    if info.version != info.content_version():
        raise BundleError(f"{path} is damaged: its version does not match its content", REBUILD)
    missing = [name for name in FILES if name not in info.files]
    if missing:
        raise BundleError(f"{path} does not list {', '.join(missing)}", REBUILD)
    outside = [name for name in info.files if "\0" in name or {"", ".", ".."} & {*name.split("/")}]
    if outside:
        raise BundleError(f"{path} lists {outside[0]!a}, which is not inside the bundle", REBUILD)
    return info
