"""Whether a profile that follows the schema is one: no fragment of a sentence, and no words that go round in a loop.

A weak model, or one that runs into the longest string that its grammar allows, writes such text in valid JSON. The
rules ask for little, so that a terse profile passes, in any language.
"""

from __future__ import annotations

import re

__all__ = ["MOST_CHARS", "fault_of"]

MOST_CHARS = 700
"""The longest profile that the schema allows."""

_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
"""A word; in scripts without spaces between words, a character."""
_FEWEST_WORDS = 3
_LONGEST_LOOP = 12
_MANY_WORDS, _LEAST_DISTINCT = 16, 0.35
_DRAWN_OUT = re.compile(r"([^\W\d_])\1{7}")
_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f)\]\"'\u2019\u201d\u203a]$")
_DANGLING = re.compile(
    r"[,:;(\[{/&+-]$|\b(?:a|an|and|but|her|his|its|of|or|the|their|these|this|those|who|whose)$", re.IGNORECASE
)


def fault_of(profile: str) -> str:
    """What is wrong with a profile, as a clause; "" for nothing.

    Args:
        profile: with single spaces and without any at its ends.
    """
    words = _WORD.findall(profile.casefold())
    if not profile:
        return "is blank"
    if len(words) < _FEWEST_WORDS or not any(word.isalpha() for word in words):
        return f"is a fragment of {len(words)} word{'s' * (len(words) != 1)}"
    if not _END.search(profile) and (_DANGLING.search(profile) or len(profile) > MOST_CHARS - 5):
        return f"ends in the middle of a sentence, with {profile[-20:]!r}"
    if (loop := _loop(words)) or (loop := _DRAWN_OUT.findall(profile)):
        return f"repeats {' '.join(loop)[:60]!r} over and over"
    are_words = sum(map(len, words)) >= 2 * len(words)  # of characters, a text of some length has few
    if are_words and len(words) >= _MANY_WORDS and len({*words}) < _LEAST_DISTINCT * len(words):
        return f"repeats itself: {len({*words})} different words of {len(words)}"
    return ""


def _loop(words: list[str]) -> list[str]:
    """The words of a loop: one four times, two to four three times, or five or more twice, without a word between."""
    for length in range(1, _LONGEST_LOOP + 1):
        needed = length * (3 if length == 1 else 2 if length < 5 else 1)
        run = 0
        for place, (word, later) in enumerate(zip(words, words[length:], strict=False), 1):
            run = run + 1 if word == later else 0
            if run == needed:
                return words[place : place + length]
    return []
