"""Read raw data in this process, whole or from its beginning; the stage ``prepare`` reads large files through Ray."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import pyarrow as pa

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data.accounting import raw_data
from hnlm_ray.data.files import Files
from hnlm_ray.data.formats import chunks_of, parsers
from hnlm_ray.data.raw import RAW_INTERACTIONS, RAW_ITEMS, RawData
from hnlm_ray.data.table import raw_tables

__all__ = ["first_rows", "raw_pieces", "read_whole"]

_SCHEMAS = (RAW_INTERACTIONS, RAW_ITEMS)


def raw_pieces(
    config: DataConfig, files: Files, number: int, kind: int, **options: int
) -> Generator[pa.Table, None, None]:
    """One file as raw tables, in the order of its rows.

    Args:
        config: the section ``data``.
        files: that it is one of.
        number: of the file.
        kind: 0 for interactions, 1 for items.
        options: ``size`` of the pieces of text in bytes.

    Raises:
        DataError: the file is missing, damaged, or not of its format.
    """
    if config.format == "table":
        yield from raw_tables(config, files, number, kind, **options)
        return
    parse = parsers(config)[kind]
    for chunk in chunks_of(config, files, number, **options):
        yield parse(chunk)


def first_rows(config: DataConfig, files: Files, number: int, kind: int, size: int) -> pa.Table:
    """The raw rows at the beginning of a file; arguments and errors as :func:`raw_pieces`."""
    with closing(raw_pieces(config, files, number, kind, size=size)) as pieces:
        return next(pieces, _SCHEMAS[kind].empty_table())


def read_whole(config: DataConfig, files: tuple[Files, Files], **options: int) -> RawData:
    """All files of interactions and of items; errors as :func:`raw_pieces`, or too many lines are malformed."""
    tables = []
    for kind, found in enumerate(files):
        pieces = (piece for n in range(len(found.paths)) for piece in raw_pieces(config, found, n, kind, **options))
        tables.append(pa.concat_tables([_SCHEMAS[kind].empty_table(), *pieces]))
    return raw_data(tables[0], tables[1], (files[0].paths, files[1].paths), config.max_bad_rows)
