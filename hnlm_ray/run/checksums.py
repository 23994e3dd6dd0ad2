"""Size and checksum of the files that others rely on: those of a stage's manifest and those of a bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pyarrow.fs as pafs
from pydantic import BaseModel, ConfigDict

from hnlm_ray.errors import HnlmError, StoreError
from hnlm_ray.run.places import Folder, storage_errors

__all__ = ["Checksum", "size_problem", "verify"]

_THREADS = 4
"""Files that are read at once; hashing leaves Python's lock."""

_SOUND: set[tuple[str, int, int | None, str]] = set()
"""Files whose digest this process has found right: path, size, time of the last change, digest."""


class Checksum(BaseModel):
    """Size and digest of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    sha256: str

    @classmethod
    def of(cls, filesystem: pafs.FileSystem, path: str) -> Checksum:
        """Those of a file; OSError where it cannot be read."""
        with filesystem.open_input_file(path) as stream:
            return cls(bytes=stream.size(), sha256=hashlib.file_digest(stream, "sha256").hexdigest())


def size_problem(size: int | None, expected: Checksum) -> str:
    """What is wrong with the size of a file, None where there is no file; "" for nothing."""
    if size is None:
        return "is missing"
    return "" if size == expected.bytes else f"is damaged: it has {size} bytes, expected {expected.bytes}"


def verify(
    folder: Folder,
    files: Mapping[str, Checksum],
    *,
    listed_in: str,
    action: str,
    kind: type[HnlmError] = StoreError,
    shown: str | None = None,
) -> None:
    """Check the size of every file, and its digest unless this process has found it right before.

    Args:
        folder: that the files are in.
        files: what is expected, by the path inside the folder.
        listed_in: name of the file that says so; errors name it.
        action: what a user should do about a damaged file.
        kind: of the error.
        shown: what errors call the folder, if not by its path.

    Raises:
        HnlmError: a file is missing, cannot be read, or is damaged; the message names the first in order.
    """

    def check(name: str) -> None:
        where = f"{shown or folder.path}/{name}"
        with storage_errors(where, action, kind):
            problem = _problem(folder.filesystem, f"{folder.path}/{name}", files[name], listed_in)
        if problem:
            raise kind(f"{where} {problem}", action)

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        list(pool.map(check, files))  # listed, so that an error of any of them is raised


def _problem(filesystem: pafs.FileSystem, path: str, expected: Checksum, listed_in: str) -> str:
    """What is wrong with a file; "" for nothing."""
    info = filesystem.get_file_info(path)
    if problem := size_problem(info.size if info.is_file else None, expected):
        return problem
    state = path, info.size, info.mtime_ns, expected.sha256
    if state not in _SOUND:
        if Checksum.of(filesystem, path).sha256 != expected.sha256:
            return f"is damaged: its checksum does not match {listed_in}"
        _SOUND.add(state)
    return ""
