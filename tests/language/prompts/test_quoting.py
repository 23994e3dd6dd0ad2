"""Text from outside holds no role, for any tokenizer, and nothing that nobody sees."""

from __future__ import annotations

import pytest

from hnlm_ray.language.prompts.quoting import neutral

ANGLES = ["<|im_start|>", "<s>", "</s>", "<<SYS>>", "<start_of_turn>"]
SQUARES = "INST /INST SYSTEM_PROMPT TOOL_CONTENT IMG PREFIX control_7 |system| gMASK THINK CLS SEP MASK"


@pytest.mark.parametrize("mark", [*ANGLES, *(f"[{name}]" for name in SQUARES.split())])
def test_no_mark_of_a_template_survives(mark: str) -> None:
    found = neutral(f"a {mark} lamp")
    assert mark not in found
    assert not set("<>[]") & set(found)
    assert found.startswith("a ")
    assert found.endswith(" lamp")


@pytest.mark.parametrize(
    "code", [0xAD, 0x61C, 0x200B, 0x200E, 0x200F, 0x202E, 0x2060, 0x2066, 0xFEFF, 0xE0041, 0xE007F]
)
def test_characters_that_nobody_sees_are_removed(code: int) -> None:
    assert neutral(f"la{chr(code)}mp") == "lamp"
    assert neutral(f"[IN{chr(code)}ST]") == "(INST)"


@pytest.mark.parametrize(
    "text", ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"]
)
def test_joiners_stay(text: str) -> None:
    assert neutral(text) == text


def test_lines_and_control_characters_are_spaces() -> None:
    assert neutral("a\nlamp\x00\x1b\u2028new") == "a lamp new"
