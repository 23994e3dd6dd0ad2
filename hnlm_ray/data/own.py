"""Raw data from a reader of one's own: a class that gives frames of interactions and of items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import pyarrow as pa

from hnlm_ray.config.data import DataConfig
from hnlm_ray.config.plugins import made
from hnlm_ray.data.accounting import raw_data
from hnlm_ray.data.conversion import Frame, table_of
from hnlm_ray.data.raw import RAW_ITEMS, RawData
from hnlm_ray.data.table import raw_of_table
from hnlm_ray.errors import ConfigError, DataError, HnlmError

__all__ = ["OwnReader", "read_own"]


class OwnReader(Protocol):
    """Reads raw data; made with ``data.path``, which may be None, and its options.

    A frame is a data frame of pandas or Polars, an Arrow table, or whatever exports Arrow data. Its columns are those
    that ``data.columns`` names. Frames may also come one after the other, from a list or a generator.
    """

    def interactions(self) -> Frame | Iterable[Frame]:
        """A row per interaction, with a user and an item."""
        ...

    def items(self) -> Frame | Iterable[Frame] | None:
        """A row per item, with its title; None where the data has no items but their ids."""
        ...


def read_own(config: DataConfig) -> tuple[RawData, DataConfig]:
    """What a reader of one's own gives.

    Args:
        config: the section ``data`` with a ``reader``.

    Returns:
        The raw rows; and the section, which says that there are no items where the reader gives none.

    Raises:
        ConfigError: the reader cannot be loaded, does not take its options, or lacks a method.
        DataError: it failed, what it gives is no frame or lacks a column, or too many rows are malformed.
    """
    assert config.reader is not None
    path = config.reader.path
    reader: OwnReader = made(config.reader, "data.reader", config.path, page="docs/data.md")
    for method in ("interactions", "items"):
        if not callable(getattr(reader, method, None)):
            raise ConfigError(
                f"data.reader.class={path} has no method {method}", "see `docs/data.md` for what it gives"
            )
    interactions = _table(f"{path}.interactions()", reader.interactions)
    items = _table(f"{path}.items()", reader.items)
    if interactions is None:
        raise DataError(f"{path}.interactions() gives nothing", "let it give a frame with a row per interaction")
    names = ([f"{path}.interactions()"], [f"{path}.items()"])
    raw = raw_data(
        raw_of_table(config, 0, interactions, names[0][0]),
        RAW_ITEMS.empty_table() if items is None else raw_of_table(config, 1, items, names[1][0]),
        names,
        config.max_bad_rows,
    )
    return raw, config if items is not None else config.model_copy(update={"items": ""})


def _table(what: str, read: Callable[[], Any]) -> pa.Table | None:
    """What a method gives, as one table."""
    try:
        found = read()
        if found is None:
            return None
        if _is_frame(found):
            return table_of(found, f"the rows of {what}")
        parts = [table_of(part, f"the rows of {what}") for part in found]
        return pa.concat_tables(parts, promote_options="permissive") if parts else None
    except HnlmError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise DataError(
            f"{what} failed with {type(error).__name__}: {lines[0]}", "correct the reader, or what it reads"
        ) from error


def _is_frame(value: Any) -> bool:
    """Whether it is a frame, or something that is none, and no list or generator of frames."""
    return hasattr(value, "__arrow_c_stream__") or isinstance(value, Mapping | str) or not isinstance(value, Iterable)
