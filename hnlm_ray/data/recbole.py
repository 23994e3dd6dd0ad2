"""RecBole atomic files: tab-separated, with a header of typed fields such as ``user_id:token``.

Source: https://recbole.io/docs/user_guide/data/atomic_files.html.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.data import ColumnsConfig
from hnlm_ray.data.delimited import column_of, header_names, read_rows
from hnlm_ray.data.files import UsualNames
from hnlm_ray.data.lines import Chunk
from hnlm_ray.data.lists import names
from hnlm_ray.data.raw import RAW_INTERACTIONS, RAW_ITEMS, Column
from hnlm_ray.data.values import moments, numbers
from hnlm_ray.errors import DataError

__all__ = ["NAMES", "fields_of", "parse_interactions", "parse_items"]

NAMES = UsualNames(("*.inter", "*.inter.gz"), ("*.item", "*.item.gz"), has_header=True, shares="name")

_KNOWN_NAMES = {
    "user": ("user_id",),
    "item": ("item_id", "business_id"),
    "rating": ("rating", "stars"),
    "timestamp": ("timestamp", "date"),
    "review": ("review", "review_text", "text"),
    "title": ("title", "movie_title", "item_name", "name"),
    "brand": ("brand", "store"),
    "categories": ("categories", "category", "class", "genre", "genres"),
    "description": ("description",),
}
"""Field names of each role in the published data sets, used where ``data.columns`` does not name one."""
_REQUIRED = ("user", "item")


def fields_of(header: str, roles: Sequence[str], config: ColumnsConfig, file: str) -> dict[str, str]:
    """The field of each role that a file has.

    Raises:
        DataError: the header is not typed, or lacks a field that is required or that the user named.
    """
    typed = header_names(header, "\t")
    bare = [name.partition(":")[0] for name in typed]
    if not all(":" in name for name in typed):
        raise DataError(f"{file}:1: the header {header[:60]!r} has no types", "write fields as user_id:token")
    chosen = {}
    for role in roles:
        given = role in config.model_fields_set
        own = (getattr(config, role),) if given else ()
        # The file of items may call the id by a known name.
        wanted = (*own, *_KNOWN_NAMES[role]) if not given or (role == "item" and "user" not in roles) else own
        present = [name for name in wanted if name is not None and column_of(bare, name, file)]
        if present:
            chosen[role] = present[0]
        elif role in _REQUIRED or (given and wanted[0] is not None):
            raise DataError(
                f"{file} lacks the field {wanted[0]!r}, it has {', '.join(bare)}", f"name it with data.columns.{role}"
            )
    return chosen


def parse_interactions(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw interactions; a rating or timestamp that is not a number makes a bad row.

    Raises:
        DataError: as :func:`fields_of`.
    """
    chosen = fields_of(chunk.header, ("user", "item", "rating", "timestamp", "review"), columns, chunk.file)
    rows = read_rows(chunk, _names(chunk.header), "\t", quoted=False)
    nothing = pa.nulls(len(rows.lines), pa.string())
    found = {role: rows.columns[name] for role, name in chosen.items()}
    rating, wrong_rating = numbers(found.get("rating", nothing), "rating")
    when = moments(found.get("timestamp", nothing), "timestamp")
    return rows.to_raw(
        RAW_INTERACTIONS,
        user_id=found["user"],
        item_id=found["item"],
        rating=rating,
        timestamp=when.timestamp,
        moment=when.moment,
        review=found.get("review"),
        problem=pc.coalesce(wrong_rating, when.problem),
    )


def parse_items(chunk: Chunk, columns: ColumnsConfig) -> pa.Table:
    """Raw items.

    Raises:
        DataError: as :func:`fields_of`.
    """
    chosen = fields_of(chunk.header, ("item", "title", "brand", "categories", "description"), columns, chunk.file)
    rows = read_rows(chunk, _names(chunk.header), "\t", quoted=False)
    found: dict[str, Column | None] = {role: rows.columns[name] for role, name in chosen.items()}
    found["item_id"] = found.pop("item")
    if "categories" in found:
        is_sequence = f"{chosen['categories']}:token_seq" in header_names(chunk.header, "\t")
        found["categories"] = _sequence(found["categories"]) if is_sequence else names(found["categories"])
    return rows.to_raw(RAW_ITEMS, **found)


def _names(header: str) -> list[str]:
    return [name.partition(":")[0] for name in header_names(header, "\t")]


def _sequence(text: Column) -> Column:
    """Names separated by spaces, or by commas where there are commas or quotes; in brackets or quotes as everywhere."""
    by_comma = pc.match_substring_regex(text, r",|^\s*\[?['\"]")
    return names(pc.if_else(by_comma, text, pc.replace_substring(text, " ", ",")), ",")
