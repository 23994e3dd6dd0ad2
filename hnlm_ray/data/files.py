"""Which files of the data folder are read: a local folder, or one on ``s3://`` or ``gs://``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pyarrow.fs as pafs

from hnlm_ray.errors import DataError
from hnlm_ray.run.places import resolve, shown, storage_errors

__all__ = ["DataFolder", "Files", "UsualNames", "find_files", "has_extension", "open_folder"]


@dataclass(frozen=True)
class UsualNames:
    """Patterns of the names that the files of a format usually have; the first that finds anything decides.

    Attributes:
        interactions: of the files of interactions.
        items: of the files of items.
        not_interactions: of files that a pattern of ``interactions`` fits and does not mean.
        has_header: whether every file begins with a line that names its fields; a CSV file always does.
    """

    interactions: tuple[str, ...]
    items: tuple[str, ...]
    not_interactions: tuple[str, ...] = ()
    has_header: bool = False


@dataclass(frozen=True)
class DataFolder:
    """The folder with the raw data.

    Attributes:
        filesystem: where it is.
        root: its path on that file system.
        names: paths of all its files below ``root``, sorted; hidden ones left out.
    """

    filesystem: pafs.FileSystem
    root: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Files:
    """The files of interactions, or of items, in the order of reading.

    Attributes:
        filesystem: where they are.
        paths: on that file system.
    """

    filesystem: pafs.FileSystem
    paths: tuple[str, ...]


def open_folder(address: str) -> DataFolder:
    """List the folder ``data.path``.

    Raises:
        DataError: it does not exist, is a file, or cannot be reached.
    """
    filesystem, root = resolve(address, DataError)
    what = f"data.path {shown(address)}"
    with storage_errors(what, "check the path and your access to it", DataError):
        info = filesystem.get_file_info(root)
        if info.type == pafs.FileType.NotFound:
            raise DataError(f"{what} does not exist", "give the folder that holds the raw files")
        if info.is_file:
            raise DataError(f"{what} is a file", "give its folder, and the file as data.interactions")
        listed = filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    start = len(root.rstrip("/")) + 1
    names = sorted(entry.path[start:] for entry in listed if entry.is_file)
    return DataFolder(filesystem, root.rstrip("/"), tuple(name for name in names if not name.startswith((".", "_"))))


def find_files(
    folder: DataFolder, option: str, given: str | None, usual: Sequence[str], exclude: Sequence[str] = ()
) -> Files:
    """The files of interactions, or of items: by the user's pattern, or by the usual names of the format.

    Args:
        folder: where they are.
        option: the configuration key of ``given``, named in the error.
        given: a file or pattern below the folder, or None.
        usual: patterns; the first that finds anything decides. One without a slash also looks one folder down.
        exclude: patterns of names that ``usual`` does not mean.

    Raises:
        DataError: nothing was found.
    """
    for pattern in [given] if given is not None else usual:
        found = [name for name in folder.names if _matches(name, pattern, given is None)]
        if given is None:
            found = [name for name in found if not any(fnmatchcase(_base(name), other) for other in exclude)]
        if found:
            return Files(folder.filesystem, tuple(f"{folder.root}/{name}" for name in found))
    looked = repr(given) if given is not None else " or ".join(usual)
    holds = ", ".join(folder.names[:5]) or "nothing"
    raise DataError(
        f"{folder.root} has no file {looked} (it holds {holds}{', ...' if len(folder.names) > 5 else ''})",
        f"check data.path and data.format, or name the file with {option}",
    )


def _matches(name: str, pattern: str, is_usual: bool) -> bool:
    if not is_usual or "/" in pattern:
        return fnmatchcase(name, pattern)
    return name.count("/") <= 1 and fnmatchcase(_base(name), pattern)


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def has_extension(path: str, *extensions: str) -> bool:
    """Whether a file is named as one of some kinds, compressed or not: ``ratings.csv.gz`` has the extension ``csv``."""
    return any(part in extensions for part in _base(path).split(".")[1:])
