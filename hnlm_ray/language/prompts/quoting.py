"""Text from outside as data in a prompt: quoted, bounded, without what a chat template could take for its own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

__all__ = ["clip", "entry", "neutral", "quoted", "well_formed"]

_BRACKETS = str.maketrans({"<": "‹", ">": "›", "[": "(", "]": ")"})
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff"
    "\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
"""Format characters that nobody sees, without the joiners that scripts and emoji need."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ENCODED = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def neutral(text: str) -> str:
    """The text without control and invisible characters and without anything that looks like a special token.

    Chat templates mark roles with ``<|...|>``, ``<s>``, ``<start_of_turn>``, ``[INST]`` or ``[|system|]``. Angle
    brackets become ``‹›`` and square ones ``()``, so that a review holds no role for any tokenizer, an endpoint's too.
    What the model's own would reserve all the same is read as letters, see :mod:`hnlm_ray.language.engines.tokens`.
    """
    if not (text.isascii() and text.isprintable()):  # most titles are, and need neither search
        text = _CONTROL.sub(" ", _INVISIBLE.sub("", text))
    if "<" in text or ">" in text or "[" in text or "]" in text:
        text = text.translate(_BRACKETS)
    return text.strip()


def well_formed(text: str) -> str:
    """The text with U+FFFD for each lone half of a surrogate pair, which no file can hold."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def clip(text: str, limit: int) -> str:
    """The text cut to at most ``limit`` characters, between words where it can be; a cut text ends in ``…``."""
    if len(text) <= limit:
        return text
    if limit == 0:
        return ""
    head = text[: limit - 1]
    boundary = head.rfind(" ")
    return (head[:boundary] if boundary > limit // 2 else head).rstrip(" ,;:.-") + "…"


def quoted(fields: Mapping[str, Any]) -> str:
    """The fields as one line of compact JSON, without those that are empty or None."""
    return _ENCODED({name: value for name, value in fields.items() if value or value == 0})


def entry(name: str, value: str | float) -> str:
    """What :func:`quoted` writes for one field, with a comma before it; "" where it writes nothing."""
    if isinstance(value, str):
        return f',"{name}":{encode_basestring(value)}' if value else ""
    return f',"{name}":{_ENCODED(value)}'
