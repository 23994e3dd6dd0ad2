"""The folder that a job writes many files into, and that becomes visible as a whole."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow.fs as pafs

from hnlm_ray.errors import StoreError
from hnlm_ray.run.places import resolve, storage_errors

__all__ = ["DONE", "OutputFolder", "output_errors"]

DONE = "_SUCCESS"
"""Written last: the content of the folder, as JSON."""

_UNFINISHED = "_unfinished"
_PART = re.compile(r"part-\d+\.parquet")
_MACHINE = f"{uuid.getnode():x}"
_MOVES_AT_ONCE = 8

output_errors = functools.partial(storage_errors, action="give a folder that every node can write to", kind=StoreError)
"""Turns storage errors about the folder into :class:`StoreError`."""


class OutputFolder:
    """A folder whose files become visible together.

    Until then they are in a hidden folder: on a local disk beside the folder, where one move publishes it; in an object
    store inside the folder, where each file is moved and :data:`DONE` comes last. Readers of Parquet folders skip names
    with an underscore.

    Attributes:
        staging: path of the hidden folder on the file system. Its name says which process writes it, so that the next
            run on this machine removes what a killed one left.
    """

    def __init__(self, to: str, *, overwrite: bool = False) -> None:
        """Refer to a folder, which need not exist yet.

        Args:
            to: its address, local or remote.
            overwrite: replace recommendations that it holds, at the end.

        Raises:
            StoreError: the address has no known file system.
        """
        self._filesystem, self._place = resolve(to)
        self._overwrite = overwrite
        self._is_local = isinstance(self._filesystem, pafs.LocalFileSystem)
        parent, _, name = self._place.rpartition("/")
        self._beside, self._prefix = (
            (parent, f".{name}{_UNFINISHED}-") if self._is_local else (self._place, f"{_UNFINISHED}-")
        )
        self.staging = f"{self._beside}/{self._prefix}{_MACHINE}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def check_free(self) -> None:
        """Check that the folder may be written; hidden leftovers of killed runs do not count.

        Raises:
            StoreError: it is not empty; with ``overwrite``, it holds anything but recommendations.
        """
        with output_errors(self._place):
            if self._filesystem.get_file_info(self._place).is_file:
                raise StoreError(f"{self._place} is a file", "give a folder that is absent or empty")
            listed = self._filesystem.get_file_info(pafs.FileSelector(self._place, allow_not_found=True))
        names = {entry.base_name for entry in listed if not entry.base_name.startswith(_UNFINISHED)}
        others = sorted(name for name in names if name != DONE and not _PART.fullmatch(name))
        if names and DONE not in names:
            raise StoreError(f"{self._place} holds files and no {DONE}", "give another folder, or remove this one")
        if names and not self._overwrite:
            raise StoreError(f"{self._place} holds recommendations", "give another folder, or add --overwrite")
        if others:
            what = f"{self._place} holds {others[0]} besides recommendations"
            raise StoreError(what, "give another folder, since this one is replaced as a whole")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Create the hidden folder, and delete what is left of it at the end, whatever happens."""
        with output_errors(self._place):
            self._delete_abandoned()
            self._filesystem.create_dir(self.staging, recursive=True)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # after the move it is gone
                self._filesystem.delete_dir(self.staging)

    def finish(self, sizes: dict[str, int], about: dict[str, object]) -> None:
        """Make the files visible.

        Args:
            sizes: expected bytes of each file by name.
            about: further content of :data:`DONE`.

        Raises:
            StoreError: a file is missing or has another size, or the folder cannot be written.
        """
        with output_errors(self._place):
            found = self._filesystem.get_file_info([f"{self.staging}/{name}" for name in sizes])
            lost = [info.base_name for info in found if info.size != sizes[info.base_name]]
            if lost:
                raise StoreError(f"{self.staging}/{lost[0]} is lost", "give a folder that every node reaches")
            content = json.dumps({**about, "files": list(sizes)}, indent=2).encode()
            with self._filesystem.open_output_stream(f"{self.staging}/{DONE}") as stream:
                stream.write(content)
            if self._is_local:
                self._move_in_place()
                return
            self._delete_published()
            with ThreadPoolExecutor(_MOVES_AT_ONCE) as pool:
                list(pool.map(self._publish, sizes))
            self._publish(DONE)

    def _move_in_place(self) -> None:
        if not self._overwrite:
            self._filesystem.move(self.staging, self._place)
            return
        old = f"{self.staging}-replaced"
        if self._filesystem.get_file_info(self._place).type == pafs.FileType.Directory:
            self._filesystem.move(self._place, old)
        self._filesystem.move(self.staging, self._place)
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_dir(old)

    def _delete_published(self) -> None:
        """Delete recommendations of before, the mark that they are complete first."""
        listed = self._filesystem.get_file_info(pafs.FileSelector(self._place, allow_not_found=True))
        files = [entry.base_name for entry in listed if entry.is_file]
        for name in sorted(files, key=lambda name: name != DONE):
            self._filesystem.delete_file(f"{self._place}/{name}")

    def _delete_abandoned(self) -> None:
        """Delete the hidden folders of processes of this machine that have ended."""
        listed = self._filesystem.get_file_info(pafs.FileSelector(self._beside, allow_not_found=True))
        for entry in listed:
            machine, _, rest = entry.base_name.removeprefix(self._prefix).partition("-")
            process = rest.partition("-")[0]
            is_ours = entry.base_name.startswith(self._prefix) and machine == _MACHINE and process.isdecimal()
            if is_ours and not os.path.exists(f"/proc/{process}"):
                self._filesystem.delete_dir(entry.path)

    def _publish(self, name: str) -> None:
        self._filesystem.move(f"{self.staging}/{name}", f"{self._place}/{name}")
