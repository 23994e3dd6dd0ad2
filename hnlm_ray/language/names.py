"""How names of items are spelt, and what is written instead of a name."""

from __future__ import annotations

import re
import unicodedata

from hnlm_ray.language.prompts.quoting import neutral

__all__ = ["folded", "is_none", "is_refusal", "normalised", "verbatim", "words_of"]

_WORD = re.compile(r"[^\W_]+(?:[+#]++(?![^\W_]))?")
"""A word, with the plus and number signs that end it."""
_NONE = frozenset(
    (
        "", "none", "n a", "na", "nan", "null", "nil", "nothing", "no", "unknown", "undefined", "tbd", "not applicable",
        "not available", "not specified", "not found", "no answer", "no item", "no product", "no name", "none found",
        "product name", "item name", "name of the product", "the name of the product", "hard negative",
    )
)  # fmt: skip
"""Normalised forms of what is written where there is no name."""
_REFUSALS = re.compile(
    r"(?:(?:i m|i am|im)?\s?(?:very |so )?sorry(?: but)? |unfortunately )?"
    r"(?:i (?:can ?not|can t|cant|could not|couldn t|won t|will not|do not|don t|am unable|am not able)"
    r"|i m (?:unable|not able)|as an ai|as a (?:large )?language model|unable to|can ?not|can t)\b.+"
    r"|(?:i m |i am )sorry\b.*|(?:i m |i am )?not sure\b.*"
    r"|(?:there (?:is|are) )?(?:no|none|not any|nothing)(?: \w+)?"
    r" (?:suitable|appropriate|relevant|matching|such|valid|fitting|hard negatives?|negatives?|recommendations?)\b.*"
    r"|(?:there (?:is|are) )?(?:no|none of the)(?: \w+)? (?:items?|products?|match|matches|candidates?|options?)"
    r"(?: (?:was|were|is|are|found|available|exists?|given|provided|listed|fits?|match(?:es)?|applicable)\b.*)?"
    r"|none of (?:these|those|them|the above)\b.*|there (?:isn t|aren t|is not|are not)\b.*|could not find\b.*"
)
"""Normalised sentences that name nothing."""
_NONE_AND_WHY = re.compile(r"[\W_]*(?:none|null|n/a)\s*[.,:;(\u2013\u2014-].*")


def verbatim(name: str) -> str:
    """The name as a prompt shows it: without control characters and angle brackets, with single spaces."""
    return " ".join(neutral(name).split())


def folded(name: str) -> str:
    """The name in Unicode NFKC, case folded, with single spaces; punctuation stays."""
    twice = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())  # folding can undo NFKC
    return " ".join(twice.split())


def normalised(name: str) -> str:
    """The folded name with punctuation and spaces as single spaces, but for ``+`` and ``#`` that end a word: "c#"."""
    return words_of(folded(name))


def words_of(folded_name: str) -> str:
    """The words of a folded name, with single spaces."""
    return " ".join(_WORD.findall(folded_name))


def is_none(name: str) -> bool:
    """Whether a word is written that stands for no name, such as "None", "N/A" or "-"."""
    return normalised(name) in _NONE


def is_refusal(name: str) -> bool:
    """Whether it is a sentence that names nothing, such as "I cannot ..." or "No suitable item found"."""
    return bool(_REFUSALS.fullmatch(normalised(name)) or _NONE_AND_WHY.fullmatch(folded(name)))
