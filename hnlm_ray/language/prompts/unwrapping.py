"""Find the JSON object of an answer inside what models and servers put around it.

Around it stand Markdown fences, a byte order mark, marks of the end of a turn, a sentence, or a block of thoughts. A
draft inside thoughts is no answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

__all__ = ["find_object", "load_json"]

_THOUGHT = r"(?:seed:)?(?:think|thinking|thought|thoughts|reasoning|analysis)"
_THOUGHTS_BEGIN = re.compile(
    rf"<{_THOUGHT}>|\[THINK\]|◁think▷|<\|START_THINKING\|>|(?:<\|start\|>assistant)?<\|channel\|>analysis",
    re.IGNORECASE,
)
_THOUGHTS_END = re.compile(
    rf"</{_THOUGHT}>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|channel\|>final[^{{]*?<\|message\|>", re.IGNORECASE
)
_MOST_TRIES = 200
"""Opening braces at which an object is looked for in one text."""
_MOST_LAYERS = 3
_LONGEST_INTEGER = 30
"""Digits; no field needs more, and Python refuses to convert 4,300."""


def load_json(text: str | bytes) -> Any:
    """What a JSON text holds; control characters in its strings are allowed.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or gives one key two values.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text), "surrogatepass")  # as json.loads does
        return _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def find_object(text: str, keys: Collection[str]) -> Any:
    """The JSON object of an answer.

    Args:
        text: what the model wrote.
        keys: those of the answer; objects that have any of them are preferred to those that have none.

    Returns:
        What the JSON holds; not an object where the whole text is JSON of another kind.

    Raises:
        ValueError: there is no object, or there are several that differ.
    """
    text = text.removeprefix("\ufeff").strip()
    if not text:
        raise ValueError("nothing was written")
    try:
        return _innermost(load_json(text), keys)
    except ValueError as error:
        problem = error
    found = list(_objects(_without_thoughts(text)))
    candidates = [value for value in found if not value.keys().isdisjoint(keys)] or found
    different = [value for place, value in enumerate(candidates) if value not in candidates[:place]]
    if len(different) > 1:
        raise ValueError(f"{len(different)} different objects")
    if not different:
        raise problem
    return _innermost(different[0], keys)


def _without_thoughts(text: str) -> str:
    """What follows the block of thoughts."""
    begins = _THOUGHTS_BEGIN.match(text)
    if not begins and text[0] in "{[`~":  # an answer that only names such a mark
        return text
    ends = [match.end() for match in _THOUGHTS_END.finditer(text)]
    if begins and not ends:
        raise ValueError("only thoughts")
    return text[ends[-1] :] if ends else text


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects in a text."""
    place = text.find("{")
    for _ in range(_MOST_TRIES):
        if place < 0:
            return
        try:
            value, end = _DECODER.raw_decode(text, place)
            yield value
        except (ValueError, RecursionError):
            end = place + 1
        place = text.find("{", end)


def _innermost(value: Any, keys: Collection[str]) -> Any:
    """The answer in a list of one, in an object with one entry, or in a string that holds JSON once more."""
    for _ in range(_MOST_LAYERS):
        if isinstance(value, dict) and value.keys().isdisjoint(keys) and len(value) == 1:
            (inner,) = value.values()
            if not isinstance(inner, dict):
                break
            value = inner
        elif isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            (value,) = value
        elif isinstance(value, str) and value.lstrip().startswith("{"):
            value = load_json(value)
        else:
            break
    return value


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float("inf")


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            if found[key] != value:
                raise ValueError(f"{key[:40]} has two values")
    return found


_DECODER = json.JSONDecoder(strict=False, parse_int=_integer, object_pairs_hook=_mapping)
