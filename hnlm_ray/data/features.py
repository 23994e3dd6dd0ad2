"""Numeric and categorical columns of items and of users, read from Parquet or CSV files beside the interactions."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hnlm_ray.config.data import DataConfig, FeatureColumns
from hnlm_ray.data.delimited import csv_delimiter
from hnlm_ray.data.files import DataFolder, find_files
from hnlm_ray.data.ids import clean_ids
from hnlm_ray.data.lines import read_chunks
from hnlm_ray.data.lists import names
from hnlm_ray.data.raw import Column
from hnlm_ray.data.table import NAMES, is_parquet, names_in
from hnlm_ray.data.values import numbers
from hnlm_ray.errors import DataError
from hnlm_ray.tables import ITEM_FEATURES, USER_FEATURES

__all__ = ["Kind", "features_of_table", "read_features"]

Kind = Literal["item", "user"]
"""Of what there are features."""

_USUAL = {"item": NAMES.items, "user": ("users.parquet", "users.csv", "users.csv.gz", "users/*.parquet")}
_SCHEMAS = {"item": ITEM_FEATURES, "user": USER_FEATURES}


def read_features(folder: DataFolder, config: DataConfig, kind: Kind, known: pa.Table) -> pa.Table | None:
    """The features of the items or of the users of a run.

    Args:
        folder: with the raw data.
        config: the section ``data``.
        kind: which of them.
        known: the prepared table ``items`` or ``users``.

    Returns:
        A table of :data:`hnlm_ray.tables.ITEM_FEATURES` or ``USER_FEATURES``; None where no feature is named.

    Raises:
        DataError: a file is missing, cannot be read or lacks a column, or a column holds something else.
    """
    chosen = _chosen(config, kind)
    if not chosen.columns:
        return None
    files = find_files(folder, f"data.features.{kind}s.file", chosen.file, _USUAL[kind])
    tables = [_columns_of(files.filesystem, path, config, kind) for path in files.paths]
    shown = files.paths[0] if len(files.paths) == 1 else f"{len(files.paths)} files such as {files.paths[0]}"
    return features_of_table(pa.concat_tables(tables), config, kind, known, shown)


def features_of_table(table: pa.Table, config: DataConfig, kind: Kind, known: pa.Table, where: str) -> pa.Table:
    """The features in a table; see :func:`read_features`.

    Args:
        table: a row for each item or user; of several with one id the first counts.
        config: the section ``data``.
        kind: of what.
        known: the prepared table ``items`` or ``users``.
        where: its name, for messages.

    Raises:
        DataError: it lacks a column, or a column holds something else, or nothing of those that are known.
    """
    chosen, own_id = _chosen(config, kind), _id_column(config, kind, table.column_names)
    _require(table.column_names, config, kind, where)
    known_ids, own_ids = clean_ids(known[f"{kind}_id"], table[own_id].cast(pa.string()))
    rows = pc.index_in(known_ids, value_set=own_ids.combine_chunks())
    found = pc.is_valid(rows)
    if not pc.any(found).as_py():
        raise DataError(
            f"{where} has none of the {len(known):,} {kind}s of the interactions",
            f"name the column of their ids with data.features.{kind}s.id",
        )
    numbered, chosen_rows = known[kind].filter(found), rows.filter(found)
    parts = []
    for name in sorted(chosen.columns):
        values = table[name].take(chosen_rows)
        if name in chosen.numeric:
            value, is_there = _numeric(values, name, kind, where)
            columns = {"value": value, "names": pa.nulls(len(value), pa.list_(pa.string()))}
        else:
            listed, is_there = _categorical(values, name, kind, where)
            columns = {"value": pa.nulls(len(listed), pa.float64()), "names": listed}
        columns = {kind: numbered, "feature": pa.repeat(name, len(values)), **columns}
        parts.append(pa.table(columns).filter(is_there).cast(_SCHEMAS[kind]))
        if not len(parts[-1]):
            raise DataError(f"the column {name!r} of {where} is empty for all {kind}s", "leave it out")
    return pa.concat_tables(parts)


def _chosen(config: DataConfig, kind: Kind) -> FeatureColumns:
    return config.features.items if kind == "item" else config.features.users


def _id_column(config: DataConfig, kind: Kind, found: list[str]) -> str:
    """The column of ids: as named, as in the interactions, or by the default name."""
    named = _chosen(config, kind).id or getattr(config.columns, kind)
    return named if named in found or _chosen(config, kind).id else f"{kind}_id"


def _require(found: list[str], config: DataConfig, kind: Kind, where: str) -> None:
    """Refuse a table without a column that is asked for."""
    options = {_id_column(config, kind, found): "id"}
    chosen = _chosen(config, kind)
    for option in ("numeric", "categorical"):
        options |= dict.fromkeys(getattr(chosen, option), option)
    for name, option in options.items():
        if found.count(name) != 1:
            has = ", ".join(map(repr, found)) or "none"
            problem = "lacks the column" if name not in found else "has several columns called"
            raise DataError(f"{where} {problem} {name!r}, it has {has}", f"change data.features.{kind}s.{option}")


def _columns_of(filesystem: pafs.FileSystem, path: str, config: DataConfig, kind: Kind) -> pa.Table:
    """The ids and the features in one file."""
    found = names_in(filesystem, path)
    _require(found, config, kind, path)
    wanted = [_id_column(config, kind, found), *_chosen(config, kind).columns]
    try:
        if is_parquet(filesystem, path):
            return pq.read_table(path, columns=wanted, filesystem=filesystem)
        header = next(read_chunks(filesystem, path, 0, header=True)).header
        with filesystem.open_input_stream(path) as stream:
            return pacsv.read_csv(
                stream,
                parse_options=pacsv.ParseOptions(delimiter=csv_delimiter(header), newlines_in_values=True),
                convert_options=pacsv.ConvertOptions(
                    include_columns=wanted,
                    column_types=dict.fromkeys(wanted, pa.string()),
                    strings_can_be_null=True,
                    null_values=["", "NA", "NaN", "nan", "null", "NULL", "None"],
                ),
            )
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read ({first})", "check that the file is whole") from error


def _numeric(values: Column, name: str, kind: Kind, where: str) -> tuple[Column, Column]:
    """Numbers, and where there is one."""
    try:
        found, problems = numbers(values, name)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{where}: the column {name!r} is {values.type} and holds no numbers",
            f"name it in data.features.{kind}s.categorical, or leave it out",
        ) from error
    bad = problems.drop_null()
    if len(bad):
        raise DataError(
            f"{where}: {bad[0].as_py()}, and {len(bad) - 1:,} more",
            f"name it in data.features.{kind}s.categorical, or leave it out",
        )
    if pc.any(pc.is_inf(found)).as_py():
        raise DataError(f"{where}: the column {name!r} holds an infinity", "leave what has no value empty")
    return found, pc.fill_null(pc.is_finite(found), False)


def _categorical(values: Column, name: str, kind: Kind, where: str) -> tuple[Column, Column]:
    """Lists of names, and where one is not empty."""
    try:
        listed = names(values)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{where}: the column {name!r} is {values.type} and holds no names",
            f"take it out of data.features.{kind}s.categorical",
        ) from error
    rows = [
        list(dict.fromkeys(stripped for one in row or () if one is not None and (stripped := one.strip())))
        for row in listed.to_pylist()
    ]
    return pa.array(rows, pa.list_(pa.string())), pa.array([bool(row) for row in rows])
