"""Which files of the data folder are read: a local folder, or one on ``s3://`` or ``gs://``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import pyarrow.fs as pafs

from hnlm_ray.errors import DataError
from hnlm_ray.run.places import resolve, shown, storage_errors

__all__ = [
    "DataFolder",
    "Files",
    "UsualNames",
    "belong_together",
    "find_files",
    "has_extension",
    "named",
    "open_folder",
    "split_of",
]

_SPLITS = ("train", "valid", "test")
_PACKED = ("gz", "bz2", "zst", "lz4")
_PART = re.compile(r"[-_]\d+$")
_SHOWN = 5


@dataclass(frozen=True)
class UsualNames:
    """Patterns of the names that the files of a format usually have; the first that finds anything decides.

    Attributes:
        interactions: of the files of interactions.
        items: of the files of items.
        not_interactions: of files that a pattern of ``interactions`` fits and does not mean.
        has_header: whether every file begins with a line that names its fields; a CSV file always does.
        shares: what the files of items have in common with those of interactions: their ``folder``, or also their
            ``name``; then no two names are parts of one data set.
    """

    interactions: tuple[str, ...]
    items: tuple[str, ...]
    not_interactions: tuple[str, ...] = ()
    has_header: bool = False
    shares: Literal["nothing", "folder", "name"] = "nothing"


@dataclass(frozen=True)
class DataFolder:
    """The folder with the raw data.

    Attributes:
        filesystem: where it is.
        root: its path on that file system.
        names: paths of all its files below ``root``, sorted; without those that are hidden, or in a hidden folder.
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
    shown_names = (name for name in names if not any(part.startswith((".", "_")) for part in name.split("/")))
    return DataFolder(filesystem, root.rstrip("/"), tuple(shown_names))


def find_files(
    folder: DataFolder,
    option: str,
    given: str | None,
    patterns: Sequence[str],
    exclude: Sequence[str] = (),
    *,
    has_parts: bool = True,
) -> Files:
    """The files of interactions, or of items: by the user's pattern, or by the usual names of the format.

    A folder that has the name of a file, as Spark writes it, stands for the files in it.

    Args:
        folder: where they are.
        option: the configuration key of ``given``, named in errors.
        given: a file or pattern below the folder, or None.
        patterns: usual names; the first that finds anything decides. One without a slash also looks one folder down.
        exclude: patterns of names that ``patterns`` do not mean.
        has_parts: whether files whose names differ in the number at their end are parts of one data set.

    Raises:
        DataError: nothing was found, or, by the usual names, several data sets.
    """
    if given is not None:
        found = [name for name in folder.names if fnmatchcase(name, given)]
        found = found or [name for name in folder.names if fnmatchcase(_parent(name), given)]
    else:
        by_pattern = {pattern: _usual(folder, pattern, exclude) for pattern in patterns}
        first = next((pattern for pattern in patterns if by_pattern[pattern]), None)
        found = list(by_pattern[first]) if first is not None else []
        rivals = [place for pattern in patterns if "*" not in pattern for place in by_pattern[pattern].values()]
        if first is not None:
            _require_one(folder.root, option, set(by_pattern[first].values()), set(rivals), has_parts)
    if found:
        return Files(folder.filesystem, tuple(f"{folder.root}/{name}" for name in found))
    looked = repr(given) if given is not None else " or ".join(patterns)
    raise DataError(
        f"{folder.root} has no file {looked} (it holds {named('', folder.names) or 'nothing'})",
        f"check data.path and data.format, or name the file with {option}",
    )


def belong_together(interactions: Files, items: Files, usual: UsualNames) -> bool:
    """Whether the files of items have in common with those of interactions what the format says."""
    if usual.shares == "nothing":
        return True
    shared = _data_set if usual.shares == "name" else _parent
    return {shared(path) for path in interactions.paths} >= {shared(path) for path in items.paths}


def split_of(path: str) -> str | None:
    """The split that the name of a file gives, as ``toy.train.inter`` does."""
    return next((part for part in _base(path).split(".")[1:] if part in _SPLITS), None)


def named(root: str, paths: Sequence[str]) -> str:
    """Some files of a folder as messages name them: the first few of their names."""
    names = [path.removeprefix(f"{root}/") for path in paths[:_SHOWN]]
    return ", ".join(names) + (f" and {len(paths) - _SHOWN:,} more" if len(paths) > _SHOWN else "")


def _usual(folder: DataFolder, pattern: str, exclude: Sequence[str]) -> dict[str, str]:
    """The files that a usual name fits, each with what has the name: the file, or the folder that stands for it."""
    found = {}
    for name in folder.names:
        parent = _parent(name)
        if any(fnmatchcase(_base(name), other) for other in exclude):
            continue
        if "/" in pattern:
            if fnmatchcase(name, pattern):
                found[name] = _parent(pattern)
        elif name.count("/") <= 1 and fnmatchcase(_base(name), pattern):
            found[name] = name
        elif parent.count("/") <= 1 and _base(parent) == pattern and has_extension(name, *pattern.split(".")[1:]):
            found[name] = parent
    return found


def _require_one(root: str, option: str, places: set[str], rivals: set[str], has_parts: bool) -> None:
    """Refuse files of several data sets: in several folders, under several names, or both whole and split.

    Args:
        root: the folder of the data.
        option: the configuration key that names files.
        places: what has the usual name that decided.
        rivals: what has another one.
        has_parts: whether names that differ in the number at their end are one.
    """
    titles = {_data_set(place) for place in places}
    if has_parts and all(_PART.search(title) for title in titles):
        titles = {_PART.sub("", title) for title in titles}
    folders = {_parent(place) for place in places | rivals}
    is_split = {split_of(place) is not None for place in places}
    if len(titles) > 1 or len(folders) > 1 or len(is_split) > 1:
        raise DataError(
            f"{root} holds several data sets: {named('', sorted(places | rivals))}",
            f"name the files that are to be read with {option}",
        )


def _data_set(place: str) -> str:
    """The path of a file without what says how it is written and which split it holds."""
    parts = _base(place).split(".")
    while len(parts) > 1 and parts[-1] in _PACKED:
        parts.pop()
    stem = parts[:1] + [part for part in parts[1:-1] if part not in _SPLITS]
    return f"{_parent(place)}/{'.'.join(stem)}"


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def has_extension(path: str, *extensions: str) -> bool:
    """Whether a file is named as one of some kinds, compressed or not: ``ratings.csv.gz`` has the extension ``csv``."""
    return any(part in extensions for part in _base(path).split(".")[1:])
