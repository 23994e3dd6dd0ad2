"""Places: folders and files on this machine, on ``s3://`` or ``gs://``, and what goes wrong there as one sentence."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.fs as pafs

from hnlm_ray.errors import HnlmError

__all__ = ["resolve", "storage_errors"]


def resolve(path: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a path, and where on it the path is.

    Raises:
        OSError, ArrowInvalid: there is no such file system.
    """
    if "://" not in path:
        return pafs.LocalFileSystem(), os.path.abspath(path)
    filesystem, place = pafs.FileSystem.from_uri(path)
    return filesystem, place.rstrip("/")


@contextlib.contextmanager
def storage_errors(path: str, action: str, kind: type[HnlmError]) -> Iterator[None]:
    """Turn what the operating system or Arrow raise about a place into an error of ours.

    Args:
        path: named in the sentence.
        action: what the user should do.
        kind: of the error.
    """
    try:
        yield
    except HnlmError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise kind(f"{path}: {str(error).split('Detail:')[0].strip()}", action) from error
