"""A shelf: a folder of bundles by version, with a pointer to the one that is served.

::

    <version>/              a bundle, never changed
    current                 {"version": ..., "before": [...]}, replaced as a whole: a reader sees the old or the new one
    availability.parquet    hnlm_ray.tables.AVAILABILITY, optional: which items are available at present
    new_items.parquet       hnlm_ray.tables.NEW_ITEMS, optional: items that the bundles were not trained on

A service that is given a shelf follows the pointer; one that is given a bundle keeps serving that bundle.
"""

from __future__ import annotations

import functools
import json
import os
import re
import uuid
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hnlm_ray.errors import BundleError, DataError, StoreError
from hnlm_ray.run.places import join, resolve, shown, storage_errors
from hnlm_ray.run.record import RECORD, RunRecord
from hnlm_ray.run.stage import StageKey
from hnlm_ray.run.store import RunStore
from hnlm_ray.serving.bundle.bundle import load_bundle
from hnlm_ray.serving.bundle.info import INFO, BundleInfo, read_info
from hnlm_ray.tables import AVAILABILITY, NEW_ITEMS, conform

__all__ = ["AVAILABILITY_FILE", "NEW_ITEMS_FILE", "Offer", "Shelf", "ShelfEntry", "current_bundle", "current_offer"]

AVAILABILITY_FILE, NEW_ITEMS_FILE = "availability.parquet", "new_items.parquet"

_CURRENT = "current"
_VERSION = re.compile(r"[0-9a-f]{12}")
_REMEMBERED = 20

_storage_errors = functools.partial(
    storage_errors, action="check that the place exists and can be read and written", kind=BundleError
)


@dataclass(frozen=True)
class ShelfEntry:
    """A bundle on a shelf.

    Attributes:
        version: the name of its folder.
        info: the content of its ``bundle.json``; None where that cannot be read.
        is_current: whether the pointer names it.
        problem: why ``bundle.json`` cannot be read; empty otherwise.
    """

    version: str
    info: BundleInfo | None
    is_current: bool
    problem: str = ""


@dataclass(frozen=True)
class Offer:
    """A bundle, and what a shelf says about it.

    Attributes:
        address: of the bundle.
        unavailable: ids of the items that are not available.
        new_items: of :data:`hnlm_ray.tables.NEW_ITEMS`.
    """

    address: str
    unavailable: list[str]
    new_items: pa.Table


class Shelf:
    """A folder of bundles, local or ``s3://`` / ``gs://``.

    Attributes:
        path: its address.
        shown: the address as messages name it, without credentials and query.
    """

    def __init__(self, path: str) -> None:
        """Refer to a folder, which need not exist yet.

        Raises:
            BundleError: the address has no known file system.
        """
        self.path, self.shown = path.rstrip("/"), shown(path)
        self._filesystem, self._root = resolve(self.path, BundleError)

    @property
    def has_pointer(self) -> bool:
        """Whether the folder has a pointer."""
        return self.has(_CURRENT)

    def path_of(self, version: str) -> str:
        """The address of the bundle of a version.

        Raises:
            BundleError: the string is not a version.
        """
        if not _VERSION.fullmatch(version):
            raise BundleError(f"{version[:80]!a} is not a version, which has 12 hex digits", "see `hnlm bundles`")
        return join(self.path, version)

    def current(self) -> str:
        """The version that the pointer names.

        Raises:
            BundleError: there is no pointer, or it is damaged.
        """
        return self._pointer()[0]

    def bundles(self) -> list[ShelfEntry]:
        """All bundles, sorted by version."""
        with _storage_errors(self.path):
            selector = pafs.FileSelector(self._root, allow_not_found=True)
            names = sorted(one.base_name for one in self._filesystem.get_file_info(selector) if not one.is_file)
        current = next(iter(self._served_so_far()), None)
        return [self._shelved(name, name == current) for name in names if _VERSION.fullmatch(name)]

    def add(self, bundle: str) -> BundleInfo:
        """Verify a bundle and copy it onto the shelf, unless it is there already.

        Raises:
            BundleError: the bundle is missing or damaged, or the shelf cannot be written.
        """
        loaded = load_bundle(bundle)
        place = f"{self._root}/{loaded.info.version}"
        if self.has(f"{loaded.info.version}/{INFO}"):
            return loaded.info
        with _storage_errors(self.path):
            for name in (*loaded.info.files, INFO):  # bundle.json last: without it there is no bundle
                target = f"{place}/{name}"
                self._filesystem.create_dir(os.path.dirname(target), recursive=True)
                if name == INFO:
                    self._replace(target, loaded.info.model_dump_json(indent=2).encode())
                else:
                    pafs.copy_files(f"{loaded.folder}/{name}", target, pafs.LocalFileSystem(), self._filesystem)
        return loaded.info

    def use(self, version: str) -> None:
        """Point to a bundle of this shelf.

        Raises:
            BundleError: the bundle is missing or damaged.
        """
        self._require(version)
        found = read_info(self.path_of(version)).version
        if found != version:
            raise BundleError(
                f"{join(self.shown, version)} holds the bundle {found}", "add that one with `hnlm export`"
            )
        self._point(version, [one for one in self._served_so_far() if one != version])

    def back(self) -> str:
        """Point to the bundle that was served before, and return its version; dropped ones are passed over.

        Raises:
            BundleError: there is none.
        """
        current, *before = self._pointer()
        for place, version in enumerate(before):
            if self.has(f"{version}/{INFO}"):
                self._point(version, before[place + 1 :])
                return version
        raise BundleError(f"{self.shown} has no bundle that was served before {current}", "choose one with --use")

    def drop(self, version: str) -> None:
        """Delete a bundle that the pointer does not name.

        Raises:
            BundleError: the bundle is the current one, or missing.
        """
        self._require(version)
        if self.has_pointer and version == self.current():
            raise BundleError(f"{version} is being served", "point to another with --use first")
        with _storage_errors(self.path):
            self._filesystem.delete_file(f"{self._root}/{version}/{INFO}")  # first: without it the rest is not a bundle
            self._filesystem.delete_dir(f"{self._root}/{version}")

    def unavailable(self) -> tuple[object, list[str]]:
        """The mark of the table of availability and the ids of unavailable items; None and no ids without a file.

        Raises:
            BundleError: the file cannot be read.
            DataError: the table lacks a column.
        """
        mark, table = self._table(AVAILABILITY_FILE, AVAILABILITY)
        gone = table.filter(pc.invert(pc.fill_null(table["available"], True)))
        return mark, gone["item_id"].to_pylist()

    def new_items(self) -> tuple[object, pa.Table]:
        """The mark of the table of new items and its rows, each id once; None and no rows without a file.

        Raises:
            BundleError: the file cannot be read.
            DataError: the table lacks a column, or an item has no id.
        """
        mark, table = self._table(NEW_ITEMS_FILE, NEW_ITEMS)
        ids = table["item_id"].to_pylist()
        if not all(ids):
            where = f"row {next(row for row, one in enumerate(ids) if not one)} of {self._root}/{NEW_ITEMS_FILE}"
            raise DataError(f"{where} has no item_id", "give every new item its id")
        last = {one: row for row, one in enumerate(ids)}
        columns = [_without_nulls(table[name]) for name in NEW_ITEMS.names]
        return mark, pa.table(columns, schema=NEW_ITEMS).take(pa.array(sorted(last.values()), pa.int64()))

    def _table(self, name: str, schema: pa.Schema) -> tuple[object, pa.Table]:
        """The mark of a file and its rows; None and no rows where it is absent."""
        mark, path = self._mark(name), f"{self._root}/{name}"
        if mark is None:
            return None, schema.empty_table()
        with _storage_errors(path):
            return mark, conform(pq.read_table(path, filesystem=self._filesystem), schema, path)

    def availability_mark(self) -> object:
        """A value that changes whenever the table of availability does, without reading it; None without the file."""
        return self._mark(AVAILABILITY_FILE)

    def new_items_mark(self) -> object:
        """A value that changes whenever the table of new items does, without reading it; None without the file."""
        return self._mark(NEW_ITEMS_FILE)

    def _mark(self, name: str) -> object:
        with _storage_errors(self.path):
            found = self._filesystem.get_file_info(f"{self._root}/{name}")
        return (found.mtime_ns, found.size) if found.is_file else None

    def _shelved(self, version: str, is_current: bool) -> ShelfEntry:
        try:
            return ShelfEntry(version, read_info(self.path_of(version)), is_current)
        except BundleError as error:
            return ShelfEntry(version, None, is_current, error.problem)

    def _served_so_far(self) -> list[str]:
        """As :meth:`_pointer`, but empty without a pointer or with a damaged one, so that a new one can be written."""
        return (self._versions() or []) if self.has_pointer else []

    def _pointer(self) -> list[str]:
        """The current version, then the earlier ones, the latest first."""
        versions = self._versions()
        if versions is None:
            path = f"{self._root}/{_CURRENT}"
            raise BundleError(f"{path} cannot be understood", "choose a version with `hnlm bundles --use`")
        return versions

    def _versions(self) -> list[str] | None:
        """The versions in the pointer, the current one first; None where it is damaged."""
        path = f"{self._root}/{_CURRENT}"
        with _storage_errors(path), self._filesystem.open_input_stream(path) as stream:
            text = bytes(stream.read())
        try:
            pointer = json.loads(text)
            versions = [pointer["version"], *pointer["before"]]
            return versions if all(map(_VERSION.fullmatch, versions)) else None
        except (ValueError, KeyError, TypeError):
            return None

    def _point(self, version: str, before: list[str]) -> None:
        content = json.dumps({"version": version, "before": before[:_REMEMBERED]}) + "\n"
        with _storage_errors(self.path):
            self._replace(f"{self._root}/{_CURRENT}", content.encode())

    def _replace(self, path: str, content: bytes) -> None:
        """Write a file that appears as a whole: object stores do so by themselves, on a local disk a rename does."""
        is_local = isinstance(self._filesystem, pafs.LocalFileSystem)
        written = f"{path}.{uuid.uuid4().hex}" if is_local else path
        with self._filesystem.open_output_stream(written) as stream:
            stream.write(content)
        if is_local:
            os.replace(written, path)

    def has(self, name: str) -> bool:
        """Whether there is a file of that name inside."""
        with _storage_errors(self.path):
            return bool(self._filesystem.get_file_info(f"{self._root}/{name}").is_file)

    def _require(self, version: str) -> None:
        if not _VERSION.fullmatch(version) or not self.has(f"{version}/{INFO}"):
            raise BundleError(f"{self.shown} has no bundle {version[:80]!a}", f"see `hnlm bundles {self.shown}`")


def current_bundle(path: str) -> str:
    """The address of the bundle that a path leads to: itself, the current bundle of a shelf, or the main one of a run.

    Raises:
        BundleError: the shelf's pointer is damaged, or the run has no bundle.
    """
    shelf = Shelf(path)
    if shelf.has_pointer:
        return shelf.path_of(shelf.current())
    return _main_bundle(shelf) if shelf.has(RECORD) else path


def current_offer(path: str) -> Offer:
    """What a bundle, a shelf or a run offers at present.

    Raises:
        BundleError: the shelf's pointer is damaged, one of its tables cannot be read, or the run has no bundle.
        DataError: a table of the shelf lacks a column.
    """
    shelf = Shelf(path)
    if not shelf.has_pointer:
        return Offer(current_bundle(path), [], NEW_ITEMS.empty_table())
    return Offer(current_bundle(path), shelf.unavailable()[1], shelf.new_items()[1])


def _without_nulls(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Absent text is "" or [], as in :data:`hnlm_ray.tables.ITEMS`."""
    empty = pa.scalar([] if pa.types.is_list(column.type) else "", column.type)
    return pc.if_else(pc.is_null(column), empty, column)


def _main_bundle(run: Shelf) -> str:
    """The address of the bundle of ``serve.variant`` in a run folder."""
    try:
        record = RunRecord.read(RunStore(run.path), run.shown)
    except StoreError as error:
        raise BundleError(error.problem, error.action) from error
    serve = record.config.get("serve")
    variant = serve.get("variant") if isinstance(serve, dict) else None
    artifact = record.artifacts.get(StageKey("bundle", variant))
    if artifact is None or not artifact.is_complete:
        raise BundleError(f"the run {run.shown} has no bundle yet", f"finish it with `hnlm run {run.shown}`")
    return artifact.address
