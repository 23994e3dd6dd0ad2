"""Train the demo text encoder: a very small Llama, mean-pooled, whose cosine is trained to be the overlap of two items.

For a name or an item text ``q`` and an item text ``d`` of a generated world the target is

    cos(q, d) = 0.45 same category + 0.3 same noun + 0.15 same style + 0.1 same brand

so the nearest item of a name that the catalogue does not hold is one of its noun, then one of its category.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerBase

from hnlm_ray import seeds
from hnlm_ray.config.data import DemoWorldConfig
from hnlm_ray.data.item_texts import item_texts
from hnlm_ray.demo.corpus import FIRST_SEED
from hnlm_ray.demo.world import Catalogue, generate

__all__ = ["EncoderRecipe", "names", "pooled", "train_encoder"]


@dataclass(frozen=True)
class EncoderRecipe:
    """Size of the encoder and of its training."""

    hidden: int = 128
    layers: int = 2
    heads: int = 2
    intermediate: int = 352
    batch_size: int = 128
    worlds: int = 12
    steps_per_world: int = 20
    learning_rate: float = 2e-3
    seed: int = 0


def train_encoder(
    tokenizer: PreTrainedTokenizerBase, recipe: EncoderRecipe, folder: Path, say: Callable[[str], None]
) -> LlamaModel:
    """Train from scratch and save encoder and tokenizer to ``folder`` (safetensors, float32)."""
    torch.manual_seed(seeds.derive(recipe.seed, "demo-encoder", "init") % 2**31)
    model = LlamaModel(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            intermediate_size=recipe.intermediate,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            max_position_embeddings=512,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    steps = recipe.worlds * recipe.steps_per_world
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.1)
    for number in range(recipe.worlds):
        world = generate(DemoWorldConfig(users=1, interactions=5, seed=FIRST_SEED + number))
        texts, rng = item_texts(world.items), seeds.generator(recipe.seed, "demo-encoder", number)
        for _ in range(recipe.steps_per_world):
            rows, columns = (rng.integers(0, len(world.catalogue), recipe.batch_size) for _ in range(2))
            queries = names(world.catalogue, rows, rng)
            cosines = pooled(model, tokenizer, queries) @ pooled(model, tokenizer, [texts[item] for item in columns]).T
            loss = torch.nn.functional.mse_loss(cosines, _overlap(world.catalogue, rows, columns))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        if number % 5 == 0:
            say(f"world {number + 1}/{recipe.worlds}  squared error {loss.item():.4f}")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def pooled(model: LlamaModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Tensor:
    """Unit vectors (len(texts), hidden): the mean over the tokens of the last layer, as vLLM's mean pooling."""
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt", add_special_tokens=False)
    hidden = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)


def names(catalogue: Catalogue, items: npt.NDArray[np.int64], rng: np.random.Generator) -> list[str]:
    """How a person or a model would name each item: a third whole titles, the rest without the brand."""
    whole = rng.random(len(items)) < 1 / 3
    pairs = zip(items.tolist(), whole, strict=True)
    return [catalogue.title(item) if full else catalogue.name(item) for item, full in pairs]


def _overlap(catalogue: Catalogue, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Tensor:
    def same(values: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        equal: npt.NDArray[np.bool_] = values[rows][:, None] == values[columns][None, :]
        return equal.astype(np.float32)

    category = same(catalogue.category)
    noun = category * same(catalogue.noun)  # nouns are numbered inside their category
    weighed = 0.45 * category + 0.3 * noun + 0.15 * same(catalogue.style) + 0.1 * same(catalogue.brand)
    return torch.from_numpy(weighed)
