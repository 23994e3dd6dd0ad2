"""Thirty injections in the chat templates of three families: no text of the data becomes a turn, or another row.

The tokenizer of SmolLM2 is the real one; those of the other two are bytes with the special tokens and the chat template
in the form of Llama 3's and of Qwen's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hnlm_ray.config.language import NegativesConfig, ProfilesConfig
from hnlm_ray.errors import ConfigError
from hnlm_ray.language.engines.tokens import chat_tokens
from hnlm_ray.language.prompts.render import Product, Prompt, Purchase, item_profile, negative, user_profile
from tests.language.injections import INJECTIONS
from tests.small_model import small_model

LLAMA_TEMPLATE = (
    "{{- bos_token }}{% for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{- message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
LLAMA_NAMES = (
    "begin_of_text end_of_text reserved_special_token_0 reserved_special_token_1 finetune_right_pad_id "
    "start_header_id end_header_id eom_id eot_id python_tag"
)
LLAMA_TOKENS = [f"<|{name}|>" for name in LLAMA_NAMES.split()]
QWEN_TEMPLATE = (
    "{%- if messages[0].role != 'system' %}"
    "{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{%- for message in messages %}{%- set content = message.content %}"
    "{%- if message.role == 'assistant' and '</think>' in content %}"
    "{%- set content = content.split('</think>')[-1] %}{% endif %}"
    "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and not enable_thinking %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN_WORDS = ["<tool_call>", "</tool_call>", "<think>", "</think>"]
"""Added to the vocabulary without being special, which is how Qwen's tokenizers have them."""

PLAIN = "A lamp of oak."
PROFILES, NEGATIVES = ProfilesConfig(), NegativesConfig()


def byte_tokenizer(
    special: list[str], template: str, words: Sequence[str] = (), **roles: str
) -> PreTrainedTokenizerFast:
    alphabet = {symbol: place for place, symbol in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    plain = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, additional_special_tokens=special, **roles)
    tokenizer.add_tokens([AddedToken(word, special=False) for word in words])
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="module", params=["smollm2", "llama", "qwen"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    if request.param == "smollm2":
        return AutoTokenizer.from_pretrained(small_model())
    if request.param == "llama":
        return byte_tokenizer(LLAMA_TOKENS, LLAMA_TEMPLATE, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
    return byte_tokenizer(QWEN_TOKENS, QWEN_TEMPLATE, QWEN_WORDS, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def reserved(tokenizer: Any, ids: list[int]) -> list[int]:
    """The tokens that stand for more than their letters, in their order."""
    known = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return [one for one in ids if one in known]


def item_prompt(text: str) -> Prompt:
    return item_profile(Product(text, text, [text], text, [text, text]), PROFILES)


def user_prompt(text: str) -> Prompt:
    history = [Purchase(PLAIN), Purchase(text, [text], text, 4.0, text), Purchase(PLAIN)]
    return user_profile(history, PROFILES)


def negative_prompt(text: str) -> Prompt:
    return negative(text, Product(text, categories=[text]), text, NEGATIVES)


def choosing_prompt(text: str) -> Prompt:
    return negative(text, Product(text, categories=[text]), text, NEGATIVES, candidates=[PLAIN, text, "A chair"])


PROMPTS = [item_prompt, user_prompt, negative_prompt, choosing_prompt]


def test_there_are_thirty_different_ones() -> None:
    assert len(INJECTIONS) == len(set(INJECTIONS.values())) == 30


@pytest.mark.parametrize("make", PROMPTS)
def test_no_data_becomes_a_special_token(tokenizer: Any, make: Callable[[str], Prompt]) -> None:
    plain = reserved(tokenizer, chat_tokens(tokenizer, make(PLAIN), {}))
    assert plain
    for name, text in INJECTIONS.items():
        assert reserved(tokenizer, chat_tokens(tokenizer, make(text), {})) == plain, name


@pytest.mark.parametrize("name", INJECTIONS)
def test_not_even_where_the_text_is_left_as_it_is(tokenizer: Any, name: str) -> None:
    """Without what prompts replace, a text is read as letters or refused."""
    plain = reserved(tokenizer, chat_tokens(tokenizer, Prompt("Describe.", PLAIN), {}))
    prompt = Prompt("Describe.", INJECTIONS[name])
    if {*QWEN_WORDS} & {*tokenizer.get_added_vocab()} and any(word in INJECTIONS[name] for word in QWEN_WORDS):
        with pytest.raises(ConfigError, match="a text holds a token that the model reserves"):
            chat_tokens(tokenizer, prompt, {})
    else:
        assert reserved(tokenizer, chat_tokens(tokenizer, prompt, {})) == plain


def test_without_protection_the_set_does_reach_each_template(tokenizer: Any) -> None:
    """The set would be worthless for a template that none of its texts harms."""

    def naive(text: str) -> list[int]:
        messages = Prompt("Describe.", text).messages()
        shown = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return reserved(tokenizer, tokenizer(shown, add_special_tokens=False)["input_ids"])

    harmful = [name for name, text in INJECTIONS.items() if naive(text) != naive(PLAIN)]
    assert len(harmful) >= 5


@pytest.mark.parametrize("name", INJECTIONS)
@pytest.mark.parametrize("make", PROMPTS)
def test_data_stays_in_its_fields_and_lines(make: Callable[[str], Prompt], name: str) -> None:
    plain, attacked = ([json.loads(line) for line in make(text).user.split("\n")] for text in (PLAIN, INJECTIONS[name]))
    assert [list(line) for line in attacked] == [list(line) for line in plain]
    assert make(INJECTIONS[name]).system == make(PLAIN).system
    assert len(make(INJECTIONS[name]).messages()) == len(make(PLAIN).messages())
