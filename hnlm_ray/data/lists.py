"""Lists of names, from every way in which data sets write them: one rule for all readers.

A value may be a list of Arrow (nested ones are flattened), or a text that is one: JSON, a Python literal, what NumPy or
Java print, or names with a separator between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.raw import Column

__all__ = ["list_texts", "names", "paragraphs"]

_NAMES = pa.list_(pa.string())
# A text that can only be a list, wherever it stands: its first name is quoted, or there is none.
_LITERAL = (
    r"""(?s)^\s*(?:array\()?\s*[\[({][\[({\s]*(?:[uU]?['"].*['"]\s*,?\s*|\s*)[\])}\s]*[\])}]"""
    r"""\s*(?:,\s*dtype=[^)]*\))?\s*$"""
)
# One that is a list where names are expected: "[A, B]", "[[1, 2], [3]]", "{A,B}", "'A', 'B'".
_NAMED = r"""(?s)^\s*(?:\[[^\[\]]*\]|\[\s*\[.*\]\s*\]|\{[^{}]*\}|'.*'|".*")\s*$"""

# What stands between names. A parenthesis is part of a name unless a quote, a bracket or nothing stands in it.
_BETWEEN = re.compile(r"(?:[\s,\[\]{})]|\((?=\s*(?:[uU]?['\"]|[\[({)])))+")
_QUOTE = re.compile(r"[uU]?(['\"])")
_UNQUOTED = re.compile(r"[^,\[\]{}]+")
# A closing quote stands before a separator, a bracket or the end, or, as NumPy prints, before the next opening quote.
_ENDS = {quote: re.compile(rf"{quote}(?=\s*(?:[,:\])}}]|$)|\s+[uU]?['\"])") for quote in "'\""}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_NO_NAME = {"none", "null", "nan"}


def names(values: Column, separator: str = "|") -> Column:
    """A column as lists of names.

    Args:
        values: lists of any depth of texts or numbers, or texts. A text in brackets is the list that it writes, and so
            is an element of a list that is nothing else; every other text is split at the separator, and the only
            element of a list at ``|``.
        separator: between the names of a text without brackets.

    Returns:
        list<string>, null for null; null elements are left out.

    Raises:
        pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError: the elements are no texts.
    """
    if _is_list(values.type):
        return _flat_lists(values)
    text = values.cast(pa.string())
    is_list = pc.or_(pc.match_substring_regex(text, _LITERAL), pc.match_substring_regex(text, _NAMED))
    return _replaced(pc.split_pattern(text, separator), text, pc.fill_null(is_list, False))


def paragraphs(values: Column) -> Column:
    """A column of texts, in which a list of paragraphs becomes one text with spaces between them.

    Args:
        values: texts, or lists of texts. A text is a list only if its first paragraph is quoted, so that ``[Untitled]``
            stays as it is.

    Returns:
        text, null for null.

    Raises:
        pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError: the values are no texts.
    """
    if _is_list(values.type):
        return _joined(_flat_lists(values))
    text = values.cast(pa.large_string())
    is_list = pc.fill_null(pc.match_substring_regex(text, _LITERAL), False)
    if not pc.any(is_list).as_py():
        return text
    joined = [None if one is None else " ".join(list_texts(one)) for one in text.filter(is_list).to_pylist()]
    return pc.replace_with_mask(_whole(text), _whole(is_list), pa.array(joined, pa.large_string()))


def list_texts(text: str) -> list[str]:
    """The names that a list in text holds, in their order, whatever the depth.

    Nothing is evaluated, and every character is looked at a bounded number of times. A quote inside a name need not be
    escaped: ``['Men's Shoes']`` holds one name.
    """
    return [name for name in _tokens(text) if name.strip()]


def _tokens(text: str) -> Iterator[str]:
    body = re.sub(r"^\s*array\(|,\s*dtype=[^)]*\)\s*$", "", text)
    place = 0
    while place < len(body):
        if between := _BETWEEN.match(body, place):
            place = between.end()
        elif quote := _QUOTE.match(body, place):
            end = _closing_quote(body, quote.end(), quote[1])
            yield _plain(body[quote.end() : end])
            place = end + 1
        else:
            found = _UNQUOTED.match(body, place)
            name = found[0] if found else body[place]
            place += len(name)
            name = name.strip() if "(" in name else name.strip().rstrip(")")
            # What stands behind a colon is the value of a name in a dictionary.
            if name.lower() not in _NO_NAME and not name.startswith(":"):
                yield name


def _closing_quote(text: str, start: int, quote: str) -> int:
    """The place of the quote that ends a name which begins at ``start``; the end of the text if there is none."""
    for found in _ENDS[quote].finditer(text, start):
        slashes = end = found.start()
        while slashes > start and text[slashes - 1] == "\\":
            slashes -= 1
        if (end - slashes) % 2 == 0:
            return end
    return len(text)


def _plain(name: str) -> str:
    """A quoted name without its escapes; lone surrogates, which UTF-8 cannot encode, are replaced."""
    return _ESCAPE.sub(_unescaped, name).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] in "uUx" and len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, code)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _flat_lists(values: Column) -> Column:
    """Lists of any depth as one list of texts each, without null elements."""
    lists = _whole(values)
    rows = np.arange(len(lists))
    is_null = pc.is_null(lists)
    while _is_list(lists.type):
        parents = pc.list_parent_indices(lists).to_numpy()
        rows, lists = rows[parents], pc.list_flatten(lists)
    texts = lists.cast(pa.string())
    is_alone = pa.array(np.bincount(rows, minlength=len(is_null))[rows] == 1)
    is_list = pc.fill_null(pc.match_substring_regex(texts, _LITERAL), False)
    is_path = pc.fill_null(pc.and_(is_alone, pc.match_substring(texts, "|")), False)
    if pc.any(pc.or_(is_list, is_path)).as_py():
        alone = pa.ListArray.from_arrays(np.arange(len(texts) + 1, dtype=np.int32), texts)
        nested = _replaced(pc.if_else(is_path, pc.split_pattern(texts, "|"), alone), texts, is_list)
        rows, texts = rows[pc.list_parent_indices(nested).to_numpy()], pc.list_flatten(nested)
    valid = pc.is_valid(texts)
    sizes = np.bincount(rows[valid.to_numpy(zero_copy_only=False)], minlength=len(is_null))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), texts.filter(valid), mask=is_null)


def _replaced(lists: Column, text: Column, is_written: Column) -> Column:
    """The lists, with those that a text writes in their place."""
    if not pc.any(is_written).as_py():
        return lists
    distinct = pc.unique(text.filter(is_written))
    written = pa.array([list_texts(one) for one in distinct.to_pylist()], _NAMES)
    place = pc.index_in(pc.if_else(is_written, text, pa.scalar(None, pa.string())), value_set=distinct)
    lists, place, is_written = _whole(lists), _whole(place), _whole(is_written)
    both = pa.concat_arrays([lists.cast(_NAMES), written])
    own = np.arange(len(lists))
    return both.take(pa.array(np.where(is_written, len(lists) + pc.fill_null(place, 0).to_numpy(), own)))


def _joined(lists: pa.ListArray) -> Column:
    return pc.binary_join(lists, " ").cast(pa.large_string())


def _whole(column: Column) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
