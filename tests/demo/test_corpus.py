from __future__ import annotations

import itertools
import json

import pytest

from hnlm_ray.demo import lexicon
from hnlm_ray.demo.corpus import Example, examples
from hnlm_ray.demo.language_model import Recipe, build_tokenizer, encode
from hnlm_ray.language.prompts.answers import parse

LEAVES = {leaf: nouns for (_, leaf), nouns in zip(lexicon.CATEGORIES, lexicon.NOUNS, strict=True)}


@pytest.fixture(scope="module")
def world() -> list[Example]:
    return list(examples(1))


def test_every_answer_is_one_that_the_engine_would_accept(world: list[Example]) -> None:
    assert {example.task for example in world} == {"item_profile", "user_profile", "negative"}
    assert all(parse(example.task, example.answer, "stop").status == "ok" for example in world)


def test_equal_calls_give_equal_examples(world: list[Example]) -> None:
    assert list(itertools.islice(examples(1), 50)) == world[:50]


def test_a_history_is_as_long_as_asked_for() -> None:
    lengths = {
        len(row.prompt.user.splitlines()) for row in examples(1, longest_history=3) if row.task == "user_profile"
    }
    assert max(lengths) == 3


def test_a_negative_is_of_the_same_shelf_in_a_style_that_the_prompt_does_not_show(world: list[Example]) -> None:
    for example in (row for row in world if row.task == "negative"):
        bought = json.loads(example.prompt.user.splitlines()[-1])
        style, _, noun = json.loads(example.answer)["hard_negative"].partition(" ")
        assert noun in LEAVES[bought["categories"].rpartition(" / ")[-1]]
        assert style in lexicon.STYLES
        assert style.lower() not in example.prompt.user.lower()


def test_a_user_profile_counts_the_purchases_and_names_the_commonest_category(world: list[Example]) -> None:
    for example in (row for row in world if row.task == "user_profile"):
        leaves = [json.loads(line)["categories"].rpartition(" / ")[-1] for line in example.prompt.user.splitlines()]
        answer = json.loads(example.answer)
        for leaf in set(leaves):
            assert f"{leaf} {leaves.count(leaf)}" in answer["reasoning"]
        commonest = max(leaves.count(leaf) for leaf in leaves)
        assert any(leaf in answer["summary"] for leaf in leaves if leaves.count(leaf) == commonest)


def test_the_answer_follows_the_prompt_as_the_chat_template_lays_it_out(world: list[Example]) -> None:
    texts = (text for row in world for text in (row.prompt.system, row.prompt.user, row.answer))
    tokenizer = build_tokenizer(texts, Recipe())
    tokens = encode(tokenizer, world[0])
    shown = tokenizer.decode(tokens.prefix + tokens.body + tokens.answer)
    prompt = world[0].prompt
    assert shown == f"<|system|>{prompt.system}<|end|><|user|>{prompt.user}<|end|><|assistant|>{world[0].answer}<|end|>"
