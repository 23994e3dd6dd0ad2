"""Text from outside as data in a prompt: quoted, bounded, without what a chat template could take for its own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["clip", "neutral", "quoted", "well_formed"]

_ANGLES = str.maketrans({"<": "‹", ">": "›"})
_BRACKETED = re.compile(r"\[(/?(?:INST|SYS|SYSTEM|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS))\]", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


def neutral(text: str) -> str:
    """The text without control characters and without anything that looks like a special token.

    Chat templates mark roles with ``<|...|>``, ``<s>``, ``<start_of_turn>`` or ``[INST]``. Angle brackets become ``‹›``
    and the square brackets of known marks become ``()``, so that no tokenizer reads a role in a review.
    """
    return _BRACKETED.sub(r"(\1)", _CONTROL.sub(" ", text).translate(_ANGLES)).strip()


def well_formed(text: str) -> str:
    """The text with U+FFFD for each lone half of a surrogate pair, which no file can hold."""
    return _SURROGATE.sub("\ufffd", text)


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
    shown = {name: value for name, value in fields.items() if value not in ("", None, [], {})}
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
