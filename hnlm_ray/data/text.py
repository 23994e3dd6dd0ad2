"""Clean columns of text: remove HTML and control characters, and collapse white space."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.raw import Column

__all__ = ["clean_text", "unescape_html", "without_controls", "without_scripts"]

_ENTITY = rb"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
_AMPERSAND = r"&(?:amp|AMP|#0*38|#[xX]0*26);"
# First what is never shown, then tags that separate words, then every other tag; "a < b" and "<3" are not tags.
_TAGS = (
    (r"(?is)<!--.*?-->|<script\b.*?</script\s*>|<style\b.*?</style\s*>", " "),
    (r"(?i)</?(?:br|p|div|li|ul|ol|tr|td|th|table|h[1-6]|hr|blockquote)\b[^<>]*>", " "),
    (r"</?[A-Za-z][A-Za-z0-9:-]*(?:\s[^<>]*)?/?>", ""),
)
_SCRIPT = (
    r"(?s)(?i:(<|&lt;)(style|script)\b|^\s*(<|&lt;)span\s+(id|class)=)|\bue_t0\b|\bgetTime\(\)"
    r"|\bfunction\s*\(\w*\)\s*\{|^\s*(var|let|const)\s+\w+\s*=|^\s*[(!]*function\s*\w*\s*\(|\bdocument\.(write|getElementById)\("
    r"|^\s*[.#@][\w-][^{}]*\{[^{}]*:[^{}]*[;}]"
)
# What exports write where there is no text.
_NO_TEXT = r"^\s*(nan|NaN|<NA>|null|NULL|None)\s*$"
_SPACES = r"[\s\p{Z}\x{0B}\x{85}]+"
# Control characters other than white space, marks of the direction of writing, and characters without width.
_CONTROLS = (
    r"[\x{00}-\x{08}\x{0E}-\x{1F}\x{7F}-\x{84}\x{86}-\x{9F}"
    r"\x{200B}\x{202A}-\x{202E}\x{2066}-\x{2069}\x{FEFF}]"
)


def clean_text(values: Column) -> tuple[Column, dict[str, int]]:
    """Clean a column of text; null becomes ``""``.

    Returns:
        the text, never null, and how many values each rule changed.
    """
    text = pc.fill_null(values, "")
    counts = {}
    for name, rule in _RULES.items():
        changed = rule(text)
        counts[name] = pc.sum(pc.not_equal(changed, text)).as_py() or 0
        text = changed
    return text, counts


def unescape_html(values: Column) -> Column:
    """Replace HTML character references by their characters, once (``&amp;lt;`` becomes ``&lt;``)."""
    if isinstance(values, pa.ChunkedArray):
        return pa.chunked_array([unescape_html(chunk) for chunk in values.chunks], values.type)
    is_escaped = pc.fill_null(pc.match_substring_regex(values, _ENTITY.decode()), False)
    rows = np.flatnonzero(is_escaped.to_numpy(zero_copy_only=False))
    if not len(rows):
        return values
    text = values.take(pa.array(rows))
    # One pass per distinct reference, of which there are few; the ampersand last, since it could form new ones.
    joined = text.buffers()[2].to_pybytes()
    for entity in sorted({match.decode() for match in re.findall(_ENTITY, joined)}):
        character = html.unescape(entity)
        if character not in ("&", entity):
            text = pc.replace_substring(text, entity, character)
    text = pc.replace_substring_regex(text, _AMPERSAND, "&")
    return pc.replace_with_mask(values, is_escaped, text)


def without_controls(values: Column) -> Column:
    """Remove control characters, marks of the direction of writing, and characters without width."""
    return pc.replace_substring_regex(values, _CONTROLS, "")


def without_scripts(values: Column) -> Column:
    """Titles and names; "" where the text is the script or the style of the page that it was taken from.

    Such titles are frequent in the item files of Amazon Reviews 2018.
    """
    return pc.if_else(pc.fill_null(pc.match_substring_regex(values, _SCRIPT), False), "", values)


def _without_html(values: Column) -> Column:
    text = unescape_html(values)
    for pattern, replacement in _TAGS:
        text = pc.replace_substring_regex(text, pattern, replacement)
    return text


_RULES: dict[str, Callable[[Column], Column]] = {
    "texts_missing": lambda text: pc.if_else(pc.match_substring_regex(text, _NO_TEXT), "", text),
    "texts_with_html": _without_html,
    "texts_with_control_characters": without_controls,
    "texts_with_odd_spaces": lambda text: pc.utf8_trim(pc.replace_substring_regex(text, _SPACES, " "), " "),
}
"""By the name of its count, in the order of application."""
