"""Whether a profile that follows the schema is one: no fragment, no words that go round in a loop, no copied example.

A weak model, or one that runs into the longest string that its grammar allows, writes such text in valid JSON. The
rules ask for little, so that a terse profile passes, in any language.
"""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["MOST_CHARS", "copy_of", "fault_of", "loop_of", "runs_on", "whole_sentences"]

MOST_CHARS = 700
"""The longest profile that the schema allows."""

_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
"""A word; in scripts without spaces between words, a character."""
_NEAR = 5
"""Characters short of the greatest length at which a text counts as cut there."""
_REPEATS, _UNENDED = "repeats", "ends in the middle of a sentence"
_FEWEST_WORDS = 3
_LONGEST_LOOP = 12
_FEWEST_AGAIN = 3
"""Words of the shortest loop that were said before."""
_COPIED_WORDS = 9
"""So many words in a row are no common turn of phrase, and not what two likings have in common: who has them twice, or
from an example, repeats."""
_MANY_WORDS, _LEAST_DISTINCT = 16, 0.35
_DRAWN_OUT = re.compile(r"([^\W\d_])\1{7}")
_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f)\]\"'\u2019\u201d\u203a]$")
_SENTENCE_END = re.compile(r"[.!?\u2026](?=\s|$)|[\u3002\uff01\uff1f]")
_DANGLING = re.compile(
    r"[,:;(\[{/&+-]$|\b(?:a|an|and|but|her|his|its|of|or|the|their|these|this|those|who|whose)$", re.IGNORECASE
)


def fault_of(profile: str, longest: int = MOST_CHARS) -> str:
    """What is wrong with a profile, as a clause; "" for nothing.

    Args:
        profile: with single spaces and without any at its ends.
        longest: characters that it could have had.
    """
    words = _WORD.findall(profile.casefold())
    if not profile:
        return "is blank"
    if len(words) < _FEWEST_WORDS or not any(word.isalpha() for word in words):
        return f"is a fragment of {len(words)} word{'s' * (len(words) != 1)}"
    if not _END.search(profile) and (_DANGLING.search(profile) or len(profile) >= longest - _NEAR):
        return f"{_UNENDED}, with {profile[-20:]!r}"
    return loop_of(profile, words) or _repetition(words)


def loop_of(text: str, words: list[str] | None = None) -> str:
    """What a text repeats without end, as a clause; "" for nothing.

    Args:
        text: with single spaces.
        words: those of the text, where they are known already.
    """
    words = _WORD.findall(text.casefold()) if words is None else words
    loop = _loop(words) or (_DRAWN_OUT.findall(text) if any(map(_may_be_drawn_out, words)) else [])
    return f"{_REPEATS} {' '.join(loop)[:60]!r} over and over" if loop else ""


def copy_of(profile: str, examples: Collection[str]) -> str:
    """What a profile has word for word from the answer of a worked example, as a clause; "" for nothing.

    A weak model repeats the example whatever it is shown, and the profile then says nothing about its item or user.
    """
    if not examples:
        return ""
    words = _WORD.findall(profile.casefold())
    known = {run for example in examples for run in _runs(_WORD.findall(example.casefold()))}
    found = next((run for run in _runs(words) if run in known), ())
    return f"{_REPEATS} {' '.join(found)!r} of a worked example" if found else ""


def runs_on(reason: str) -> bool:
    """Whether a reason for rejecting an answer says that it repeated itself or came to no end."""
    return _REPEATS in reason or _UNENDED in reason


def whole_sentences(profile: str, longest: int) -> str:
    """A profile that reached its greatest length, without the sentence that was cut there; else the profile as it is.

    Args:
        profile: with single spaces.
        longest: characters that it could have had.
    """
    if len(profile) < longest - _NEAR or _END.search(profile):
        return profile
    ends = [match.end() for match in _SENTENCE_END.finditer(profile)]
    return profile[: ends[-1]] if ends else profile


def _runs(words: list[str]) -> list[tuple[str, ...]]:
    return [tuple(words[place : place + _COPIED_WORDS]) for place in range(len(words) - _COPIED_WORDS + 1)]


def _repetition(words: list[str]) -> str:
    """What a text says again, or that it has few words of its own; "" for neither."""
    if sum(map(len, words)) < 2 * len(words):  # of characters, a text of some length has few
        return ""
    if again := _said_twice(words):
        return f"{_REPEATS} {' '.join(again)!r}"
    if len(words) >= _MANY_WORDS and len({*words}) < _LEAST_DISTINCT * len(words):
        return f"{_REPEATS} itself: {len({*words})} different words of {len(words)}"
    return ""


def _said_twice(words: list[str]) -> tuple[str, ...]:
    """The first run of nine words that stands in a text more than once, wherever; () for none."""
    if len(words) - len({*words}) < _COPIED_WORDS:  # each word of the second such run was said before
        return ()
    met: dict[str, list[int]] = {}
    for place in range(len(words) - _COPIED_WORDS + 1):
        run = words[place : place + _COPIED_WORDS]
        before = met.setdefault(run[0], [])
        if any(words[other : other + _COPIED_WORDS] == run for other in before):
            return tuple(run)
        before.append(place)
    return ()


def _may_be_drawn_out(word: str) -> bool:
    """Whether a word can have a letter eight times in a row, which is faster to tell than to find."""
    return len(word) >= 8 and len({*word}) <= len(word) - 7


def _loop(words: list[str]) -> list[str]:
    """The words of a loop: one four times, two to four three times, or five or more twice, without a word between."""
    if len(words) - len({*words}) < _FEWEST_AGAIN:
        return []
    places: dict[str, list[int]] = {}  # of each word, the latest first
    runs: dict[int, tuple[int, int]] = {}  # by a loop's length: words in a row that stood so far before, and the last
    found: dict[int, list[str]] = {}
    for place, word in enumerate(words):
        before = places.setdefault(word, [])
        for other in before:
            if (length := place - other) > _LONGEST_LOOP:
                break
            run, last = runs.get(length, (0, place))
            runs[length] = run, _ = (run + 1 if last == place - 1 else 1), place
            if run == length * (3 if length == 1 else 2 if length < 5 else 1):
                found.setdefault(length, words[place + 1 - length : place + 1])
        before.insert(0, place)
    return found[min(found)] if found else []
