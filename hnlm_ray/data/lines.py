"""Read text files in chunks of whole lines, with line numbers, as UTF-8."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.fs as pafs

from hnlm_ray.data.streams import text_blocks
from hnlm_ray.errors import DataError

__all__ = ["Chunk", "Cut", "as_utf8", "filled_lines", "line_bounds", "read_chunks"]

_CHUNK_BYTES = 8 << 20
_LONGEST_LINE = 64 << 20
_SEPARATOR_HINT = re.compile(rb'"?sep=."?', re.IGNORECASE)

Cut = Callable[[str, bytes], int]
"""From the header of a file and some of its lines to the number of their bytes that can be parsed without the next
lines."""


@dataclass(frozen=True)
class Chunk:
    """Whole lines of one file.

    Attributes:
        file: path of the file.
        number: of the file, in the order of reading.
        first_line: number of the first line of ``content``, from 1.
        content: the lines.
        header: the first line of the file that is not empty, where the format has one; it is not in ``content``.
    """

    file: str
    number: int
    first_line: int
    content: bytes
    header: str = ""


def read_chunks(
    filesystem: pafs.FileSystem,
    path: str,
    number: int,
    *,
    header: bool = False,
    cut: Cut | None = None,
    size: int = _CHUNK_BYTES,
) -> Iterator[Chunk]:
    """Read a file chunk by chunk, see :func:`hnlm_ray.data.streams.text_blocks`.

    Args:
        filesystem: where the file is.
        path: on that file system.
        number: of the file.
        header: whether the first line is a header.
        cut: where a chunk may end, besides at the end of a line; for rows that may span lines.
        size: bytes of a chunk, about.

    Raises:
        DataError: the file is missing, empty, cannot be read or decompressed, or is not text.

    Yields:
        at least one chunk; an empty one for a file that has a header alone.
    """
    title, line, rest, is_empty, wants_header, is_started = "", 1, b"", True, header, False
    for block in text_blocks(filesystem, path, size):
        is_empty = False
        feed = block.rfind(b"\n") + 1
        if not feed:
            rest += block
            if len(rest) > _LONGEST_LINE:
                what = f"{path} has a line of more than {_LONGEST_LINE >> 20} MiB after line {line - 1:,}"
                raise DataError(what, "write one row per line")
            continue
        content, rest = rest + block[:feed], block[feed:]
        if wants_header:
            title, content, lines = _header(content)
            line, wants_header = line + lines, not title
        ready = len(content) if cut is None or not content else cut(title, content)
        if ready:
            is_started = True
            yield Chunk(path, number, line, content[:ready], title)
            line += content.count(b"\n", 0, ready)
        rest = content[ready:] + rest
    if wants_header:
        title, rest, _ = _header(rest)
    if is_empty or (header and not title):
        raise DataError(f"{path} is empty", "download or write it again")
    if rest or (header and not is_started):
        yield Chunk(path, number, line, rest, title)


def _header(content: bytes) -> tuple[str, bytes, int]:
    """The first line that is neither blank nor Excel's ``sep=;``, what follows it, and how many lines precede that."""
    lines = 0
    while content:
        first, _, content = content.partition(b"\n")
        lines += 1
        if first.strip() and not _SEPARATOR_HINT.fullmatch(first.strip()):
            return as_utf8(first)[0].decode().rstrip("\r"), content, lines
    return "", b"", lines


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


def line_bounds(content: bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where each line begins and ends: int64 (n,) twice; the line feed is the byte at the end."""
    octets = np.frombuffer(content, dtype=np.uint8)
    ends = np.flatnonzero(octets == ord("\n"))
    if len(octets) and octets[-1] != ord("\n"):
        ends = np.append(ends, len(octets))
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1] + 1]) if len(ends) else ends
    return starts, ends


def filled_lines(content: bytes) -> npt.NDArray[np.int64]:
    """Numbers, from 0, of the lines that are not empty: int64."""
    octets = np.frombuffer(content, dtype=np.uint8)
    starts, ends = line_bounds(content)
    length = ends - starts
    only_return = (length == 1) & (octets[np.minimum(starts, max(len(octets) - 1, 0))] == ord("\r"))
    return np.flatnonzero((length > 0) & ~only_return)
