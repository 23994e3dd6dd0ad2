"""Prompts in tokens, as the model's own tokenizer counts them, and the budget that a model leaves for a prompt."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from hnlm_ray.errors import ConfigError, EngineError, require
from hnlm_ray.language.prompts.render import Budget, Prompt

__all__ = ["approximate_budget", "chat_budget", "chat_tokens", "cut_tokens", "load_tokenizer"]

_CHARS_PER_TOKEN = 3
"""Of :func:`approximate_budget`: on the safe side for English, which has about 4."""
_MARK = "\ue0f5"
"""A private character that stands around the places of texts in a template."""
_SLACK = 8
"""Tokens kept free, since two texts may have more tokens together than apart."""


@functools.lru_cache(maxsize=4)
def load_tokenizer(folder: str) -> Any:
    """The tokenizer of a model, loaded once per process.

    Args:
        folder: a model folder or a Hugging Face name.

    Returns:
        A ``transformers`` tokenizer.

    Raises:
        EngineError: there is none, or it cannot be loaded.
        PackageError: Transformers is not installed.
    """
    require(f"the tokenizer of {folder}", "llm")
    try:
        return _tokenizer_class(folder).from_pretrained(folder)
    except (OSError, ValueError, KeyError, ImportError) as error:
        what = str(error).strip().splitlines()[0]
        raise EngineError(
            f"the tokenizer of {folder} cannot be loaded ({what})", "give a complete model folder"
        ) from error


def _tokenizer_class(folder: str) -> Any:
    """The class that reads a folder's tokenizer.

    Where the folder names the generic class, ``AutoTokenizer`` would choose it too. But importing that, with PyTorch
    and scikit-learn, takes five seconds: too long for each process that prepares prompts.
    """
    try:
        named = json.loads(Path(folder, "tokenizer_config.json").read_text()).get("tokenizer_class")
    except (OSError, ValueError):  # a Hugging Face name, or a damaged folder, which AutoTokenizer describes
        named = None
    if named == "TokenizersBackend":
        from transformers import TokenizersBackend

        return TokenizersBackend
    from transformers import AutoTokenizer

    return AutoTokenizer


def cut_tokens(texts: pa.ChunkedArray, model: str, limit: int) -> pa.ListArray:
    """The token ids of texts, with the special tokens of the model around them: lists of int32, each cut to ``limit``.

    A text that holds the name of a special token, such as "[SEP]", is read as these letters.

    Args:
        texts: strings.
        model: a model folder or a Hugging Face name.
        limit: the most tokens of a text.
    """
    options = {"truncation": True, "max_length": limit, "split_special_tokens": True}
    ids = load_tokenizer(model)(texts.to_pylist(), **options)["input_ids"]
    return pa.array(ids, pa.list_(pa.int32()))


def chat_tokens(tokenizer: Any, prompt: Prompt, options: Mapping[str, Any]) -> list[int]:
    """The token ids of a prompt in the model's chat template, up to where the answer begins.

    Where the template knows no system role, the system text stands at the head of the first user message. No text
    becomes a token that the tokenizer reserves, for roles or anything else: one that would is read as letters.

    Args:
        tokenizer: from :func:`load_tokenizer`.
        prompt: system text and user message.
        options: of the template, ``llm.chat_template_kwargs``.

    Raises:
        EngineError: the tokenizer has no chat template.
        ConfigError: a text would become a reserved token in any case.
    """
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        raise EngineError(f"{tokenizer.name_or_path} has no chat template", "use an instruction-tuned model")
    try:
        return _apply(tokenizer, prompt.messages(), options)
    except TemplateError:
        return _apply(tokenizer, prompt.messages_without_system(), options)


def _apply(tokenizer: Any, messages: list[dict[str, str]], options: Mapping[str, Any]) -> list[int]:
    ids: list[int] = tokenizer(_templated(tokenizer, messages, options), add_special_tokens=False)["input_ids"]
    frame, expected = _frame(tokenizer, tuple(message["role"] for message in messages), json.dumps(options))
    if _reserved_in(tokenizer, ids) <= expected:
        return ids
    ids = []
    for place, part in enumerate(frame):
        is_text = bool(place % 2)
        content = messages[int(part)]["content"] if is_text else part
        ids += tokenizer(content, add_special_tokens=False, split_special_tokens=is_text)["input_ids"]
    if _reserved_in(tokenizer, ids) > expected:
        raise ConfigError("a text holds a token that the model reserves", "remove it from the data")
    return ids


def _templated(tokenizer: Any, messages: list[dict[str, str]], options: Mapping[str, Any]) -> str:
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **options)
    return text


@functools.lru_cache(maxsize=16)
def _frame(tokenizer: Any, roles: tuple[str, ...], options: str) -> tuple[list[str], int]:
    """A chat template without texts: its parts, with the number of a message between two, and its reserved tokens."""
    messages = [{"role": role, "content": f"{_MARK}{place}{_MARK}"} for place, role in enumerate(roles)]
    frame = _templated(tokenizer, messages, json.loads(options))
    return frame.split(_MARK), _reserved_in(tokenizer, tokenizer(frame, add_special_tokens=False)["input_ids"])


def _reserved_in(tokenizer: Any, ids: list[int]) -> int:
    reserved = _reserved(tokenizer)
    return sum(one in reserved for one in ids)


@functools.lru_cache(maxsize=4)
def _reserved(tokenizer: Any) -> frozenset[int]:
    """The ids that no text may become: special tokens, and others that were added to the vocabulary by name."""
    return frozenset(tokenizer.all_special_ids) | frozenset(getattr(tokenizer, "added_tokens_decoder", ()))


def chat_budget(tokenizer: Any, max_model_len: int, max_output_tokens: int, options: Mapping[str, Any]) -> Budget:
    """The most that a prompt may hold, so that it, the chat template and the longest answer fit the model.

    Args:
        tokenizer: from :func:`load_tokenizer`.
        max_model_len: tokens of prompt and answer together.
        max_output_tokens: tokens of the longest answer.
        options: of the template, ``llm.chat_template_kwargs``.

    Returns:
        A budget that counts the texts with the tokenizer.

    Raises:
        EngineError: the tokenizer has no chat template.
    """
    template = len(chat_tokens(tokenizer, Prompt("", ""), options))

    @functools.lru_cache(maxsize=16)  # the system text is counted for every row
    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    return Budget(count, max_model_len - max_output_tokens - template - _SLACK)


def approximate_budget(max_model_len: int, max_output_tokens: int) -> Budget:
    """What :func:`chat_budget` gives, where the tokenizer is unknown: three characters count as a token."""

    def count(text: str) -> int:
        return math.ceil(len(text) / _CHARS_PER_TOKEN)

    return Budget(count, max_model_len - max_output_tokens - 4 * _SLACK)
