"""Plain tables in Parquet or CSV: files of interactions and of items whose columns ``data.columns`` names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hnlm_ray.config.data import ColumnsConfig, DataConfig
from hnlm_ray.data.delimited import csv_cut, csv_delimiter, header_names, read_rows
from hnlm_ray.data.files import Files, UsualNames, has_extension
from hnlm_ray.data.lines import read_chunks
from hnlm_ray.data.lists import names, paragraphs
from hnlm_ray.data.raw import (
    RAW_INTERACTIONS,
    RAW_ITEMS,
    Column,
    positions,
    raw_table,
)
from hnlm_ray.data.values import ids, moments, numbers
from hnlm_ray.errors import DataError

__all__ = ["NAMES", "columns_of", "is_parquet", "names_in", "raw_of_table", "raw_tables"]

NAMES = UsualNames(
    interactions=("interactions.parquet", "interactions.csv", "interactions.csv.gz", "interactions/*.parquet"),
    items=("items.parquet", "items.csv", "items.csv.gz", "items/*.parquet"),
)

_ROLES = (
    ("user", "item", "rating", "timestamp", "review"),
    ("item", "title", "brand", "categories", "description"),
)
"""Of interactions and of items."""
_SCHEMAS = (RAW_INTERACTIONS, RAW_ITEMS)
_BATCH_BYTES = 4 << 20
_ROW_BYTES = 64
"""What a row is taken to need when Parquet, which is read by rows, is to be read in pieces of some size."""
_REQUIRED = ("user", "item", "title")
_RAW_NAMES = {"user": "user_id", "item": "item_id"}


def raw_tables(config: DataConfig, files: Files, number: int, kind: int, **options: int) -> Iterator[pa.Table]:
    """Read one file piece by piece.

    Args:
        config: the section ``data``.
        files: that it is one of.
        number: of the file.
        kind: 0 for interactions, 1 for items.
        options: ``size`` of the pieces in bytes, about.

    Raises:
        DataError: the file cannot be read, lacks a column, or a column has the wrong type.
    """
    path, filesystem = files.paths[number], files.filesystem
    found = names_in(filesystem, path)
    chosen = columns_of(config, kind, found, path)
    if is_parquet(filesystem, path):
        first = 1
        for table in _batches(filesystem, path, sorted(set(chosen.values())), **options):
            position = positions(number, np.arange(first, first + table.num_rows))
            yield raw_table(_SCHEMAS[kind], position, **_converted(table, chosen, path))
            first += table.num_rows
        return
    for chunk in read_chunks(filesystem, path, number, header=True, cut=csv_cut, **options):
        rows = read_rows(chunk, found, csv_delimiter(chunk.header), quoted=True)
        yield rows.to_raw(_SCHEMAS[kind], **_converted(rows.columns, chosen, path))


def raw_of_table(config: DataConfig, kind: int, table: pa.Table, name: str) -> pa.Table:
    """The raw table of a table in memory, whose name messages say; otherwise as :func:`raw_tables`."""
    chosen = columns_of(config, kind, table.column_names, name)
    return raw_table(_SCHEMAS[kind], positions(0, np.arange(1, len(table) + 1)), **_converted(table, chosen, name))


def names_in(filesystem: pafs.FileSystem, path: str) -> list[str]:
    """The column names of a file.

    Raises:
        DataError: it cannot be read.
    """
    if is_parquet(filesystem, path):
        try:
            return list(pq.read_schema(path, filesystem=filesystem).names)
        except (OSError, pa.ArrowInvalid) as error:
            raise _unreadable(path, error) from error
    header = next(read_chunks(filesystem, path, 0, header=True)).header
    return header_names(header, csv_delimiter(header))


def columns_of(config: DataConfig, kind: int, found: list[str], path: str) -> dict[str, str]:
    """The column name of each role that the file has.

    A column that the configuration names must exist; one with its default name may be absent unless it is required. In
    the table of items, the id may also have its default name.

    Raises:
        DataError: columns are missing, all of them in one sentence; or several columns have one name.
    """
    chosen: dict[str, str] = {}
    missing: list[tuple[str, str]] = []
    columns = config.columns
    needs_split = kind == 0 and config.split.strategy == "column"
    for role in (*_ROLES[kind], *(("split",) if needs_split else ())):
        name = getattr(columns, role)
        if role == "item" and kind == 1 and name not in found:
            name = ColumnsConfig().item
        if name in found:
            chosen[role] = name
        elif name is not None and (role in (*_REQUIRED, "split") or role in columns.model_fields_set):
            missing.append((role, name))
    has = ", ".join(repr(other) for other in found) or "none"
    if missing:
        names = " and ".join(repr(name) for _, name in missing)
        options = " and ".join(f"data.columns.{role}" for role, _ in missing)
        raise DataError(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {names}, it has {has}",
            f"name {'them' if len(missing) > 1 else 'it'} with {options}",
        )
    if repeated := sorted({name for name in chosen.values() if found.count(name) > 1}):
        raise DataError(
            f"{path} has several columns called {' and '.join(map(repr, repeated))}, it has {has}",
            "rename the columns so that each name stands once",
        )
    return chosen


def _batches(
    filesystem: pafs.FileSystem, path: str, columns: list[str], size: int = _BATCH_BYTES
) -> Iterator[pa.Table]:
    """Some columns of a Parquet file, batch by batch."""
    try:
        with filesystem.open_input_file(path) as file:
            batches = pq.ParquetFile(file).iter_batches(max(size // _ROW_BYTES, 1), columns=columns)
            yield from (pa.Table.from_batches([batch]) for batch in batches)
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from error


def is_parquet(filesystem: pafs.FileSystem, path: str) -> bool:
    """Whether a file begins as Parquet does, or is named so."""
    try:
        with filesystem.open_input_stream(path, compression=None) as stream:
            return bytes(stream.read(4)) == b"PAR1" or has_extension(path, "parquet", "pq")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error})", "check the path and your access to it") from error


def _converted(table: pa.Table, chosen: Mapping[str, str], path: str) -> dict[str, Column | None]:
    """The columns of a raw table from those of a file by role; with ``problem`` where a column can have one.

    Raises:
        DataError: columns are of the wrong type, all of them in one sentence.
    """
    columns: dict[str, Column | None] = {}
    problems, unfit = [], []
    for role, name in chosen.items():
        values, target = table[name], _RAW_NAMES.get(role, role)
        try:
            if role == "rating":
                columns[target], problem = numbers(values, role)
                problems.append(problem)
            elif role == "timestamp":
                columns["timestamp"], columns["moment"], problem = moments(values, role)
                problems.append(problem)
            else:
                columns[target] = _TEXTS.get(role, _text)(values)
        except (ValueError, pa.ArrowNotImplementedError) as error:
            article = _ARTICLES.get(role, f"a {role}")
            unfit.append((role, f"column {name!r} is {values.type} and cannot be {article} ({_first_line(error)})"))
    if unfit:
        raise DataError(
            f"{path}: {'; '.join(problem for _, problem in unfit)}",
            f"name another with data.columns.{unfit[0][0]}" + ("" if unfit[0][0] in _REQUIRED else ", or null"),
        )
    return columns | ({"problem": pc.coalesce(*problems)} if problems else {})


def _text(values: Column) -> Column:
    return values.cast(pa.string())


_ARTICLES = {"item": "an item", "categories": "a list of categories"}
_TEXTS: dict[str, Callable[[Column], Column]] = {
    "user": ids,
    "item": ids,
    "categories": names,
    "description": paragraphs,
}
"""How the columns of some roles become text."""


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _unreadable(path: str, error: Exception) -> DataError:
    return DataError(
        f"{path} cannot be read as Parquet ({_first_line(error)})",
        "check that the file is whole, and your access to it",
    )
