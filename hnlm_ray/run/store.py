"""The run folder: one folder per stage and fingerprint, whose manifest is written last.

::

    <run>/<stage>/<fingerprint>/<table>.parquet        one file, or a folder of part files
                                manifest.json          present if and only if the artefact is complete

A fingerprint covers the stage's code version, the configuration sections it reads and the fingerprints of its inputs,
so a changed option never reuses an old result and an unchanged one never runs twice. Nothing is ever changed in place:
a crash leaves a folder without a manifest, which the next run resumes or clears.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hnlm_ray.errors import StoreError
from hnlm_ray.run.places import join, resolve, storage_errors
from hnlm_ray.tables import TABLES, conform

__all__ = ["Artifact", "RunStore", "fingerprint"]

_storage_errors = functools.partial(
    storage_errors, action="check that the place exists, is writable and has room", kind=StoreError
)

MANIFEST = "manifest.json"


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Twelve hex digits that change when any part does; parts must be JSON values."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


@dataclass(frozen=True)
class Artifact:
    """One stage's folder.

    Attributes:
        filesystem: where it is.
        path: its path on that file system.
        stage: the stage that writes it.
        fingerprint: what it depends on.
        address: its path, or its URI with the query of its file system: what another process opens it by.
    """

    filesystem: pafs.FileSystem
    path: str
    stage: str
    fingerprint: str
    address: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether the manifest has been written."""
        return bool(self.filesystem.get_file_info(f"{self.path}/{MANIFEST}").type == pafs.FileType.File)

    def manifest(self) -> dict[str, Any]:
        """The manifest of a complete artefact.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        try:
            with self.filesystem.open_input_stream(f"{self.path}/{MANIFEST}") as stream:
                content: dict[str, Any] = json.loads(stream.read())
                return content
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.path}/{MANIFEST} cannot be read ({error})", "run the stage again") from error

    def path_of(self, name: str) -> str:
        """Path of a table (``name.parquet``, file or folder) or of any other file inside the artefact."""
        return f"{self.path}/{name}" if "." in name else f"{self.path}/{name}.parquet"

    def has(self, name: str) -> bool:
        """Whether a table or file exists."""
        return bool(self.filesystem.get_file_info(self.path_of(name)).type != pafs.FileType.NotFound)

    def read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A table, checked against its schema.

        Args:
            name: a key of :data:`hnlm_ray.tables.TABLES`.
            columns: read only these.

        Raises:
            StoreError: it cannot be read.
            DataError: it lacks a column.
        """
        path, schema = self.path_of(name), TABLES[name]
        try:
            table = pq.read_table(path, columns=columns, filesystem=self.filesystem)
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(f"{path} cannot be read ({error})", "delete its folder and run the stage again") from error
        if columns is not None:
            schema = pa.schema([schema.field(column) for column in columns])
        return conform(table, schema, path)

    def write(self, name: str, table: pa.Table) -> None:
        """Write a table as one file; it appears whole or not at all."""
        path = self.path_of(name)
        with _storage_errors(path), self._replacing(path) as temporary:
            pq.write_table(conform(table, TABLES[name], path), temporary, filesystem=self.filesystem)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write any other file; it appears whole or not at all."""
        path = self.path_of(name)
        with _storage_errors(path), self._replacing(path) as temporary:
            stream = self.filesystem.open_output_stream(temporary)
            with stream:
                stream.write(content)

    def read_bytes(self, name: str) -> bytes:
        """The content of any other file."""
        path = self.path_of(name)
        with _storage_errors(path), self.filesystem.open_input_file(path) as stream:
            content: bytes = stream.read()
            return content

    def create(self) -> None:
        """Make the folder."""
        with _storage_errors(self.path):
            self.filesystem.create_dir(self.path, recursive=True)

    def clear(self) -> None:
        """Delete what an interrupted run left."""
        with _storage_errors(self.path):
            if self.filesystem.get_file_info(self.path).type == pafs.FileType.Directory:
                self.filesystem.delete_dir_contents(self.path)

    def commit(self, manifest: Mapping[str, Any]) -> None:
        """Declare the artefact complete: write the manifest, last."""
        content = {"stage": self.stage, "fingerprint": self.fingerprint, "committed": time.time(), **manifest}
        self.write_bytes(MANIFEST, json.dumps(content, indent=2, sort_keys=True, default=str).encode())

    @contextlib.contextmanager
    def _replacing(self, path: str) -> Iterator[str]:
        folder, name = path.rsplit("/", 1)
        # The underscore hides a leftover from readers of the folder.
        temporary = f"{folder}/_{name}.{os.getpid()}.tmp"
        try:
            yield temporary
            self.filesystem.move(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                self.filesystem.delete_file(temporary)
            raise


class RunStore:
    """A run folder on a path or on ``s3://`` / ``gs://``."""

    def __init__(self, root: str) -> None:
        self.filesystem, self.root = resolve(root)
        self.address = root if "://" in root else self.root

    def artifact(self, stage: str, stage_fingerprint: str) -> Artifact:
        """The artefact of a stage, whether it exists or not."""
        path, address = f"{self.root}/{stage}/{stage_fingerprint}", join(self.address, stage, stage_fingerprint)
        return Artifact(self.filesystem, path, stage, stage_fingerprint, address)

    def read_text(self, name: str) -> str | None:
        """A small file at the root of the run, or None."""
        path = f"{self.root}/{name}"
        if self.filesystem.get_file_info(path).type != pafs.FileType.File:
            return None
        with _storage_errors(path), self.filesystem.open_input_stream(path) as stream:
            return bytes(stream.read()).decode()

    def write_text(self, name: str, content: str) -> None:
        """A small file at the root of the run; it appears whole or not at all."""
        Artifact(self.filesystem, self.root, "", "").write_bytes(name, content.encode())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process. Only local folders can be locked.

        Raises:
            StoreError: the folder cannot be written, or another process holds it.
        """
        with _storage_errors(self.root):
            self.filesystem.create_dir(self.root, recursive=True)
        if not isinstance(self.filesystem, pafs.LocalFileSystem):
            yield
            return
        path = f"{self.root}/.lock"
        with _storage_errors(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StoreError(
                f"another process is working on {self.root}", "wait for it, or give another run="
            ) from error
        try:
            yield
        finally:
            os.close(descriptor)
