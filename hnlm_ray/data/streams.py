"""Read a file of text as blocks of UTF-8 lines, whatever it is compressed with and however its lines end.

What a file is, its first bytes say and not its name.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.fs as pafs

from hnlm_ray.errors import DataError

__all__ = ["text_blocks"]

_CODECS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
"""By the first bytes of what they compressed."""
_NO_TEXT = {
    b"PK\x03\x04": ("is a zip archive or a spreadsheet", "unpack it, or export the sheet as CSV"),
    b"\xfd7zXZ\x00": ("is compressed with xz", "unpack it, or compress it with gzip"),
    b"7z\xbc\xaf\x27\x1c": ("is a 7z archive", "unpack it"),
    b"Rar!": ("is a rar archive", "unpack it"),
    b"PAR1": ("is a Parquet file", "name it .parquet and set data.format=table"),
    b"\x89HDF": ("is an HDF5 file", "export it as CSV or Parquet"),
    b"SQLite format 3": ("is an SQLite database", "export it as CSV or Parquet"),
    b"\x80\x04\x95": ("is a pickle", "export it as CSV or Parquet"),
    b"\xd0\xcf\x11\xe0": ("is a spreadsheet of an old kind", "export the sheet as CSV"),
    b"version https://git-lfs": ("is a pointer of Git LFS, not the file itself", "fetch it with git lfs pull"),
    b"<!DOCTYPE": ("is a web page", "download the file itself"),
    b"<html": ("is a web page", "download the file itself"),
}
_MOST_LAYERS = 3
_HEAD_BYTES = 512
_TAR_PLACE = 257
_WIDE = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks; that of UTF-16 also begins one of UTF-32."""


def text_blocks(filesystem: pafs.FileSystem, path: str, size: int) -> Iterator[bytes]:
    r"""The content of a file in blocks: decompressed, without a byte order mark, with ``\n`` where lines end.

    A file in gzip, bz2, zstd or lz4 is decompressed, even if it was compressed twice. One in UTF-16 or UTF-32 is
    decoded; of any other encoding the bytes are left as they are. Where the first line ends in a carriage return alone,
    so does every other; elsewhere a carriage return within a line is a character of it.

    Args:
        filesystem: where the file is.
        path: on that file system.
        size: bytes of a block, about.

    Raises:
        DataError: the file cannot be read or decompressed, or is not text.
    """
    try:
        stream, head = _open(filesystem, path)
        with stream:
            encoding = _encoding(head)
            while encoding is None and head.startswith(codecs.BOM_UTF8):
                head = head.removeprefix(stream.read(len(codecs.BOM_UTF8)))
            blocks: Iterator[bytes] = iter(lambda: stream.read(size), b"")
            yield from _with_line_feeds(blocks if encoding is None else _recoded(blocks, encoding))
    except (OSError, EOFError, pa.ArrowInvalid) as error:
        action = "check that the file is whole, and your access to it"
        raise DataError(f"{path} cannot be read ({_first_line(error)})", action) from error


def _open(filesystem: pafs.FileSystem, path: str) -> tuple[pa.NativeFile, bytes]:
    """The decompressed bytes of a file, and what they begin with."""
    layers: list[str] = []
    while True:
        with _opened(filesystem, path, layers) as stream:
            head = stream.read(_HEAD_BYTES)
        for magic, (what, action) in _NO_TEXT.items():
            if head.startswith(magic):
                raise DataError(f"{path} {what}", action)
        if head[_TAR_PLACE : _TAR_PLACE + 5] == b"ustar":
            raise DataError(f"{path} is a tar archive", "unpack it")
        codec = next((name for magic, name in _CODECS.items() if head.startswith(magic)), None)
        if codec is None:
            return _opened(filesystem, path, layers), head
        layers.append(codec)
        if len(layers) > _MOST_LAYERS:
            raise DataError(f"{path} is compressed more than {_MOST_LAYERS} times", "unpack it")


def _opened(filesystem: pafs.FileSystem, path: str, layers: Iterable[str]) -> pa.NativeFile:
    stream = filesystem.open_input_stream(path, compression=None)
    for codec in layers:
        stream = pa.CompressedInputStream(stream, codec)
    return stream


def _recoded(blocks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for block in blocks:
        yield decoder.decode(block).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")


def _encoding(head: bytes) -> str | None:
    """The encoding of text in units of two or four bytes; None for any other."""
    for mark, name in _WIDE:
        if head.startswith(mark):
            return name
    half = len(head) // 2
    if half >= 4:
        # Every second byte of Western text in UTF-16 is zero, and no byte of other text is.
        even, odd = head[: 2 * half : 2].count(0), head[1 : 2 * half : 2].count(0)
        if min(even, odd) == 0 and max(even, odd) > 0.9 * half:
            return "utf-16-le" if odd else "utf-16-be"
    return None


def _with_line_feeds(blocks: Iterator[bytes]) -> Iterator[bytes]:
    head = b""
    for block in blocks:
        head += block
        if b"\n" in head or b"\r" in head[:-1]:
            break
    feed = head.find(b"\n")
    mark = head.find(b"\r", 0, feed if feed >= 0 else None)
    if mark < 0 or mark + 1 == feed:
        yield from _filled(head, blocks)
        return
    held = b""
    for block in _filled(head, blocks):
        joined = held + block
        # The line feed that belongs to a carriage return may be the first byte of the next block.
        held = b"\r" if joined.endswith(b"\r") else b""
        yield joined.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if held:
        yield b"\n"


def _filled(head: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from (block for block in blocks if block)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
