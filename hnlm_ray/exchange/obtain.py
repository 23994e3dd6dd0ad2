"""Fetching a data set into a folder, with a record of what was fetched that later fetches are held to.

::

    ml-1m.zip                   as it was fetched
    ratings.dat, movies.dat     unpacked, what the reader reads
    data.lock                   the licence, and size, SHA-256 and source of every file; written last

A file whose digest :mod:`hnlm_ray.exchange.sets` knows is checked against it. Any other is trusted the first time, and
``data.lock`` holds it to that from then on, also in another folder that ``data.lock`` is copied to.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import pyarrow.fs as pafs
from pydantic import BaseModel, ConfigDict, ValidationError

from hnlm_ray.errors import DataError, StoreError
from hnlm_ray.exchange.archives import unpack
from hnlm_ray.exchange.fetch import digest_fits, fetch
from hnlm_ray.exchange.sets import DataSet, SetFile
from hnlm_ray.run.checksums import Checksum, verify
from hnlm_ray.run.places import Folder

__all__ = ["LOCK", "MIRROR", "Lock", "obtain", "read_lock"]

LOCK = "data.lock"
"""Name of the record."""

MIRROR = "HNLM_DATA_MIRROR"
"""Variable of the environment: an address below which ``<set>/<file>`` are fetched, instead of the publishers'."""


class LockedFile(Checksum):
    """What is known of a file."""

    source: str
    """The address it came from, ``placed by hand``, or the archive that it was unpacked from."""
    checked: str
    """The digest that it was checked against when it was fetched, or ``first use``."""


class Lock(BaseModel):
    """The content of ``data.lock``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    """Name of the data set."""
    licence: str
    """As it was accepted."""
    link: str
    """Where the publisher says so."""
    citation: str
    files: dict[str, LockedFile]
    """By their names in the folder."""


def read_lock(folder: Path) -> Lock | None:
    """The record in a folder; None where there is none.

    Raises:
        DataError: it is damaged.
    """
    path = folder / LOCK
    try:
        return Lock.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise DataError(f"{path} cannot be read ({reason})", "delete it to trust what is fetched anew") from error


def obtain(chosen: DataSet, folder: Path, say: Callable[[str], None]) -> Lock:
    """Have a data set in a folder, complete and checked; what is there already is not fetched again.

    Args:
        chosen: whose licence the user has accepted.
        folder: made if it does not exist.
        say: is told what happens.

    Returns:
        The record, as it stands in the folder.

    Raises:
        DataError: a file cannot be fetched, differs from what it should be, or the folder is that of another set.
        StoreError: the folder cannot be written.
    """
    lock = read_lock(folder)
    if lock is not None and lock.data != chosen.name:
        raise DataError(f"{folder} holds {lock.data}", "give another folder")
    known = dict(lock.files) if lock is not None else {}
    found: dict[str, LockedFile] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in chosen.files:
            found |= _file(chosen, file, folder, known, say)
        lock = Lock(data=chosen.name, licence=chosen.licence, link=chosen.link, citation=chosen.citation, files=found)
        _replace(folder / LOCK, lock.model_dump_json(indent=2).encode())
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror})", "give a folder that can be") from error
    return lock


def _file(
    chosen: DataSet, file: SetFile, folder: Path, known: Mapping[str, LockedFile], say: Callable[[str], None]
) -> dict[str, LockedFile]:
    """One file of a data set and what is unpacked of it, as the record shall have them."""
    target, before = folder / file.name, known.get(file.name)
    digest = file.digest or (f"sha256:{before.sha256}" if before is not None else None)
    if target.is_file():
        source = before.source if before is not None else "placed by hand"
        _check(target, digest)
    else:
        source = fetch(target, _addresses(chosen, file), digest, say)
        say(f"{file.name}: {target.stat().st_size / 1e6:,.1f} MB, {'checked' if digest else 'trusted on first use'}")
    checked = before.checked if before is not None else digest or "first use"
    found = {file.name: _locked(target, source, checked)}
    if before is not None and before.sha256 != found[file.name].sha256:
        raise DataError(
            f"{target} is not what {folder / LOCK} says", f"delete one of the two, and {file.name} is checked anew"
        )
    names = [PurePosixPath(member).name for member in file.members]
    listed = {name: known[name] for name in names if name in known}
    if len(listed) < len(names) or not all((folder / name).is_file() for name in names):
        unpack(target, file.members)
        return found | {name: _locked(folder / name, file.name, file.name) for name in names}
    action = "delete it, and it is unpacked again"
    verify(Folder(pafs.LocalFileSystem(), str(folder)), listed, listed_in=LOCK, action=action, kind=DataError)
    return found | listed


def _check(target: Path, digest: str | None) -> None:
    if digest is not None and not digest_fits(target, digest):
        raise DataError(f"{target} has another digest than {digest}", "delete it to fetch it again")


def _addresses(chosen: DataSet, file: SetFile) -> tuple[str, ...]:
    mirror = os.environ.get(MIRROR, "").strip().rstrip("/")
    return (f"{mirror}/{chosen.name}/{file.name}",) if mirror else file.addresses


def _locked(path: Path, source: str, checked: str) -> LockedFile:
    found = Checksum.of(pafs.LocalFileSystem(), str(path))
    return LockedFile(bytes=found.bytes, sha256=found.sha256, source=source, checked=checked)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
