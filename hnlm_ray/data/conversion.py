"""Data frames of pandas, Polars and Arrow to Arrow tables and back."""

from __future__ import annotations

import importlib
from typing import Any, Literal

import pyarrow as pa

from hnlm_ray.errors import DataError, PackageError

__all__ = ["Frame", "Kind", "kind_of", "like", "table_of"]

Frame = Any
"""A data frame of pandas or Polars, an Arrow table, or whatever else exports Arrow data by ``__arrow_c_stream__``."""

Kind = Literal["pandas", "polars", "arrow"]


def kind_of(frame: Frame) -> Kind:
    """What a frame is; ``arrow`` for all that is neither of pandas nor of Polars."""
    library = type(frame).__module__.partition(".")[0]
    return "pandas" if library == "pandas" else "polars" if library == "polars" else "arrow"


def table_of(frame: Frame, what: str) -> pa.Table:
    """A frame as an Arrow table, without an index.

    Args:
        frame: see :data:`Frame`.
        what: what it holds, for messages.

    Raises:
        DataError: it is no frame, or a column mixes types.
    """
    try:
        if isinstance(frame, pa.Table):
            return frame
        if kind_of(frame) == "pandas":
            return pa.Table.from_pandas(frame, preserve_index=False)
        return pa.table(frame)
    except (TypeError, ValueError, pa.ArrowException) as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{what} are a {type(frame).__name__} that Arrow cannot read ({reason})",
            "give a data frame of pandas or Polars, or an Arrow table, with one type to a column",
        ) from error


def like(table: pa.Table, kind: Kind) -> Frame:
    """An Arrow table as a frame of some kind.

    Raises:
        PackageError: the library of that kind is not installed.
    """
    if kind == "arrow":
        return table
    try:
        library = importlib.import_module(kind)
    except ModuleNotFoundError as error:
        what = f"a frame of {kind} needs {kind}, which is not installed"
        raise PackageError(what, f"pip install {kind}, or take Arrow tables") from error
    return table.to_pandas() if kind == "pandas" else library.from_arrow(table)
