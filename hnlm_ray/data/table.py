"""Plain tables in Parquet or CSV: files of interactions and of items whose columns ``data.columns`` names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hnlm_ray.config.data import ColumnsConfig, DataConfig
from hnlm_ray.data.delimited import header_names, read_rows
from hnlm_ray.data.files import Files, UsualNames, is_csv
from hnlm_ray.data.lines import read_chunks
from hnlm_ray.data.raw import (
    RAW_INTERACTIONS,
    RAW_ITEMS,
    Column,
    RawData,
    positions,
    raw_data,
    raw_table,
)
from hnlm_ray.data.values import categories, moments, numbers
from hnlm_ray.errors import DataError

__all__ = ["INTERACTION_ROLES", "ITEM_ROLES", "NAMES", "columns_of", "names_in", "read_tables"]

NAMES = UsualNames(
    interactions=("interactions.parquet", "interactions.csv", "interactions.csv.gz", "interactions/*.parquet"),
    items=("items.parquet", "items.csv", "items.csv.gz", "items/*.parquet"),
)

INTERACTION_ROLES = ("user", "item", "rating", "timestamp", "review")
ITEM_ROLES = ("item", "title", "brand", "categories", "description")

_REQUIRED = ("user", "item", "title")
_RAW_NAMES = {"user": "user_id", "item": "item_id"}


def read_tables(config: DataConfig, interactions: Files, items: Files) -> RawData:
    """Read the files of interactions and of items.

    Raises:
        DataError: a file or column is missing, has the wrong type, or holds too many malformed rows.
    """
    own_split = ("split",) if config.split.strategy == "column" else ()
    return raw_data(
        _read(interactions, config.columns, (*INTERACTION_ROLES, *own_split), RAW_INTERACTIONS),
        _read(items, config.columns, ITEM_ROLES, RAW_ITEMS),
        (interactions.paths, items.paths),
        config.max_bad_rows,
    )


def names_in(filesystem: pafs.FileSystem, path: str) -> list[str]:
    """The column names of a file.

    Raises:
        DataError: it cannot be read.
    """
    if not is_csv(path):
        try:
            return list(pq.read_schema(path, filesystem=filesystem).names)
        except (OSError, pa.ArrowInvalid) as error:
            raise _unreadable(path, error) from error
    chunk = next(read_chunks(filesystem, path, 0, header=True), None)
    return [] if chunk is None else header_names(chunk.header, ",")


def columns_of(config: ColumnsConfig, roles: tuple[str, ...], found: list[str], path: str) -> dict[str, str]:
    """The column name of each role that the file has.

    A column that the configuration names must exist; one with its default name may be absent unless it is required. In
    the table of items, the id may also have its default name.

    Raises:
        DataError: a column is missing.
    """
    chosen = {}
    for role in roles:
        name = getattr(config, role)
        if role == "item" and "user" not in roles and name not in found:
            name = ColumnsConfig().item
        if name in found:
            chosen[role] = name
        elif name is not None and (role in _REQUIRED or role in config.model_fields_set):
            has = ", ".join(repr(other) for other in found) or "none"
            raise DataError(f"{path} lacks the column {name!r}, it has {has}", f"name it with data.columns.{role}")
    return chosen


def _read(files: Files, config: ColumnsConfig, roles: tuple[str, ...], schema: pa.Schema) -> pa.Table:
    parts = [schema.empty_table()]
    for number, path in enumerate(files.paths):
        names = names_in(files.filesystem, path)
        chosen = columns_of(config, roles, names, path)
        if is_csv(path):
            # The whole file at once: a quoted field may contain line breaks.
            for chunk in read_chunks(files.filesystem, path, number, header=True, size=None):
                rows = read_rows(chunk, names, ",", quoted=True)
                parts.append(rows.to_raw(schema, **_converted(rows.columns, chosen, path)))
            continue
        try:
            table = pq.read_table(path, columns=sorted(set(chosen.values())), filesystem=files.filesystem)
        except (OSError, pa.ArrowInvalid) as error:
            raise _unreadable(path, error) from error
        position = positions(number, np.arange(1, table.num_rows + 1))
        parts.append(raw_table(schema, position, **_converted(table, chosen, path)))
    return pa.concat_tables(parts)


def _converted(table: pa.Table, chosen: Mapping[str, str], path: str) -> dict[str, Column | None]:
    """The columns of a raw table from those of a file by role; with ``problem`` where a column can have one."""
    columns: dict[str, Column | None] = {}
    problems = []
    for role, name in chosen.items():
        values, target = table[name], _RAW_NAMES.get(role, role)
        try:
            if role in ("rating", "timestamp"):
                columns[target], problem = (numbers if role == "rating" else moments)(values, role)
                problems.append(problem)
            else:
                columns[target] = categories(values) if role == "categories" else values.cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"{path}: column {name!r} is {values.type} and cannot be a {role} ({error})",
                f"name another with data.columns.{role}, or null",
            ) from error
    return columns | ({"problem": pc.coalesce(*problems)} if problems else {})


def _unreadable(path: str, error: Exception) -> DataError:
    what = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(
        f"{path} cannot be read as Parquet ({what})", "check that the file is whole, and your access to it"
    )
