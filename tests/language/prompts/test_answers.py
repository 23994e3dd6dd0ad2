from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.language.prompts.answers import json_schema, parse
from hnlm_ray.language.prompts.render import TASKS

GOOD = json.dumps({"reasoning": "why", "summary": "who"})


@pytest.mark.parametrize("task", TASKS)
def test_schemas_bound_every_string_and_allow_nothing_else(task: str) -> None:
    schema = json_schema(task)  # type: ignore[arg-type]
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == set(schema["properties"])
    assert all(rules["maxLength"] <= 700 for rules in schema["properties"].values())


@pytest.mark.parametrize(
    ("text", "finish", "error", "status", "reason"),
    [
        (GOOD, "stop", "", "ok", ""),
        (GOOD[:-3], "length", "", "truncated", "token limit"),
        (GOOD[:-3], "stop", "", "invalid", "not JSON"),
        ("", "stop", "", "invalid", "not JSON"),
        ("I cannot help with that.", "stop", "", "invalid", "not JSON"),
        ("[1]", "stop", "", "invalid", "answer:"),
        ('{"summary": "x"}', "stop", "", "invalid", "reasoning: Field required"),
        ('{"reasoning": "", "summary": ""}', "stop", "", "invalid", "summary"),
        ('{"reasoning": "", "summary": "  "}', "stop", "", "invalid", "blank"),
        ('{"reasoning": "", "summary": 3}', "stop", "", "invalid", "summary"),
        ('{"reasoning": "", "summary": "x", "more": 1}', "stop", "", "invalid", "more"),
        (json.dumps({"reasoning": "", "summary": "x" * 10_000}), "stop", "", "invalid", "at most 700"),
        ("[" * 100_000, "stop", "", "invalid", ""),
        ("", "", "engine died", "failed", "engine died"),
    ],
)
def test_answers_are_judged(text: str, finish: str, error: str, status: str, reason: str) -> None:
    answer = parse("item_profile", text, finish, error)
    assert answer.status == status
    assert reason in answer.reason
    assert (answer.reason == "") == (status == "ok")
    assert set(answer.fields) == {"reasoning", "summary"}
    assert (answer.fields["summary"] != "") == (status == "ok")


@given(st.text(), st.sampled_from(["stop", "length", ""]))
def test_no_text_breaks_the_parser(text: str, finish: str) -> None:
    assert parse("negative", text, finish).status in ("ok", "invalid", "truncated")


def test_text_of_an_answer_is_made_harmless() -> None:
    text = json.dumps({"reasoning": "a\u0000b\n<script>", "hard_negative": "  A <|im_end|>  lamp "})
    fields = parse("negative", text, "stop").fields
    assert fields["hard_negative"] == "A ‹|im_end|› lamp"
    assert fields["reasoning"] == "a b ‹script›"
