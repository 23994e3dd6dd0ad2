"""The run folder: one folder per stage and fingerprint, whose manifest is written last.

::

    <run>/<stage>/<fingerprint>/<table>.parquet        one file, or a folder of part files
                                manifest.json          written last: without it the artifact is not complete
                                _<name>                scratch: checkpoints, work to resume; deleted after the manifest

A fingerprint covers the stage's code version, the configuration sections it reads and the fingerprints of its inputs,
so a changed option never reuses an old result and an unchanged one never runs twice. Nothing is ever changed in place:
a crash leaves a folder without a manifest, which the next run resumes or clears.

The manifest holds size and checksum of every file. Sizes are compared whenever an artifact is asked whether it is
complete, and the checksums of what is read once per process, so that a damaged file is named and never used.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hnlm_ray.errors import StoreError
from hnlm_ray.run.checksums import Checksum, size_problem, verify
from hnlm_ray.run.manifest import MANIFEST, Manifest, StageFile
from hnlm_ray.run.places import Folder, join, resolve, storage_errors
from hnlm_ray.run.rows import read_parts, write_parts
from hnlm_ray.tables import TABLES, conform

__all__ = ["Artifact", "RunStore", "fingerprint"]

_ROW_GROUP = 1 << 16
"""Rows of a table that a reader of parts decodes together."""


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
        """Whether the manifest has been written, and the files that it lists are there in their sizes.

        Raises:
            StoreError: there is a manifest, but it or a file that it lists is damaged, missing, or from elsewhere.
        """
        manifest = self._manifest()
        if manifest is None:
            return False
        found = self._sizes()
        for name, expected in manifest.files.items():
            if problem := size_problem(found.get(name), expected):
                raise StoreError(f"{self.path}/{name} {problem}", self._cure)
        return True

    def manifest(self) -> Manifest:
        """The manifest of a complete artifact.

        Raises:
            StoreError: there is none, it is damaged, or it is that of another stage, fingerprint or version.
        """
        manifest = self._manifest()
        if manifest is None:
            raise StoreError(f"there is no {self.path}/{MANIFEST}", "run the stage again")
        return manifest

    def verify(self, name: str | None = None) -> None:
        """Check size and checksum of files; a checksum is computed once per process. Does nothing before the commit.

        Args:
            name: a table, a file, or a folder of files; None for all, of which then none may be unlisted either.

        Raises:
            StoreError: a file is missing, damaged, or not listed in the manifest, or the manifest is damaged.
        """
        manifest = self._manifest()
        if manifest is None:
            return
        listed = {file: known for file, known in manifest.files.items() if _belongs(file, name)}
        stray = sorted(file for file in self._sizes() if _belongs(file, name) and file not in listed)
        if stray:
            raise StoreError(f"{self.path}/{stray[0]} is not listed in {MANIFEST}", "delete that file")
        if name is not None and not listed:
            raise StoreError(f"there is no {self.path_of(name)}", self._cure)
        verify(self, listed, listed_in=MANIFEST, action=self._cure)

    @property
    def _cure(self) -> str:
        return f"delete the folder {self.path} and run again, which makes it anew"

    def _manifest(self) -> Manifest | None:
        """None where it has not been written; errors as in :meth:`manifest`."""
        path = f"{self.path}/{MANIFEST}"
        with storage_errors(path, self._cure):
            if self.filesystem.get_file_info(path).type == pafs.FileType.NotFound:
                return None
            content = super().read_bytes(MANIFEST)
        try:
            manifest = Manifest.from_json(content)
        except ValueError as error:
            raise StoreError(f"{path} is damaged ({error})", self._cure) from error
        if misfit := manifest.misfit(self.stage, self.fingerprint):
            raise StoreError(f"{path} does not fit its folder: {misfit}", self._cure)
        return manifest

    def _sizes(self) -> dict[str, int]:
        """Bytes of each file by its path inside the folder, without the manifest and scratch."""
        with storage_errors(self.path, self._cure):
            found = self.filesystem.get_file_info(pafs.FileSelector(self.path, recursive=True, allow_not_found=True))
        names = {info.path.removeprefix(f"{self.path}/"): info.size for info in found if info.is_file}
        return {name: size for name, size in names.items() if name != MANIFEST and not name.startswith("_")}

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
            StoreError: it cannot be read, or the artifact is complete and it is not what was committed.
            DataError: it lacks a column.
        """
        self.verify(name)
        path, schema = self.path_of(name), TABLES[name]
        try:
            table = pq.read_table(path, columns=columns, filesystem=self.filesystem)
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(f"{path} cannot be read ({error})", self._cure) from error
        if columns is not None:
            schema = pa.schema([schema.field(column) for column in columns])
        return conform(table, schema, path)

    def parts(self, name: str, columns: list[str] | None = None, *, by: str | None = None) -> Iterator[pa.Table]:
        """A table that is one file, a part at a time, each checked against its schema; none of them is empty.

        Args:
            name: a key of :data:`hnlm_ray.tables.TABLES`.
            columns: read only these.
            by: a column that the table is sorted by, and ``columns`` has: rows of one value come in one part.

        Raises:
            StoreError: it cannot be read, or the artifact is complete and it is not what was committed.
            DataError: it lacks a column.
        """
        self.verify(name)
        path, schema = self.path_of(name), TABLES[name]
        if columns is not None:
            schema = pa.schema([schema.field(column) for column in columns])
        held = schema.empty_table()
        try:
            with pq.ParquetFile(path, filesystem=self.filesystem) as file:
                for part in read_parts(file, columns):
                    rows = pa.concat_tables([held, conform(part, schema, path)])
                    whole = rows.num_rows if by is None else _before_last(rows[by])
                    held = rows.slice(whole)
                    if whole:
                        yield rows.slice(0, whole)
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(f"{path} cannot be read ({error})", self._cure) from error
        if held.num_rows:
            yield held

    def read_bytes(self, name: str) -> bytes:
        """The content of a file, as it was committed."""
        self.verify(name)
        return super().read_bytes(name)

    def write(self, name: str, table: pa.Table) -> None:
        """Write a table as one file; it appears whole or not at all."""
        table = conform(table, TABLES[name], self.path_of(name))
        with self.replacing(f"{name}.parquet") as temporary:
            pq.write_table(table, temporary, filesystem=self.filesystem, row_group_size=_ROW_GROUP)

    def write_parts(self, name: str, parts: Iterable[pa.Table]) -> None:
        """Write a table that is made a part at a time; it appears whole or not at all."""
        schema, path = TABLES[name], self.path_of(name)
        conformed = (conform(part, schema, path) for part in parts)
        with self.replacing(f"{name}.parquet") as temporary:
            write_parts(conformed, temporary, self.filesystem, schema)

    def commit(self, content: Mapping[str, Any]) -> None:
        """Declare the artifact complete: write the manifest, and only then delete what the stage needed to resume.

        Args:
            content: the fields of :class:`~hnlm_ray.run.manifest.Manifest` that the caller knows: ``seconds``,
                ``rows``, ``counts``, ``warnings``, ``inputs``.
        """
        with storage_errors(self.path):
            files = {name: self._recorded(name) for name in self._sizes()}
            self.sync(*files)
        own = {"stage": self.stage, "fingerprint": self.fingerprint, "committed": time.time(), "files": files}
        self.write_bytes(MANIFEST, Manifest(**{**content, **own}).to_json())
        self.delete_scratch()

    def _recorded(self, name: str) -> StageFile:
        path = f"{self.path}/{name}"
        is_table = name.endswith(".parquet")
        rows = pq.read_metadata(path, filesystem=self.filesystem).num_rows if is_table else None
        return StageFile(**Checksum.of(self.filesystem, path).model_dump(), rows=rows)


def _before_last(sorted_values: pa.ChunkedArray) -> int:
    """How many rows come before those of the last value."""
    values = sorted_values.to_numpy()
    return int(np.searchsorted(values, values[-1])) if values.size else 0


def _belongs(file: str, name: str | None) -> bool:
    """Whether a file is what a name stands for, a table, file or folder, or inside it; None stands for everything."""
    return name is None or file in (name, f"{name}.parquet") or file.startswith((f"{name}/", f"{name}.parquet/"))


class RunStore:
    """A run folder on a path or on ``s3://`` / ``gs://``."""

    def __init__(self, root: str) -> None:
        self.filesystem, self.root = resolve(root)
        self.address = root if "://" in root else self.root

    def artifact(self, stage: str, stage_fingerprint: str) -> Artifact:
        """The artifact of a stage, whether it exists or not."""
        path, address = f"{self.root}/{stage}/{stage_fingerprint}", join(self.address, stage, stage_fingerprint)
        return Artifact(self.filesystem, path, stage, stage_fingerprint, address)

    def artifacts(self) -> list[Artifact]:
        """Every artifact in the run, complete or not, of any configuration that it was run with; sorted by stage."""
        root = Folder(self.filesystem, self.root)
        return [self.artifact(stage, one) for stage in root.folders() for one in root.folder(stage).folders()]

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
