"""How many prompts, tokens and hours the stages that run a model will take, before anything is spent."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.tree import Config
from hnlm_ray.data.item_texts import item_texts
from hnlm_ray.demo import assets
from hnlm_ray.language.checks import check_folder
from hnlm_ray.language.engines.protocol import Renderer
from hnlm_ray.language.engines.tokens import approximate_budget, chat_budget, chat_tokens, load_tokenizer
from hnlm_ray.language.profiled import items_to_profile, pairs_to_ask, users_to_profile
from hnlm_ray.language.prompts.render import Budget, Prompt
from hnlm_ray.language.prompts.wording import Task
from hnlm_ray.language.requests import (
    ItemRenderer,
    NegativeRenderer,
    UserRenderer,
    negative_requests,
    train_rows,
)
from hnlm_ray.language.speed import Speed, device_here, expected_speed
from hnlm_ray.run.rows import as_parts

__all__ = ["Estimate", "StageEstimate", "estimate"]

_WRITING = ("item_profiles", "user_profiles", "negatives")
_MODELS = {"llm": _WRITING, "embed": ("vectors",), "tune": ("tune",), "encode": ("encode",)}
"""The stages that run the model of a section."""
_TUNING_THREADS = 2
"""Threads of a worker that tunes on a CPU."""
_SAMPLE = 64
_CHARS_PER_TOKEN = 4
_READING = 10
"""Tokens of a prompt are read about this many times as fast as tokens are written."""
_PASSES = 3
"""A training step costs about as much as reading its tokens this many times."""
_ANSWER_WORDS: dict[Task, int] = {"item_profile": 60, "user_profile": 100, "negative": 20}
_REASONING_WORDS = 30
"""Words that the templates allow an answer, and the reason beside it."""
_FRAME_TOKENS = 12
"""The JSON around these words."""
_FILLER = "A reader of long novels who prefers quiet, well made things and comes back to the same few makers. "


@dataclass(frozen=True)
class StageEstimate:
    """One stage that runs a model.

    Attributes:
        stage: its kind.
        prompts: prompts or texts that the model reads, without repeats of rejected answers.
        input_tokens: of all of them, from a sample.
        output_tokens: of all answers, if they are as long as the template allows.
        most_output_tokens: of all answers, if each ran to its token limit.
        engine_hours: hours of one engine; None where its speed is not known.
    """

    stage: str
    prompts: int
    input_tokens: int
    output_tokens: int
    most_output_tokens: int
    engine_hours: float | None


@dataclass(frozen=True)
class Estimate:
    """The estimates of all stages, and what they rest on."""

    stages: tuple[StageEstimate, ...]
    notes: tuple[str, ...]


def estimate(
    config: Config,
    stages: Collection[str],
    items: pa.Table,
    interactions: pa.Table,
    tokens_per_s: float | None = None,
) -> Estimate:
    """Count the prompts and tokens of the stages that run a model; nothing is started.

    Profiles do not exist yet: prompts that show one are measured with a profile of the greatest length.

    Args:
        config: the whole configuration.
        stages: kinds of the stages that are to run; those that run no model are passed over.
        items: a table of :data:`hnlm_ray.tables.ITEMS`.
        interactions: a table of :data:`hnlm_ray.tables.INTERACTIONS`.
        tokens_per_s: what one engine writes; None to derive it from each model and its device, see
            :mod:`hnlm_ray.language.speed`.

    Raises:
        ConfigError: there is no train pair, or a prompt cannot fit the model at all.
    """
    speeds = {name: _speed(config, name, tokens_per_s) for name in _users_of_models(stages)}
    inputs = _Inputs(config, items, interactions, speeds)
    found: list[StageEstimate] = []
    notes: list[str] = []
    writing = [stage for stage in _WRITING if stage in stages]
    if writing:
        counter = _TokenCounter.of(config)
        found += [_generation(stage, inputs, counter) for stage in writing]
        notes += [counter.note, "without second passes over rejected answers"]
    if "vectors" in stages:
        found.append(_vectors(inputs))
        notes.append("without the vectors of unmatched names")
    tuned = [_tuning(stage, inputs) for stage in ("tune", "encode") if stage in stages]
    if tuned:
        notes.append("tune and encode with texts of the greatest length")
    rates = [_rate(name, speed) for name, speed in speeds.items()]
    sampled = [f"tokens from a sample of {_SAMPLE} prompts per stage"] if found else []
    return Estimate((*found, *tuned), (*sampled, *notes, *rates))


def _users_of_models(stages: Collection[str]) -> list[str]:
    """The sections whose models the stages run."""
    return [section for section, kinds in _MODELS.items() if any(kind in stages for kind in kinds)]


def _speed(config: Config, section: str, tokens_per_s: float | None) -> Speed:
    """What one engine of a section writes."""
    if tokens_per_s is not None:
        return Speed(tokens_per_s, "as given")
    if section == "tune":
        tune = config.tune
        device = device_here(tune.accelerator, _TUNING_THREADS)
        return expected_speed(tune.model, tune.dtype, tune.batch_size, device)
    if section == "encode":
        encode = config.encode
        device = device_here(encode.accelerator, encode.cpu_threads)
        return expected_speed(config.tune.model, encode.dtype, encode.batch_size, device)
    options = config.llm if section == "llm" else config.embed
    if options.engine != "vllm":
        return Speed(None, f"{section}.engine={options.engine} may be of any speed")
    gpus = config.llm.tensor_parallel if section == "llm" else 1
    model = assets.resolve(options.model, "embed") if section == "embed" else options.model
    device = device_here(options.accelerator, options.cpu_threads, gpus)
    return expected_speed(model, options.dtype, options.batch_size, device)


def _rate(section: str, speed: Speed) -> str:
    if speed.tokens_per_s is None:
        return f"engine-hours of {section} are not known, since {speed.basis}: give --tokens-per-second"
    return (
        f"engine-hours of {section} at {speed.tokens_per_s:,g} tokens/s written and {_READING} times as many read"
        f" ({speed.basis})"
    )


@dataclass(frozen=True)
class _Inputs:
    """The arguments of :func:`estimate` that every stage's estimate reads."""

    config: Config
    items: pa.Table
    interactions: pa.Table
    speeds: Mapping[str, Speed]

    def hours(self, section: str, read: float, written: float = 0.0) -> float | None:
        """Of one engine of a section, for so many tokens."""
        speed = self.speeds[section].tokens_per_s
        return None if speed is None else (written + read / _READING) / speed / 3600


@dataclass(frozen=True)
class _Asked:
    """What a stage will ask.

    Attributes:
        prompts: how many.
        sample: rows of some of them.
        renderer: of the prompts.
        words: of a usual answer.
        most: tokens of an answer.
    """

    prompts: int
    sample: pa.Table
    renderer: Renderer
    words: float
    most: int


def _asked(stage: str, inputs: _Inputs) -> _Asked:
    items, interactions, size = inputs.items, as_parts(inputs.interactions), inputs.items.num_rows
    config, profiles, negatives = inputs.config, inputs.config.profiles, inputs.config.negatives
    noun = config.data.noun
    longest = max(profiles.max_profile_chars, negatives.max_profile_chars)
    filler = (_FILLER * math.ceil(longest / len(_FILLER)))[:longest]
    of_items = pa.array([filler] * size)
    if stage == "negatives":
        pairs = pairs_to_ask(config, interactions, size)
        some = pairs[_spread(len(pairs))]
        sample = negative_requests(
            some, size, pa.array([filler] * len(some)), _stand_ins(some, size, negatives.candidates)
        )
        writer = NegativeRenderer(items, of_items, negatives, noun)
        return _Asked(len(pairs), sample, writer, _words(writer.task, inputs), negatives.max_output_tokens)
    if stage == "item_profiles":
        renderer: Renderer = ItemRenderer(items, profiles, noun)
        rows = items_to_profile(config, interactions, size)
    else:
        renderer = UserRenderer(items, of_items, profiles, noun)
        rows = users_to_profile(config, interactions, size)
    count, sample = len(rows.ids), rows.only(rows.ids[_spread(len(rows.ids))]).table()
    return _Asked(count, sample, renderer, _words(renderer.task, inputs), profiles.max_output_tokens)


def _stand_ins(pairs: npt.NDArray[np.int64], n_items: int, count: int) -> pa.ListArray:
    """As many other items of the catalogue for each pair as it will have candidates; which ones is not known yet."""
    count = min(count, n_items - 1)
    items = ((pairs % n_items)[:, None] + np.arange(1, count + 1)) % n_items
    offsets = np.arange(len(pairs) + 1, dtype=np.int32) * np.int32(count)
    return pa.ListArray.from_arrays(offsets, items.ravel().astype(np.int32))


def _words(task: Task, inputs: _Inputs) -> float:
    """Words of a usual answer: what the template allows, or the title that is chosen among candidates."""
    negatives = inputs.config.negatives
    options = negatives if task == "negative" else inputs.config.profiles
    words: float = _ANSWER_WORDS[task]
    if task == "negative" and negatives.candidates:
        words = float(np.mean([len(title.split()) for title in _sample(inputs.items)["title"].to_pylist()]))
    return words + (0 if options.reasoning == "none" else _REASONING_WORDS)


@dataclass(frozen=True)
class _TokenCounter:
    """Counts the tokens of a prompt, with the model's tokenizer or by its length."""

    tokenizer: Any
    note: str

    @classmethod
    def of(cls, config: Config) -> _TokenCounter:
        if config.llm.engine != "vllm":
            return cls(None, f"tokens of llm.engine={config.llm.engine} as characters / {_CHARS_PER_TOKEN}")
        folder = assets.resolve(config.llm.model)
        if problems := check_folder(folder):  # tokenizers are fetched from the hub with a minute of retries
            return cls(None, f"tokens as characters / {_CHARS_PER_TOKEN}, since {problems[0]}")
        return cls(load_tokenizer(folder), f"tokens by the tokenizer of {config.llm.model}")

    def budget(self, config: Config, max_output_tokens: int) -> Budget:
        if self.tokenizer is None:
            return approximate_budget(config.llm.max_model_len, max_output_tokens)
        options = config.llm.chat_template_kwargs
        return chat_budget(self.tokenizer, config.llm.max_model_len, max_output_tokens, options)

    def tokens(self, config: Config, prompt: Prompt) -> int:
        if self.tokenizer is None:
            characters = sum(len(message["content"]) for message in prompt.messages())
            return math.ceil(characters / _CHARS_PER_TOKEN)
        return len(chat_tokens(self.tokenizer, prompt, config.llm.chat_template_kwargs))

    def tokens_per_word(self) -> float:
        if self.tokenizer is None:
            return 1.5
        return len(self.tokenizer(_FILLER)["input_ids"]) / len(_FILLER.split())


def _generation(stage: str, inputs: _Inputs, counter: _TokenCounter) -> StageEstimate:
    asked = _asked(stage, inputs)
    prompts, most = asked.prompts, asked.most
    budget = counter.budget(inputs.config, most)
    shown = asked.renderer.prompts(asked.sample) if asked.prompts else []
    lengths = [counter.tokens(inputs.config, prompt_of(budget)) for prompt_of in shown]
    usual = asked.words * counter.tokens_per_word() + _FRAME_TOKENS
    read = round(prompts * float(np.mean(lengths))) if lengths else 0
    written = round(prompts * min(usual, most))
    return StageEstimate(stage, prompts, read, written, prompts * most, inputs.hours("llm", read, written))


def _vectors(inputs: _Inputs) -> StageEstimate:
    limit, texts = inputs.config.embed.max_model_len, item_texts(_sample(inputs.items))
    lengths = [min(math.ceil(len(text) / _CHARS_PER_TOKEN), limit) for text in texts]
    read = round(inputs.items.num_rows * float(np.mean(lengths))) if lengths else 0
    return StageEstimate("vectors", inputs.items.num_rows, read, 0, 0, inputs.hours("embed", read))


def _tuning(stage: str, inputs: _Inputs) -> StageEstimate:
    """Tuning or encoding, with texts at their limits; a factorised encoder reads each user and each item once."""
    config, tune, n_items = inputs.config, inputs.config.tune, inputs.items.num_rows
    rows = train_rows(inputs.interactions.select(["user", "split"]))
    pairs, users = rows.num_rows, pc.count_distinct(rows["user"]).as_py()
    if stage == "tune":
        pairs = min(tune.pairs or pairs, pairs) * tune.epochs
    elif config.encode.pairs == "chosen":
        asked = pairs_to_ask(config, as_parts(inputs.interactions), n_items)
        pairs, users = len(asked), len(np.unique(asked // n_items))
    sequences, tokens = pairs, pairs * (tune.max_user_tokens + tune.max_item_tokens + 2)
    if stage == "encode" and tune.form == "factorised":
        sequences = users + n_items
        tokens = users * (tune.max_user_tokens + 1) + n_items * (tune.max_item_tokens + 1)
    passes = _PASSES if stage == "tune" else 1
    return StageEstimate(stage, sequences, tokens, 0, 0, inputs.hours(stage, passes * tokens))


def _sample(rows: pa.Table) -> pa.Table:
    """Up to ``_SAMPLE`` rows."""
    return rows.take(pa.array(_spread(rows.num_rows)))


def _spread(size: int) -> npt.NDArray[np.int64]:
    """Up to ``_SAMPLE`` of so many places, evenly spread."""
    return np.unique(np.linspace(0, size - 1, min(size, _SAMPLE)).astype(np.int64))
