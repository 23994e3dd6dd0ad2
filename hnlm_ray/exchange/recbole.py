"""RecBole's atomic files, with a configuration for RecBole that reads them.

::

    <name>.train.inter, <name>.valid.inter, <name>.test.inter    user_id, item_id, rating, timestamp
    <name>.item     item_id, title, brand, categories, description
    <name>.neg      pair_user_id, pair_item_id, negative_id, source; where there are negatives
    <name>.yaml     benchmark_filename and the fields

Source: https://recbole.io/docs/user_guide/data/atomic_files.html.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from hnlm_ray.errors import DataError
from hnlm_ray.exchange.run_data import RunData
from hnlm_ray.tables import SPLITS

__all__ = ["write"]

_BREAKS = "[\t\n\r]"
"""What a field cannot hold."""

_QUOTE = '^"'
"""RecBole reads with pandas, for which this would open a field that spans tabs and lines."""

_NEGATIVES = ["pair_user_id", "pair_item_id", "negative_id", "source"]
"""In RecBole, a field has one name in all files; an alias of the user's or the item's is numbered like it."""

_ITEM_TYPES = {
    "item_id": "token",
    "title": "token_seq",
    "brand": "token",
    "categories": "token_seq",
    "description": "token_seq",
}


def write(data: RunData, folder: Path, name: str) -> list[str]:
    """Write the files.

    Args:
        data: of a run.
        folder: exists and is empty.
        name: of the data set, with which the names of all files begin.

    Returns:
        Sentences for the user.

    Raises:
        DataError: an id holds a tab or the end of a line, or begins with a quote.
    """
    _require_plain(data.interactions, "user_id")
    _require_plain(data.items, "item_id")
    types = {"user_id": "token", "item_id": "token"}
    types |= {role: "float" for role in ("rating", "timestamp") if data.interactions[role].null_count == 0}
    for split in SPLITS:
        rows = data.interactions.filter(pc.equal(data.interactions["split"], split))
        _write(folder / f"{name}.{split}.inter", types, (_texts(rows[role]) for role in types))
    categories = pa.array([_sequence(row) for row in data.items["categories"].to_pylist()], pa.string())
    items = data.items.set_column(data.items.column_names.index("categories"), "categories", categories)
    _write(folder / f"{name}.item", _ITEM_TYPES, (_texts(items[role]) for role in _ITEM_TYPES))
    columns = {"inter": [*types], "item": [*_ITEM_TYPES]}
    if data.negatives.num_rows:
        columns["neg"] = _NEGATIVES[:3]  # RecBole numbers only what is an alias here
        tokens = dict.fromkeys(_NEGATIVES, "token")
        _write(folder / f"{name}.neg", tokens, map(_texts, data.negatives.columns))
    (folder / f"{name}.yaml").write_text(_configuration(columns), encoding="utf-8")
    left_out = [role for role in ("rating", "timestamp") if role not in types]
    return [f"no {role} was written, because not every interaction has one" for role in left_out] + [
        f"RecBole reads it with config_file_list=['{name}.yaml'], dataset='{name}', and data_path the folder above"
    ]


def _configuration(columns: dict[str, list[str]]) -> str:
    options = {
        "benchmark_filename": [*SPLITS],
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        **({"RATING_FIELD": "rating"} if "rating" in columns["inter"] else {}),
        **({"TIME_FIELD": "timestamp"} if "timestamp" in columns["inter"] else {}),
        "load_col": {kind: fields for kind, fields in columns.items() if kind != "neg"},
        "field_separator": "\t",
    }
    text = yaml.safe_dump(options, sort_keys=False)
    if "neg" in columns:
        more = {
            "additional_feat_suffix": ["neg"],
            "alias_of_user_id": ["pair_user_id"],
            "alias_of_item_id": ["pair_item_id", "negative_id"],
            "load_col": columns,
        }
        text += "# For a model that reads the hard negatives, these instead:\n"
        text += "".join(f"# {line}\n" for line in yaml.safe_dump(more, sort_keys=False).splitlines())
    return text


def _require_plain(table: pa.Table, column: str) -> None:
    broken = table.filter(pc.match_substring_regex(table[column], f"{_BREAKS}|{_QUOTE}"))
    if broken.num_rows:
        what = f"the {column} {broken[column][0].as_py()!r} holds a tab or the end of a line, or begins with a quote"
        raise DataError(f"{what}, which RecBole's files cannot hold", "use --format rectools")


def _sequence(names: Sequence[str]) -> str:
    """Names as one field, as in RecBole's own files of Amazon; the quotes keep names of several words together."""
    return ", ".join("'" + name.replace("\\", "\\\\") + "'" for name in names)


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as fields: white space within texts is one space, and a quote at the beginning a single one."""
    plain = pc.replace_substring_regex(column.cast(pa.string()), f"{_BREAKS}+", " ")
    return pc.replace_substring_regex(plain, _QUOTE, "'")


def _write(path: Path, types: dict[str, str], columns: Iterable[pa.ChunkedArray]) -> None:
    header = "\t".join(f"{name}:{kind}" for name, kind in types.items())
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(f"{header}\n")
        stream.writelines("\t".join(row) + "\n" for row in rows)
