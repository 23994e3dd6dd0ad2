"""Train the demo language model: a small Llama with its own tokenizer, from generated text alone.

Every task comes down to copying words out of the prompt and counting them. So small a model learns that because of four
choices: all weights, the embedding too, start with a standard deviation of ``hidden ** -0.5`` (with the usual 0.02,
attention starts flat and stays flat); the loss is on the answer alone (most of a prompt cannot be predicted); short
prompts come first; and the answer writes down what it counts before it concludes (:mod:`hnlm_ray.demo.corpus`).

A batch holds one task, so the constant system text is computed once per batch and its keys and values are shared by
every row.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hnlm_ray import seeds
from hnlm_ray.demo.corpus import Example
from hnlm_ray.training.schedule import half_cosine

__all__ = ["CHAT_TEMPLATE", "Recipe", "build_tokenizer", "encode", "train"]

_PAD, _END, _ROLES = "<|pad|>", "<|end|>", ("<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Recipe:
    """Size of the model and of its training."""

    vocabulary: int = 2048
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 352
    max_length: int = 2048
    batch_size: int = 16
    steps: int = 3600
    learning_rate: float = 3e-3
    warmup: int = 20
    weight_decay: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class _Encoded:
    """Token ids of one example; ``prefix``, the system prompt, is shared by every example of its task."""

    task: str
    prefix: list[int]
    body: list[int]
    answer: list[int]


def build_tokenizer(texts: Iterator[str], recipe: Recipe) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer (every text can be encoded) and give it the chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=[_PAD, _END, *_ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=_PAD, eos_token=_END, model_max_length=recipe.max_length
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def encode(tokenizer: PreTrainedTokenizerFast, example: Example) -> _Encoded:
    """Tokens of an example, exactly as the chat template lays it out for an engine."""
    prompt = tokenizer.apply_chat_template(
        example.prompt.messages(), add_generation_prompt=True, tokenize=True, return_dict=False
    )
    user = tokenizer.convert_tokens_to_ids("<|user|>")
    start = prompt.index(user)
    answer = [*tokenizer.encode(example.answer, add_special_tokens=False), tokenizer.eos_token_id]
    return _Encoded(example.task, prompt[:start], prompt[start:], answer)


def train(
    tokenizer: PreTrainedTokenizerFast,
    examples: Iterator[Example],
    recipe: Recipe,
    folder: Path,
    *,
    say: Callable[[str], None],
    save_every: int = 200,
) -> LlamaForCausalLM:
    """Train from scratch and save model and tokenizer to ``folder`` (safetensors, bfloat16).

    Args:
        tokenizer: from :func:`build_tokenizer`.
        examples: at least ``recipe.steps * recipe.batch_size`` of them.
        recipe: sizes.
        folder: where to save, every ``save_every`` steps and at the end.
        say: called with one line of progress.
        save_every: steps between saves.
    """
    torch.manual_seed(seeds.derive(recipe.seed, "demo-llm", "init") % 2**31)
    model = _model(tokenizer, recipe)
    optimizer = _optimizer(model, recipe)
    losses: dict[str, float] = {}
    started, tokens = time.monotonic(), 0
    for step, batch in enumerate(itertools.islice(_batches(tokenizer, examples, recipe), recipe.steps)):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe)
        loss = _loss(model, batch, tokenizer.pad_token_id)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens += sum(len(row.body) + len(row.answer) for row in batch)
        task, value = batch[0].task, loss.item()
        losses[task] = 0.8 * losses.get(task, value) + 0.2 * value
        if step % 20 == 0:
            rate = tokens / (time.monotonic() - started)
            shown = ", ".join(f"{task} {value:.3f}" for task, value in sorted(losses.items()))
            say(f"step {step}/{recipe.steps}  loss {shown}  {tokens / 1e6:.2f} M tokens  {rate:.0f}/s")
        if (step + 1) % save_every == 0:
            _save(model, tokenizer, folder)
    _save(model, tokenizer, folder)
    return model


def _model(tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.max_length,
        tie_word_embeddings=True,
        initializer_range=recipe.hidden**-0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def _optimizer(model: LlamaForCausalLM, recipe: Recipe) -> torch.optim.Optimizer:
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)


def _schedule(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then cosine decay to a twentieth."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.05 + 0.95 * half_cosine(progress)


def _batches(
    tokenizer: PreTrainedTokenizerFast, examples: Iterator[Example], recipe: Recipe
) -> Iterator[list[_Encoded]]:
    """Batches of one task and of similar length, drawn from a pool in random order."""
    rng = seeds.generator(recipe.seed, "demo-llm", "batches")
    while pool := [encode(tokenizer, example) for example in itertools.islice(examples, 48 * recipe.batch_size)]:
        batches = []
        for task in sorted({row.task for row in pool}):
            rows = sorted((row for row in pool if row.task == task), key=lambda row: len(row.body) + len(row.answer))
            whole = len(rows) // recipe.batch_size * recipe.batch_size
            batches += [rows[start : start + recipe.batch_size] for start in range(0, whole, recipe.batch_size)]
        for index in rng.permutation(len(batches)):
            yield batches[index]


def _loss(model: LlamaForCausalLM, batch: Sequence[_Encoded], pad: int) -> Tensor:
    """Mean cross-entropy of the tokens of the answers."""
    cache = model.model(torch.tensor([batch[0].prefix]), use_cache=True).past_key_values
    assert isinstance(cache, DynamicCache)
    cache.batch_repeat_interleave(len(batch))
    length = max(len(row.body) + len(row.answer) for row in batch)
    ids = np.full((len(batch), length), pad, dtype=np.int64)
    answers = np.zeros((len(batch), length), dtype=np.bool_)
    for number, row in enumerate(batch):
        end = len(row.body) + len(row.answer)
        ids[number, :end] = row.body + row.answer
        answers[number, len(row.body) : end] = True
    # Padding stands on the right, where causal attention never looks back from a token that counts.
    hidden = model.model(torch.from_numpy(ids), past_key_values=cache).last_hidden_state[:, :-1]
    goal, counted = torch.from_numpy(ids)[:, 1:], torch.from_numpy(answers)[:, 1:]
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[counted]), goal[counted])


def _save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    state = {name: value.to(torch.bfloat16) for name, value in model.state_dict().items() if name != "lm_head.weight"}
    model.save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)
