"""The folder that a job writes many files into, and that becomes visible as a whole."""

from __future__ import annotations

import contextlib
import functools
import json
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
_MOVES_AT_ONCE = 8

output_errors = functools.partial(storage_errors, action="give a folder that every node can write to", kind=StoreError)
"""Turns storage errors about the folder into :class:`StoreError`."""


class OutputFolder:
    """A folder whose files become visible together.

    Until then they are in a hidden folder: on a local disk beside the folder, where one move publishes it; in an object
    store inside the folder, where each file is moved and :data:`DONE` comes last. Readers of Parquet folders skip names
    with an underscore.

    Attributes:
        staging: path of the hidden folder on the file system.
    """

    def __init__(self, to: str) -> None:
        """Refer to a folder, which need not exist yet.

        Args:
            to: its address, local or remote.

        Raises:
            StoreError: the address has no known file system.
        """
        self._filesystem, self._place = resolve(to)
        self._is_local = isinstance(self._filesystem, pafs.LocalFileSystem)
        token = uuid.uuid4().hex[:8]
        parent, _, name = self._place.rpartition("/")
        inside = f"{self._place}/{_UNFINISHED}-{token}"
        self.staging = f"{parent}/.{name}{_UNFINISHED}-{token}" if self._is_local else inside

    def check_free(self) -> None:
        """Raise a StoreError if the folder is not empty; hidden leftovers of killed runs do not count."""
        with output_errors(self._place):
            if self._filesystem.get_file_info(self._place).is_file:
                raise StoreError(f"{self._place} is a file", "give a folder that is absent or empty")
            listed = self._filesystem.get_file_info(pafs.FileSelector(self._place, allow_not_found=True))
        names = {entry.base_name for entry in listed if not entry.base_name.startswith(_UNFINISHED)}
        if names:
            complete = "recommendations" if DONE in names else f"files and no {DONE}"
            raise StoreError(f"{self._place} holds {complete}", "give another folder, or remove this one")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Create the hidden folder, and delete what is left of it at the end, whatever happens."""
        with output_errors(self._place):
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
                self._filesystem.move(self.staging, self._place)
                return
            with ThreadPoolExecutor(_MOVES_AT_ONCE) as pool:
                list(pool.map(self._publish, sizes))
            self._publish(DONE)

    def _publish(self, name: str) -> None:
        self._filesystem.move(f"{self.staging}/{name}", f"{self._place}/{name}")
