from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.language.prompts.answers import json_schema, longest_profile, parse
from hnlm_ray.language.prompts.unwrapping import load_json
from hnlm_ray.language.prompts.wording import TASKS, Task

GOOD = json.dumps({"reasoning": "why", "summary": "those who care"})


@pytest.mark.parametrize("task", TASKS)
def test_schemas_bound_every_string_and_allow_nothing_else(task: Task) -> None:
    schema = json_schema(task)
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == set(schema["properties"])
    assert all(rules["maxLength"] <= 700 for rules in schema["properties"].values())


def test_a_schema_is_as_long_as_the_tokens_allow_and_holds_the_choices() -> None:
    assert [longest_profile(tokens) for tokens in (80, 192)] == [320, 700]
    assert json_schema("user_profile", longest=320)["properties"]["summary"]["maxLength"] == 320
    last = json_schema("item_profile", "last")
    assert (list(last["properties"]), last["required"]) == (["summary", "reasoning"], ["summary"])
    chosen = json_schema("negative", "none", ["Alien", "Notting Hill"])
    assert chosen["properties"] == {"hard_negative": {"type": "string", "enum": ["Alien", "Notting Hill"]}}


def test_a_profile_at_its_greatest_length_keeps_its_whole_sentences() -> None:
    text = json.dumps({"summary": "A desk lamp for students. It is used by people who read and by peo"})
    longest = len("A desk lamp for students. It is used by people who read and by peo")
    assert parse("item_profile", text, "stop", longest=longest).fields["summary"] == "A desk lamp for students."
    assert "by peo" in parse("item_profile", text, "stop", longest=longest + 50).fields["summary"]
    one = json.dumps({"summary": "A desk lamp for students who read and by peo"})
    assert "middle of a sentence" in parse("item_profile", one, "stop", longest=len(one) - 16).reason


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("The Great Great Great Great Escape", "invalid"),
        ("Pad, Foam Pad, Foam Pad, Foam Pad, Foam", "invalid"),
        ("New York, New York", "ok"),
        ("Liar Liar", "ok"),
        ("The Good, the Bad and the Ugly", "ok"),
    ],
)
def test_a_name_that_repeats_itself_is_none(name: str, status: str) -> None:
    answer = parse("negative", json.dumps({"hard_negative": name}), "stop")
    assert answer.status == status
    assert ("repeats" in answer.reason) == (status == "invalid")


@pytest.mark.parametrize(
    ("text", "finish", "error", "status", "reason"),
    [
        (GOOD, "stop", "", "ok", ""),
        (GOOD[:-3], "length", "", "truncated", "token limit"),
        (GOOD[:-3], "stop", "", "invalid", "not JSON"),
        ("", "stop", "", "invalid", "not JSON"),
        ("I cannot help with that.", "stop", "", "invalid", "not JSON"),
        ("[1]", "stop", "", "invalid", "answer:"),
        ('{"summary": "those who care"}', "stop", "", "ok", ""),
        ('{"reasoning": "why"}', "stop", "", "invalid", "summary: Field required"),
        ('{"summary":"those who care","reasoning":"they ca', "length", "", "ok", ""),
        ('{"summary":"those who ca', "length", "", "truncated", "token limit"),
        ('{"reasoning": "", "summary": ""}', "stop", "", "invalid", "summary"),
        ('{"reasoning": "", "summary": "  "}', "stop", "", "invalid", "blank"),
        ('{"reasoning": "", "summary": "customer"}', "stop", "", "invalid", "summary: is a fragment of 1 word"),
        (
            '{"reasoning": "", "summary": "a b a b a b a b"}',
            "stop",
            "",
            "invalid",
            "repeats 'a b' over and over",
        ),
        ('{"reasoning": "", "summary": 3}', "stop", "", "invalid", "summary"),
        ('{"reasoning": "", "summary": "x y z", "more": 1}', "stop", "", "ok", ""),
        ('{"reasoning": "", "summary": "x", "summary": "y"}', "stop", "", "invalid", "summary has two values"),
        ('{"reasoning": "", "summary": ' + "9" * 5000 + "}", "stop", "", "invalid", "summary"),
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


ANSWER = {"reasoning": "why", "summary": "those who care"}
OTHER = json.dumps({"reasoning": "why", "summary": "those who do not"})


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}```",
        f"~~~json\n{GOOD}\n~~~",
        f"Here is the profile:\n\n```JSON\n{GOOD}\n```\nAnything else?",
        f"<think>\n\n</think>\n\n{GOOD}",
        f"<think>A draft: {OTHER}</think>{GOOD}",
        f"A draft: {OTHER}\n</think>\n{GOOD}",
        f"<think>Hm.</think>\n```json\n{GOOD}\n```",
        f"[THINK]{OTHER}[/THINK]{GOOD}",
        f"◁think▷{OTHER}◁/think▷{GOOD}",
        f"<|channel|>analysis<|message|>{OTHER}<|end|><|start|>assistant<|channel|>final<|message|>{GOOD}<|return|>",
        f"<|channel|>final <|constrain|>json<|message|>{GOOD}",
        f"\ufeff{GOOD}",
        *(
            f"{GOOD}{mark}"
            for mark in ("<|im_end|>", "</s>", "<|eot_id|>", "<end_of_turn>", "\n<|endoftext|>", "[/INST]")
        ),
        f"Certainly! {GOOD} I hope that this helps :)",
        f"{GOOD}\n{GOOD}",
        f"{{product}} {{}} {GOOD}",
        f"[{GOOD}]",
        f'{{"answer": {GOOD}}}',
        json.dumps(GOOD),
        GOOD[:-1] + ', "confidence": 0.9}',
        GOOD[:-1] + ', "summary": "those who care"}',
        GOOD.replace("why", "why\n\twhy").replace("why\n\twhy", "why"),
    ],
)
def test_what_stands_around_an_answer_is_taken_off(text: str) -> None:
    answer = parse("item_profile", text, "stop")
    assert (answer.status, answer.reason, answer.excerpt) == ("ok", "", "")
    assert answer.fields == ANSWER


def test_a_mark_of_thoughts_inside_an_answer_is_text() -> None:
    text = json.dumps({"reasoning": "", "summary": "who likes </think> tags"})
    for wrapped in (text, f"```{text}```"):
        assert parse("item_profile", wrapped, "stop").fields["summary"] == "who likes ‹/think› tags"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"<think>A draft: {OTHER}", "only thoughts"),
        (f"{GOOD} or {OTHER}", "2 different objects"),
        (f"<think></think> {GOOD} {OTHER}", "2 different objects"),
        (GOOD[:-3] + "\n```", "not JSON"),
        ("I cannot\x1b[31m help <|im_end|>", "not JSON"),
        ("{" * 100_000, "not JSON"),
        ('{"a":' * 50_000, "not JSON"),
        ("x" + '{"a":[' * 50_000, "not JSON"),
    ],
)
def test_what_cannot_be_used_shows_its_beginning(text: str, reason: str) -> None:
    answer = parse("item_profile", text, "stop")
    assert answer.status == "invalid"
    assert reason in answer.reason
    assert set(answer.fields.values()) == {""}
    assert answer.excerpt
    assert len(answer.excerpt) <= 200
    assert answer.excerpt[:5] == text[:5].replace("<", "‹")
    assert answer.excerpt.isprintable()
    assert "<" not in answer.excerpt


def test_an_answer_that_was_cut_off_shows_its_beginning() -> None:
    answer = parse("item_profile", GOOD[:-3] + "\x00\ud800", "length")
    assert answer.status == "truncated"
    assert answer.excerpt == GOOD[:-3] + " \ufffd"


def test_half_a_character_becomes_a_sign_that_can_be_stored() -> None:
    fields = parse("item_profile", '{"reasoning": "", "summary": "for x\\ud800y \\ud83d\\ude00"}', "stop").fields
    assert fields["summary"] == "for x\ufffdy \U0001f600"


@given(st.text(), st.sampled_from(["stop", "length", ""]))
def test_no_text_breaks_the_parser(text: str, finish: str) -> None:
    assert parse("negative", text, finish).status in ("ok", "invalid", "truncated")


def test_text_of_an_answer_is_made_harmless() -> None:
    text = json.dumps({"reasoning": "a\u0000b\n<script>", "hard_negative": "  A <|im_end|>  lamp "})
    fields = parse("negative", text, "stop").fields
    assert fields["hard_negative"] == "A ‹|im_end|› lamp"
    assert fields["reasoning"] == "a b ‹script›"


def test_bytes_are_read_as_json_reads_them() -> None:
    for content in (b'{"a": "\xed\xa0\x80"}', '{"a": "\u00e9"}'.encode("utf-16"), b"\xef\xbb\xbf{}"):
        assert load_json(content) == json.loads(content)
