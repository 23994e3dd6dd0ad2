"""Folders and files on this machine, on ``s3://`` or ``gs://``: their addresses, and what goes wrong there.

An address is a path or a URI. A URI may end in a query for its file system, such as ``?endpoint_override=HOST``. One
with credentials in it, ``s3://key:secret@bucket/folder``, is refused: addresses are written into run folders and logs.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs as pafs

from hnlm_ray.config.section import WHERE_KEYS_BELONG, without_credentials
from hnlm_ray.errors import HnlmError, StoreError

__all__ = ["Folder", "join", "refusal", "resolve", "shown", "storage_errors"]

_OF_AN_OBJECT_STORE = re.compile(r"AWS Error|google::cloud|Google Cloud")


def resolve(address: str, kind: type[HnlmError] = StoreError) -> tuple[pafs.FileSystem, str]:
    """The file system of an address, and the path on it; ``~`` is the user's home.

    Args:
        address: a path or a URI.
        kind: of the error.

    Raises:
        HnlmError: there is no such file system, or there are credentials in the address.
    """
    if without_credentials(address) != address:
        raise kind(f"there is a key or a password in the address {shown(address)}", f"set {WHERE_KEYS_BELONG} instead")
    if "://" not in address:
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(address))
    try:
        filesystem, path = pafs.FileSystem.from_uri(address)
    except (OSError, pa.ArrowException) as error:
        action = "give a path, or an address that begins with s3:// or gs://"
        raise kind(f"{shown(address)} is no place that can be reached ({_reason(error)})", action) from error
    return filesystem, path.rstrip("/")


def join(address: str, *parts: str) -> str:
    """The address of something below a folder; the query of a URI stays at its end.

    Args:
        address: of the folder.
        parts: names, or relative paths with ``/``, unescaped.
    """
    if "://" not in address:
        return os.path.join(address, *parts)
    folder, mark, query = address.partition("?")
    scheme, _, place = folder.partition("://")
    return f"{scheme}://{'/'.join([place.rstrip('/'), *map(quote, parts)])}{mark}{query}"


def shown(address: str) -> str:
    """An address as messages name it: without credentials and without the query."""
    return without_credentials(address.partition("?")[0] if "://" in address else address)


@contextlib.contextmanager
def storage_errors(
    address: str,
    action: str = "check that the place exists, is writable and has room",
    kind: type[HnlmError] = StoreError,
) -> Iterator[None]:
    """Turn what the operating system or Arrow raise about an address into an error of ours.

    Args:
        address: of the file or folder; the sentence names it.
        action: what the user should do.
        kind: of the error.
    """
    try:
        yield
    except HnlmError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise kind(f"{shown(address)}: {_reason(error)}", action) from error


def refusal(error: BaseException) -> str | None:
    """What an object store refused for good, from an error of Arrow's, perhaps in one of Ray's; None for any other."""
    cause = getattr(error, "cause", None) or error
    if not isinstance(cause, OSError) or not _OF_AN_OBJECT_STORE.search(str(cause)):
        return None
    return without_credentials(str(cause).strip().splitlines()[0])


def _reason(error: Exception) -> str:
    """What Arrow or the operating system say, without credentials."""
    return without_credentials(str(error).split("Detail:")[0].strip())


@dataclass(frozen=True)
class Folder:
    """A folder of a run, which need not exist yet. Every method that touches files raises StoreError.

    Attributes:
        filesystem: where it is.
        path: its path on that file system.
    """

    filesystem: pafs.FileSystem
    path: str

    def folder(self, name: str) -> Folder:
        """A folder inside this one."""
        return Folder(self.filesystem, f"{self.path}/{name}")

    @property
    def exists(self) -> bool:
        """Whether there is such a folder."""
        return bool(self.filesystem.get_file_info(self.path).type == pafs.FileType.Directory)

    def files(self) -> list[str]:
        """Names of the files directly inside, sorted; empty for a folder that does not exist."""
        return self._names(pafs.FileType.File)

    def folders(self) -> list[str]:
        """Names of the folders directly inside, sorted; empty for a folder that does not exist."""
        return self._names(pafs.FileType.Directory)

    def _names(self, kind: pafs.FileType) -> list[str]:
        with storage_errors(self.path):
            found = self.filesystem.get_file_info(pafs.FileSelector(self.path, allow_not_found=True))
            return sorted(info.base_name for info in found if info.type == kind)

    def create(self) -> None:
        """Make the folder, and those above it."""
        with storage_errors(self.path):
            self.filesystem.create_dir(self.path, recursive=True)

    def clear(self) -> None:
        """Delete everything inside."""
        with storage_errors(self.path):
            if self.exists:
                self.filesystem.delete_dir_contents(self.path)

    def read_bytes(self, name: str) -> bytes:
        """The content of a file."""
        path = f"{self.path}/{name}"
        with storage_errors(path), self.filesystem.open_input_file(path) as stream:
            content: bytes = stream.read()
            return content

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file; it appears whole or not at all."""
        with self.replacing(name) as temporary, self.filesystem.open_output_stream(temporary) as stream:
            stream.write(content)

    def fetch(self, place: Path) -> None:
        """Copy everything inside to a folder of this machine."""
        with storage_errors(self.path):
            pafs.copy_files(self.path, str(place), source_filesystem=self.filesystem)

    def put(self, place: Path) -> None:
        """Copy everything inside a folder of this machine into this one."""
        self.create()
        with storage_errors(self.path):
            pafs.copy_files(str(place), self.path, destination_filesystem=self.filesystem)

    def delete_scratch(self) -> None:
        """Delete every file and folder inside whose name begins with an underscore."""
        with storage_errors(self.path):
            for info in self.filesystem.get_file_info(pafs.FileSelector(self.path, allow_not_found=True)):
                if info.base_name.startswith("_"):
                    delete = self.filesystem.delete_file if info.is_file else self.filesystem.delete_dir
                    delete(info.path)

    def sync(self, *names: str) -> None:
        """Have files outlive a power cut, and that they are in this folder; object stores see to it themselves."""
        for path in (*(f"{self.path}/{name}" for name in names), self.path):
            self._sync(path)

    def _sync(self, path: str) -> None:
        if not isinstance(self.filesystem, pafs.LocalFileSystem):
            return
        with storage_errors(path):
            number = os.open(path, os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[str]:
        """A path to write a file to; it gets its name when the body ends, and is deleted when the body fails.

        Once it has its name it outlives a power cut.
        """
        path = f"{self.path}/{name}"
        folder, _, base = path.rpartition("/")
        temporary = f"{folder}/_{base}.{os.getpid()}.tmp"
        with storage_errors(path):
            try:
                yield temporary
                self._sync(temporary)
                self.filesystem.move(temporary, path)
                self._sync(folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    self.filesystem.delete_file(temporary)
                raise
