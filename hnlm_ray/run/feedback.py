"""The files in which a service stores feedback: Parquet, never changed, each named by its second and its content.

``2026-11-27T213501-5f0c8f1d2a6b7e90.parquet``: the second (UTC) in which it was written, and a digest of its bytes. So
the names say what a folder holds, and a run that has read a folder need not read it again to see that it is the same.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from hnlm_ray.errors import DataError
from hnlm_ray.run.places import Folder, resolve, shown, storage_errors
from hnlm_ray.tables import FEEDBACK, conform

__all__ = ["append_events", "event_files", "read_events", "writable_folder"]

_NAME = re.compile(r"(\d{4}-\d\d-\d\d)T\d{6}-([0-9a-f]{16})\.parquet")
_READ_AT_ONCE = 16


def writable_folder(address: str) -> Folder:
    """The folder of an address, made if need be, once a file could be written there.

    Raises:
        StoreError: nothing can be written there.
    """
    folder = Folder(*resolve(address))
    folder.create()
    name = f"_{uuid.uuid4().hex}"  # readers pass over names with an underscore
    folder.write_bytes(name, b"")
    with storage_errors(folder.path):
        folder.filesystem.delete_file(f"{folder.path}/{name}")
    return folder


def append_events(folder: Folder, events: pa.Table) -> str:
    """Write events as a file of their own, and return its name once it outlives a power cut.

    Args:
        folder: it appears there whole or not at all.
        events: the table ``feedback``.

    Raises:
        StoreError: it cannot be written.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(conform(events, FEEDBACK, "feedback"), sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    name = f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}-{_digest(content)}.parquet"
    folder.write_bytes(name, content)
    return name


def event_files(address: str, until: date | None = None) -> list[str]:
    """The names of the files of feedback, sorted; equal names are equal content.

    Args:
        address: of the folder.
        until: the last day, in UTC, whose files count; None for all.

    Raises:
        DataError: there is no such folder, or it holds something else.
    """
    folder = _folder(address)
    names = [name for name in folder.files() if not name.startswith(("_", "."))]
    if other := next((name for name in names if not _NAME.fullmatch(name)), None):
        what = f"data.feedback {shown(address)} holds {other}, which no service has written there"
        raise DataError(what, "move it away, or give its interactions with data.interactions")
    return [name for name in names if until is None or name[:10] <= until.isoformat()]


def read_events(address: str, names: Sequence[str]) -> pa.Table:
    """The table ``feedback`` from some of the files of a folder, in the order of the names.

    Raises:
        DataError: a file is damaged, missing, or not a table of feedback.
    """
    folder = _folder(address)
    with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
        tables = list(pool.map(lambda name: _table(folder, name), names))
    return pa.concat_tables([FEEDBACK.empty_table(), *tables])


def _folder(address: str) -> Folder:
    folder = Folder(*resolve(address, DataError))
    with storage_errors(address, "check the path and your access to it", DataError):
        if not folder.exists:
            what = f"data.feedback {shown(address)} is no folder"
            raise DataError(what, "give the folder that the service has under serve.feedback")
    return folder


def _table(folder: Folder, name: str) -> pa.Table:
    path, found = f"{folder.path}/{name}", _NAME.fullmatch(name)
    with storage_errors(path, "restore the file, or move it away", DataError):
        content = folder.read_bytes(name)
        if found is None or _digest(content) != found[2]:
            raise DataError(f"{path} is damaged: its content is not the one that its name tells", "restore it")
        return conform(pq.read_table(pa.BufferReader(content)), FEEDBACK, path)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
