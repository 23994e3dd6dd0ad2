"""The run folder: one folder per stage and fingerprint, whose manifest is written last.

::

    <run>/<stage>/<fingerprint>/<table>.parquet        one file, or a folder of part files
                                manifest.json          present if and only if the artifact is complete
                                _<name>                scratch: checkpoints, work to resume; deleted after the manifest

A fingerprint covers the stage's code version, the configuration sections it reads and the fingerprints of its inputs,
so a changed option never reuses an old result and an unchanged one never runs twice. Nothing is ever changed in place:
a crash leaves a folder without a manifest, which the next run resumes or clears.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hnlm_ray.errors import StoreError
from hnlm_ray.run.places import Folder, join, resolve, storage_errors
from hnlm_ray.tables import TABLES, conform

__all__ = ["Artifact", "RunStore", "fingerprint"]

MANIFEST = "manifest.json"


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Twelve hex digits that change when any part does; parts must be JSON values."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


@dataclass(frozen=True)
class Artifact(Folder):
    """One stage's folder. What a stage needs only until it is complete has a name that begins with an underscore.

    Attributes:
        filesystem: where it is.
        path: its path on that file system.
        stage: the stage that writes it.
        fingerprint: what it depends on.
        address: its path, or its URI with the query of its file system: what another process opens it by.
    """

    stage: str
    fingerprint: str
    address: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether the manifest has been written."""
        return bool(self.filesystem.get_file_info(f"{self.path}/{MANIFEST}").type == pafs.FileType.File)

    def manifest(self) -> dict[str, Any]:
        """The manifest of a complete artifact.

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
        """Path of a table (``name.parquet``, file or folder) or of any other file inside the artifact."""
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
        table = conform(table, TABLES[name], self.path_of(name))
        with self.replacing(f"{name}.parquet") as temporary:
            pq.write_table(table, temporary, filesystem=self.filesystem)

    def commit(self, manifest: Mapping[str, Any]) -> None:
        """Declare the artifact complete: write the manifest, and only then delete what the stage needed to resume."""
        content = {"stage": self.stage, "fingerprint": self.fingerprint, "committed": time.time(), **manifest}
        self.write_bytes(MANIFEST, json.dumps(content, indent=2, sort_keys=True, default=str).encode())
        self.delete_scratch()


class RunStore:
    """A run folder on a path or on ``s3://`` / ``gs://``."""

    def __init__(self, root: str) -> None:
        self.filesystem, self.root = resolve(root)
        self.address = root if "://" in root else self.root

    def artifact(self, stage: str, stage_fingerprint: str) -> Artifact:
        """The artifact of a stage, whether it exists or not."""
        path, address = f"{self.root}/{stage}/{stage_fingerprint}", join(self.address, stage, stage_fingerprint)
        return Artifact(self.filesystem, path, stage, stage_fingerprint, address)

    def read_text(self, name: str) -> str | None:
        """A small file at the root of the run, or None."""
        path = f"{self.root}/{name}"
        if self.filesystem.get_file_info(path).type != pafs.FileType.File:
            return None
        with storage_errors(path), self.filesystem.open_input_stream(path) as stream:
            return bytes(stream.read()).decode()

    def write_text(self, name: str, content: str) -> None:
        """A small file at the root of the run; it appears whole or not at all."""
        Folder(self.filesystem, self.root).write_bytes(name, content.encode())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process. Only local folders can be locked.

        Raises:
            StoreError: the folder cannot be written, or another process holds it.
        """
        with storage_errors(self.root):
            self.filesystem.create_dir(self.root, recursive=True)
        if not isinstance(self.filesystem, pafs.LocalFileSystem):
            yield
            return
        path = f"{self.root}/.lock"
        with contextlib.ExitStack() as stack:
            with storage_errors(path):
                stream = stack.enter_context(open(path, "a"))
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                what = f"another process is working on {self.root}"
                raise StoreError(what, "wait for it, or give another run=") from error
            yield
