"""Unpacking what is needed of a zip archive, and nothing else."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from hnlm_ray.errors import DataError

__all__ = ["unpack"]

_LARGEST = 8 << 30
"""Bytes of the largest file that is unpacked; no data set of the list has one of this size."""

_CHUNK = 1 << 20


def unpack(archive: Path, members: Sequence[str], largest: int = _LARGEST) -> list[str]:
    """Write some files of an archive beside it.

    A file gets the last part of the path that the caller names, so no path of the archive itself is used. Each file
    appears whole or not at all.

    Args:
        archive: the zip file.
        members: paths inside it.
        largest: bytes that a file may have.

    Returns:
        Their names in the folder, in the order given.

    Raises:
        DataError: the archive is damaged, encrypted, lacks a file, or has one that is too large.
    """
    action = f"delete {archive.name} and fetch it again"
    try:
        with zipfile.ZipFile(archive) as content:
            missing = [member for member in members if member not in content.NameToInfo]
            if missing:
                raise DataError(f"{archive} lacks {missing[0]}", action)
            return [_write(content, member, archive.parent, largest) for member in members]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{archive} cannot be unpacked ({error})", action) from error


def _write(content: zipfile.ZipFile, member: str, folder: Path, largest: int) -> str:
    target = folder / PurePosixPath(member).name
    temporary = target.with_name(f".{target.name}.unpacking")
    try:
        with content.open(member) as source, temporary.open("wb") as stream:
            _copy(source, stream, largest, f"{member} in {content.filename}")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target.name


def _copy(source: IO[bytes], target: IO[bytes], largest: int, name: str) -> None:
    """Copy to the end; what the archive says of the size is not relied on."""
    left = largest
    while piece := source.read(_CHUNK):
        left -= len(piece)
        if left < 0:
            raise DataError(f"{name} has more than {largest:,} bytes", "check where the archive comes from")
        target.write(piece)
