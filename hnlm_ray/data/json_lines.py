"""Parse one JSON object per line into columns; what Arrow refuses is read line by line, to find the malformed lines."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.json as pajson

from hnlm_ray.data.lines import Chunk, as_utf8, filled_lines, line_bounds
from hnlm_ray.data.rows import Rows
from hnlm_ray.errors import DataError

__all__ = ["fields", "read_objects"]

_ARRAY = re.compile(rb"\s*\[\s*(?:\{|\Z)")
_LITERAL = re.compile(r"\s*\{(?:'|u['\"])")
"""How an object begins that Python has written, its second version with ``u`` before texts."""
_TEXT, _NUMBER, _TEXTS = pa.string(), pa.float64(), pa.list_(pa.string())


def fields(
    text: Sequence[str], number: Sequence[str] = (), texts: Sequence[str] = (), either: Sequence[str] = ()
) -> pa.Schema:
    """The schema of objects, for :func:`read_objects`.

    Args:
        text: names of fields of text.
        number: of numbers.
        texts: of lists of texts.
        either: of text in which a list is kept as JSON.
    """
    kinds = ((text, _TEXT), (number, _NUMBER), (texts, _TEXTS), (either, _TEXT))
    schema = pa.schema([(name, kind) for names, kind in kinds for name in names])
    return schema.with_metadata(dict.fromkeys(either, "list"))


def read_objects(chunk: Chunk, schema: pa.Schema) -> Rows:
    """Read the fields of ``schema`` from every object; a missing field is null, other fields are ignored.

    Args:
        chunk: lines without a header. A line may also be a Python literal, as in the item files of early releases.
        schema: from :func:`fields`. A value of a similar type is converted: a number to text, a text
            to a list of one, a list to one text.

    Returns:
        the rows; a line is malformed if it is not an object, or if a value cannot be converted.

    Raises:
        DataError: the file is a JSON array.
    """
    content, recoded = as_utf8(chunk.content)
    if chunk.first_line == 1 and _ARRAY.match(content):
        raise DataError(f"{chunk.file} is one JSON array", "write one object per line, for example with jq -c '.[]'")
    lines = filled_lines(content)
    columns = _whole(content, schema) if len(lines) else schema.empty_table()
    bad: dict[int, str] = {}
    if columns is None or columns.num_rows != len(lines):
        columns, bad = _line_by_line(content, lines, schema)
    blank = np.setdiff1d(np.arange(len(line_bounds(content)[1])), lines, assume_unique=True)
    good = lines[~np.isin(lines, list(bad))]
    return Rows.located(chunk, columns, good, recoded=recoded, bad=bad, blank=blank)


def _whole(content: bytes, schema: pa.Schema) -> pa.Table | None:
    try:
        return pajson.read_json(
            pa.py_buffer(content),
            read_options=pajson.ReadOptions(use_threads=False, block_size=len(content) + 1),
            parse_options=pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None


def _line_by_line(content: bytes, lines: npt.NDArray[np.int64], schema: pa.Schema) -> tuple[pa.Table, dict[int, str]]:
    """The good rows, and the reason of each malformed line."""
    texts = content.split(b"\n")
    rows, bad = [], {}
    for number in lines.tolist():
        try:
            record = _object(texts[number].decode())
            rows.append({field.name: _fitted(_kept(record.get(field.name), field, schema), field) for field in schema})
        except ValueError as error:
            bad[number] = str(error)
    return pa.Table.from_pylist(rows, schema=schema), bad


def _object(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        if not _LITERAL.match(line):
            raise ValueError(f"not a JSON object ({error})") from error
        try:
            record = ast.literal_eval(line.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError) as second:
            raise ValueError(f"neither a JSON object nor a Python literal ({second})") from second
    if not isinstance(record, dict):
        raise ValueError(f"a JSON {type(record).__name__}, expected an object")
    return record


def _kept(value: Any, field: pa.Field, schema: pa.Schema) -> Any:
    """The value; a list as JSON where the field may be either."""
    is_either = field.name.encode() in (schema.metadata or {})
    return json.dumps(value) if is_either and isinstance(value, list) else value


def _fitted(value: Any, field: pa.Field) -> Any:
    if value is None:
        return None
    try:
        return _FITS[field.type](value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{field.name} is {str(value)[:40]!r}") from error


def _text(value: Any) -> str:
    """Text without lone surrogates, which UTF-8 cannot encode."""
    if isinstance(value, list):
        return " ".join(_text(part) for part in value)
    if isinstance(value, (dict, bool)):
        raise TypeError("an object, true and false are not text")
    return str(value).encode("utf-8", "replace").decode()


def _texts(value: Any) -> list[str]:
    """A flat list; nested lists are flattened."""
    if not isinstance(value, list):
        return [_text(value)]
    return [text for part in value if part is not None for text in _texts(part)]


_FITS: dict[pa.DataType, Callable[[Any], Any]] = {_TEXT: _text, _NUMBER: float, _TEXTS: _texts}
