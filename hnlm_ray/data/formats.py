"""The raw formats: each value of ``data.format`` is a module of this package with the same name.

A module gives :class:`Reader`; ``demo`` is generated and has none, and ``table`` is read whole by
:func:`hnlm_ray.data.table.raw_tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Protocol, cast

import pyarrow as pa

from hnlm_ray.config.data import ColumnsConfig, DataConfig
from hnlm_ray.data.delimited import csv_cut
from hnlm_ray.data.files import (
    DataFolder,
    Files,
    UsualNames,
    belong_together,
    find_files,
    has_extension,
    named,
    split_of,
)
from hnlm_ray.data.lines import Chunk, read_chunks
from hnlm_ray.errors import DataError

__all__ = ["Parse", "Reader", "chunks_of", "interaction_files", "item_files", "parsers"]

Parse = Callable[[Chunk], pa.Table]
"""From a piece of a file to a raw table."""


class Reader(Protocol):
    """What a module for a format of lines holds.

    Both functions turn a piece of a file into a raw table (:mod:`hnlm_ray.data.raw`), in which a line that cannot be
    read is a row with its problem. Where the format does not name its own columns, ``columns`` does. They raise
    DataError where the file as a whole is not of the format.
    """

    NAMES: UsualNames

    def parse_interactions(self, chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
        """Rows of :data:`hnlm_ray.data.raw.RAW_INTERACTIONS`."""
        ...

    def parse_items(self, chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
        """Rows of :data:`hnlm_ray.data.raw.RAW_ITEMS`."""
        ...


def _reader(config: DataConfig) -> Reader:
    return cast("Reader", import_module(f"hnlm_ray.data.{config.format}"))


def interaction_files(folder: DataFolder, config: DataConfig) -> Files:
    """The files of interactions.

    Raises:
        DataError: there are none, or there are those of several data sets, or of a split that is not to be used.
    """
    names, option = _reader(config).NAMES, "data.interactions"
    files = find_files(
        folder,
        option,
        config.interactions,
        names.interactions,
        names.not_interactions,
        has_parts=names.shares != "name",
    )
    shown, strategy = f"{named(folder.root, files.paths)} in {folder.root}", config.split.strategy
    splits = [split_of(path) for path in files.paths]
    if any(splits) and config.interactions is None and strategy != "column":
        raise DataError(
            f"{shown} are a split already, and data.split.strategy is {strategy}",
            f"set data.split.strategy=column to use that split, or name the files with {option} to divide them anew",
        )
    if strategy == "column" and config.format != "table" and not all(splits):
        raise DataError(
            f"data.split.strategy is column, and {shown} tell no split, as toy.train.inter does by its name",
            "choose another strategy",
        )
    return files


def item_files(folder: DataFolder, config: DataConfig) -> Files:
    """The files of items; none where ``data.items`` is ``""``.

    Raises:
        DataError: there are none, and the configuration does not say so; or they are of several data sets, or of
            another than the interactions.
    """
    if config.items == "":
        return Files(folder.filesystem, ())
    names = _reader(config).NAMES
    files = find_files(folder, "data.items", config.items, names.items, has_parts=names.shares != "name")
    if config.items is None:
        _require_together(folder, config, files)
    return files


def _require_together(folder: DataFolder, config: DataConfig, items: Files) -> None:
    """Refuse files of items that are of another data set than the interactions: their ids could meet all the same."""
    try:
        interactions = interaction_files(folder, config)
    except DataError:  # which is told where they are looked for
        return
    if not belong_together(interactions, items, _reader(config).NAMES):
        raise DataError(
            f"{named(folder.root, interactions.paths)} and {named(folder.root, items.paths)} in {folder.root} are of"
            " different data sets",
            "name files that belong together with data.interactions and data.items",
        )


def chunks_of(config: DataConfig, files: Files, number: int, **options: int) -> Iterator[Chunk]:
    """Read one of some files in chunks that the parsers of its format take.

    Args:
        config: the section ``data``.
        files: that it is one of.
        number: of the file.
        options: ``size``, see :func:`hnlm_ray.data.lines.read_chunks`.

    Raises:
        DataError: as :func:`hnlm_ray.data.lines.read_chunks`.
    """
    path = files.paths[number]
    is_csv = has_extension(path, "csv")
    header, cut = is_csv or _reader(config).NAMES.has_header, csv_cut if is_csv else None
    return read_chunks(files.filesystem, path, number, header=header, cut=cut, **options)


def parsers(config: DataConfig) -> tuple[Parse, Parse]:
    """What reads a piece of a file of interactions, and one of a file of items, for a format of lines."""
    reader = _reader(config)
    return (
        partial(_with_split, partial(reader.parse_interactions, columns=config.columns)),
        partial(reader.parse_items, columns=config.columns),
    )


def _with_split(parse: Parse, chunk: Chunk) -> pa.Table:
    """Raw interactions, with the split that the name of their file gives."""
    rows = parse(chunk)
    split = split_of(chunk.file)
    if split is None:
        return rows
    place = rows.column_names.index("split")
    return rows.set_column(place, rows.schema.field(place), pa.repeat(split, rows.num_rows))
