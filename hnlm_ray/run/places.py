"""Folders and files on this machine, on ``s3://`` or ``gs://``: their addresses, and what goes wrong there.

An address is a path or a URI. A URI may end in a query for its file system, such as ``?endpoint_override=HOST``, and
may carry credentials, ``s3://key:secret@bucket/folder``, which no message repeats.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs as pafs

from hnlm_ray.errors import HnlmError, StoreError

__all__ = ["join", "resolve", "shown", "storage_errors"]

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]*:[^\s@]*@")


def resolve(address: str, kind: type[HnlmError] = StoreError) -> tuple[pafs.FileSystem, str]:
    """The file system of an address, and the path on it; ``~`` is the user's home.

    Args:
        address: a path or a URI.
        kind: of the error.

    Raises:
        HnlmError: there is no such file system.
    """
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
    return _CREDENTIALS.sub("", address.partition("?")[0] if "://" in address else address)


@contextlib.contextmanager
def storage_errors(address: str, action: str, kind: type[HnlmError]) -> Iterator[None]:
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


def _reason(error: Exception) -> str:
    """What Arrow or the operating system say, without credentials."""
    return _CREDENTIALS.sub("", str(error).split("Detail:")[0].strip())
