"""What a run will ask of the language model, before anything is spent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hnlm_ray.config.tree import Config
from hnlm_ray.demo import assets
from hnlm_ray.errors import EngineError
from hnlm_ray.language.engines.protocol import Renderer
from hnlm_ray.language.engines.tokens import approximate_budget, chat_budget, chat_tokens, load_tokenizer
from hnlm_ray.language.profiled import items_to_profile, pairs_to_ask, users_to_profile
from hnlm_ray.language.prompts.render import Budget, Prompt
from hnlm_ray.language.requests import (
    ItemRenderer,
    NegativeRenderer,
    UserRenderer,
    negative_requests,
    train_rows,
)
from hnlm_ray.language.texts import item_texts

__all__ = ["Estimate", "StageEstimate", "estimate"]

_SAMPLE = 64
_CHARS_PER_TOKEN = 4
_READING = 10
"""Prompt tokens are read about this many times as fast as tokens are written."""
_PASSES = 3
"""A training step costs about as much as reading its tokens so many times."""
_ANSWER_WORDS = {"item_profile": 90, "user_profile": 130, "negative": 50}
"""Words that the templates allow an answer."""
_FRAME_TOKENS = 12
_FILLER = "A reader of long novels who prefers quiet, well made things and comes back to the same few makers. "


@dataclass(frozen=True)
class StageEstimate:
    """One stage that runs a model.

    Attributes:
        stage: its name.
        prompts: requests, without second passes.
        input_tokens: of all prompts, from a sample.
        output_tokens: of all answers that keep to the words that the template allows.
        most_output_tokens: if every answer ran to its token limit.
        engine_hours: hours of one engine that writes the given tokens per second.
    """

    stage: str
    prompts: int
    input_tokens: int
    output_tokens: int
    most_output_tokens: int
    engine_hours: float


@dataclass(frozen=True)
class Estimate:
    """Estimates of all stages, and what they rest on."""

    stages: tuple[StageEstimate, ...]
    notes: tuple[str, ...]


def estimate(
    config: Config, items: pa.Table, n_users: int, interactions: pa.Table, tokens_per_s: float = 2000.0
) -> Estimate:
    """Count prompts and tokens of every stage that runs a model; nothing is started.

    Profiles do not exist yet: prompts that show one are measured with a profile of the greatest length.

    Args:
        config: the whole configuration.
        items: a table of :data:`hnlm_ray.tables.ITEMS`.
        n_users: rows of ``users``.
        interactions: a table of :data:`hnlm_ray.tables.INTERACTIONS`.
        tokens_per_s: what one engine writes.

    Raises:
        ConfigError: there is no train pair, or a prompt cannot fit the model at all.
    """
    counter = _Counter.of(config)
    stages = [_generation(plan, counter, config, tokens_per_s) for plan in _plans(config, items, n_users, interactions)]
    stages += [_vectors(config, items, tokens_per_s), *_tuning(config, interactions, items.num_rows, tokens_per_s)]
    notes = (
        counter.note,
        f"tokens from a sample of {_SAMPLE} prompts per stage",
        f"engine-hours at {tokens_per_s:g} tokens/s written and {_READING} times as many read",
        "without second passes over rejected answers and the vectors of unmatched names",
        *(["tune and encode with texts of the greatest length"] if _is_tuned(config) else []),
    )
    return Estimate(tuple(stages), notes)


@dataclass(frozen=True)
class _Plan:
    stage: str
    rows: pa.Table
    renderer: Renderer
    max_output_tokens: int


def _plans(config: Config, items: pa.Table, n_users: int, interactions: pa.Table) -> list[_Plan]:
    profiles, negatives, n_items = config.profiles, config.negatives, items.num_rows
    longest = max(profiles.max_profile_chars, negatives.max_profile_chars)
    filler = (_FILLER * math.ceil(longest / len(_FILLER)))[:longest]
    of_items, of_users = pa.array([filler] * n_items), pa.array([filler] * n_users)
    by_item, by_user = (choose(config, interactions, n_items) for choose in (items_to_profile, users_to_profile))
    by_pair = negative_requests(pairs_to_ask(config, interactions, n_items), n_items)
    return [
        _Plan("item_profiles", by_item, ItemRenderer(items, profiles), profiles.max_output_tokens),
        _Plan("user_profiles", by_user, UserRenderer(items, of_items, profiles), profiles.max_output_tokens),
        _Plan(
            "negatives", by_pair, NegativeRenderer(items, of_items, of_users, negatives), negatives.max_output_tokens
        ),
    ]


@dataclass(frozen=True)
class _Counter:
    """Counts the tokens of a prompt, with the model's tokenizer or by its length."""

    tokenizer: Any
    note: str

    @classmethod
    def of(cls, config: Config) -> _Counter:
        if config.llm.engine != "vllm":
            return cls(None, f"tokens of llm.engine={config.llm.engine} as characters / {_CHARS_PER_TOKEN}")
        try:
            tokenizer = load_tokenizer(assets.resolve(config.llm.model))
        except EngineError as error:
            return cls(None, f"tokens as characters / {_CHARS_PER_TOKEN}, since {error.problem}")
        return cls(tokenizer, f"tokens by the tokenizer of {config.llm.model}")

    def budget(self, config: Config, max_output_tokens: int) -> Budget:
        if self.tokenizer is None:
            return approximate_budget(config.llm.max_model_len, max_output_tokens)
        options = config.llm.chat_template_kwargs
        return chat_budget(self.tokenizer, config.llm.max_model_len, max_output_tokens, options)

    def tokens(self, config: Config, prompt: Prompt) -> int:
        if self.tokenizer is None:
            return math.ceil((len(prompt.system) + len(prompt.user)) / _CHARS_PER_TOKEN)
        return len(chat_tokens(self.tokenizer, prompt, config.llm.chat_template_kwargs))

    def tokens_per_word(self) -> float:
        if self.tokenizer is None:
            return 1.5
        return len(self.tokenizer(_FILLER)["input_ids"]) / len(_FILLER.split())


def _generation(plan: _Plan, counter: _Counter, config: Config, tokens_per_s: float) -> StageEstimate:
    budget = counter.budget(config, plan.max_output_tokens)
    sample = _sample(plan.rows)
    lengths = [counter.tokens(config, prompt_of(budget)) for prompt_of in plan.renderer.prompts(sample)]
    written = _ANSWER_WORDS[plan.renderer.task] * counter.tokens_per_word() + _FRAME_TOKENS
    prompts = plan.rows.num_rows
    read = round(prompts * float(np.mean(lengths))) if lengths else 0
    expected = round(prompts * min(written, plan.max_output_tokens))
    hours = (expected + read / _READING) / tokens_per_s / 3600
    return StageEstimate(plan.stage, prompts, read, expected, prompts * plan.max_output_tokens, hours)


def _vectors(config: Config, items: pa.Table, tokens_per_s: float) -> StageEstimate:
    texts = item_texts(_sample(items))
    lengths = [min(math.ceil(len(text) / _CHARS_PER_TOKEN), config.embed.max_model_len) for text in texts]
    read = round(items.num_rows * float(np.mean(lengths))) if lengths else 0
    return StageEstimate("vectors", items.num_rows, read, 0, 0, read / _READING / tokens_per_s / 3600)


def _is_tuned(config: Config) -> bool:
    return any(variant.is_tuned for variant in config.train.variants.values())


def _tuning(config: Config, interactions: pa.Table, n_items: int, tokens_per_s: float) -> list[StageEstimate]:
    """Tuning and encoding with texts at their limits, where a variant asks for them."""
    if not _is_tuned(config):
        return []
    tune, every = config.tune, train_rows(interactions.select(["split"])).num_rows
    chosen = every if config.encode.pairs == "all" else len(pairs_to_ask(config, interactions, n_items))
    seen = min(tune.pairs or every, every) * tune.epochs
    longest = tune.max_user_tokens + tune.max_item_tokens + 2
    hour = tokens_per_s * _READING * 3600
    return [
        StageEstimate("tune", seen, seen * longest, 0, 0, _PASSES * seen * longest / hour),
        StageEstimate("encode", chosen, chosen * longest, 0, 0, chosen * longest / hour),
    ]


def _sample(rows: pa.Table) -> pa.Table:
    """Up to ``_SAMPLE`` rows, evenly spread."""
    return rows.take(pa.array(np.unique(np.linspace(0, rows.num_rows - 1, _SAMPLE).astype(np.int64))))
