"""Prompts in tokens, as the model's own tokenizer counts them, and the budget that a model leaves for a prompt."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from hnlm_ray.errors import EngineError
from hnlm_ray.language.prompts.render import Budget, Prompt

__all__ = ["approximate_budget", "chat_budget", "chat_tokens", "cut_tokens", "load_tokenizer"]

_CHARS_PER_TOKEN = 3
"""Of :func:`approximate_budget`: on the safe side for English, which has about 4."""
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
    """
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
    """The token ids of texts, with the special tokens of the model: lists of int32, each cut to ``limit``.

    Args:
        texts: strings.
        model: a model folder or a Hugging Face name.
        limit: the most tokens of a text.
    """
    ids = load_tokenizer(model)(texts.to_pylist(), truncation=True, max_length=limit)["input_ids"]
    return pa.array(ids, pa.list_(pa.int32()))


def chat_tokens(tokenizer: Any, prompt: Prompt, options: Mapping[str, Any]) -> list[int]:
    """The token ids of a prompt in the model's chat template, up to where the answer begins.

    Where the template knows no system role, the system text stands at the head of the user message.

    Args:
        tokenizer: from :func:`load_tokenizer`.
        prompt: system text and user message.
        options: of the template, ``llm.chat_template_kwargs``.

    Raises:
        EngineError: the tokenizer has no chat template.
    """
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        raise EngineError(f"{tokenizer.name_or_path} has no chat template", "use an instruction-tuned model")
    try:
        return _apply(tokenizer, prompt.messages(), options)
    except TemplateError:
        merged = [{"role": "user", "content": f"{prompt.system}\n\n{prompt.user}"}]
        return _apply(tokenizer, merged, options)


def _apply(tokenizer: Any, messages: list[dict[str, str]], options: Mapping[str, Any]) -> list[int]:
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **options)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def chat_budget(tokenizer: Any, max_model_len: int, max_output_tokens: int, options: Mapping[str, Any]) -> Budget:
    """The most that a prompt may hold, so that it, the chat template and the longest answer fit the model.

    Args:
        tokenizer: from :func:`load_tokenizer`.
        max_model_len: tokens of prompt and answer together.
        max_output_tokens: tokens of the longest answer.
        options: of the template, ``llm.chat_template_kwargs``.

    Returns:
        A budget that counts the system text and the user message with the tokenizer.

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
