"""How the ids of a caller's frames are called and typed, and how the package holds them: as text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.data import ColumnsConfig
from hnlm_ray.data.conversion import Frame, Kind, kind_of, like, table_of
from hnlm_ray.data.ids import clean_ids
from hnlm_ray.data.values import ids
from hnlm_ray.errors import DataError

__all__ = ["Names"]


@dataclass(frozen=True)
class Names:
    """The form of a caller's frames.

    Attributes:
        user: the column of users.
        item: the column of items.
        user_type: the type of their ids; text after a bundle was loaded.
        item_type: likewise.
        kind: of the frames.
    """

    user: str = "user_id"
    item: str = "item_id"
    user_type: pa.DataType = pa.string()  # noqa: RUF009 - types are values
    item_type: pa.DataType = pa.string()  # noqa: RUF009
    kind: Kind = "arrow"

    @classmethod
    def of(cls, interactions: Frame, columns: ColumnsConfig) -> Names:
        """The form of a frame of interactions."""
        table = table_of(interactions, "interactions")
        found = dict(zip(table.schema.names, table.schema.types, strict=True))
        of_users, of_items = (_plain(found.get(name, pa.string())) for name in (columns.user, columns.item))
        return cls(columns.user, columns.item, of_users, of_items, kind_of(interactions))

    def texts(self, table: pa.Table, what: str) -> tuple[pa.Array, pa.Array]:
        """The ids of users and of items in a table, as text.

        Raises:
            DataError: it lacks one of the columns, or an id is null.
        """
        missing = [name for name in (self.user, self.item) if name not in table.column_names]
        if missing:
            found = ", ".join(map(repr, table.column_names)) or "none"
            raise DataError(f"{what} lack the column {missing[0]!r}, they have {found}", "rename the columns")
        users, items = (as_text(table[name]) for name in (self.user, self.item))
        if any(pc.any(pc.equal(pc.fill_null(column, ""), "")).as_py() for column in (users, items)):
            raise DataError(f"{what} have a row without a user or an item", "drop such rows")
        return users, items

    def frame(self, columns: dict[str, pa.Array]) -> Frame:
        """A frame of the caller's kind; ``user`` and ``item`` are text and get the caller's names and types."""
        own = {"user": (self.user, self.user_type), "item": (self.item, self.item_type)}
        named = {name: values for name, values in columns.items() if name not in own}
        ids = {own[name][0]: _as(values, own[name][1]) for name, values in columns.items() if name in own}
        return like(pa.table(ids | named), self.kind)


def as_text(column: pa.ChunkedArray | Iterable[object]) -> pa.Array:
    """Ids of any type as the package holds them."""
    values = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([pa.array(column)])
    (cleaned,) = clean_ids(ids(values))
    return cleaned.combine_chunks() if isinstance(cleaned, pa.ChunkedArray) else cleaned


def _as(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Ids in the caller's type; text where one is no such number, as that of a stranger may be."""
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        return texts


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type in which ids are given back: integers as they are, everything else as text."""
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    return values if pa.types.is_integer(values) else pa.string()
