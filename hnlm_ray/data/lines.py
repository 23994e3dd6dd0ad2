"""Read text files in chunks of whole lines, with line numbers, as UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs

from hnlm_ray.errors import DataError

__all__ = ["Chunk", "as_utf8", "filled_lines", "read_chunks"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True)
class Chunk:
    """Whole lines of one file.

    Attributes:
        file: path of the file.
        number: of the file, in the order of reading.
        first_line: number of the first line of ``content``, from 1.
        content: the lines.
        header: the first line of the file, where the format has one; it is not in ``content``.
    """

    file: str
    number: int
    first_line: int
    content: bytes
    header: str = ""


def read_chunks(
    filesystem: pafs.FileSystem, path: str, number: int, *, header: bool = False, size: int | None = _CHUNK_BYTES
) -> Iterator[Chunk]:
    """Read a file chunk by chunk; one named ``.gz`` (or ``.bz2``, ``.zst``) is decompressed.

    Args:
        filesystem: where the file is.
        path: on that file system.
        number: of the file.
        header: whether the first line is a header.
        size: bytes of a chunk, or None for the whole file.

    Raises:
        DataError: the file is missing, empty, or cannot be read or decompressed.
    """
    title, line, rest, is_empty = "", 1, b"", True
    for block in _blocks(filesystem, path, size):
        is_empty = False
        cut = block.rfind(b"\n") + 1
        content, rest = (rest + block[:cut], block[cut:]) if cut else (b"", rest + block)
        if line == 1:
            content = content.removeprefix(_BYTE_ORDER_MARK)
        if header and line == 1 and content:
            first, _, content = content.partition(b"\n")
            title, line = as_utf8(first)[0].decode().rstrip("\r"), 2
        if content:
            yield Chunk(path, number, line, content, title)
            line += content.count(b"\n")
    if is_empty:
        raise DataError(f"{path} is empty", "download or write it again")
    if rest and not (header and line == 1):
        yield Chunk(path, number, line, rest.removeprefix(_BYTE_ORDER_MARK) if line == 1 else rest, title)


def as_utf8(content: bytes) -> tuple[bytes, npt.NDArray[np.int64]]:
    """The same lines in UTF-8; a line that is not valid UTF-8 is read as Latin-1.

    Returns:
        the content, and int64 numbers, from 0, of the lines that were read as Latin-1.
    """
    with suppress(UnicodeDecodeError):
        content.decode()
        return content, np.empty(0, dtype=np.int64)
    lines, recoded = content.split(b"\n"), []
    for index, line in enumerate(lines):
        try:
            line.decode()
        except UnicodeDecodeError:
            lines[index] = line.decode("latin-1").encode()
            recoded.append(index)
    return b"\n".join(lines), np.array(recoded, dtype=np.int64)


def filled_lines(content: bytes) -> npt.NDArray[np.int64]:
    """Numbers, from 0, of the lines that are not empty: int64."""
    octets = np.frombuffer(content, dtype=np.uint8)
    ends = np.flatnonzero(octets == ord("\n"))
    if len(octets) and octets[-1] != ord("\n"):
        ends = np.append(ends, len(octets))
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1] + 1]) if len(ends) else ends
    length = ends - starts
    only_return = (length == 1) & (octets[np.minimum(starts, max(len(octets) - 1, 0))] == ord("\r"))
    return np.flatnonzero((length > 0) & ~only_return)


def _blocks(filesystem: pafs.FileSystem, path: str, size: int | None) -> Iterator[bytes]:
    try:
        with filesystem.open_input_stream(path) as stream:
            while block := stream.read(size):
                yield block
    except (OSError, pa.ArrowInvalid) as error:
        action = "check that the file is whole, and your access to it"
        raise DataError(f"{path} cannot be read ({error})", action) from error
