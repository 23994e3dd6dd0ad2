"""Which of the shipped weights separate the demo catalogue's categories better: ``python benchmarks/demo_vectors.py``.

For worlds that neither model has seen, one JSON line per model: the share of items whose nearest other item is of the
same category, the share of names (style and noun, no brand) whose nearest item is of the same category, and the gap
between the mean cosine inside a category and across categories.
"""

import json

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from hnlm_ray.config.data import DemoWorldConfig
from hnlm_ray.data.item_texts import item_texts
from hnlm_ray.demo import assets, lexicon
from hnlm_ray.demo.encoder import pooled
from hnlm_ray.demo.world import Catalogue, generate

WORLDS = (101, 102, 103)


def separation(folder: str) -> dict[str, float]:
    """The three measures, each averaged over the worlds."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    measures = [_of_world(model, tokenizer, seed) for seed in WORLDS]
    return {key: round(float(np.mean([measure[key] for measure in measures])), 4) for key in measures[0]}


@torch.inference_mode()
def _of_world(model: torch.nn.Module, tokenizer: object, seed: int) -> dict[str, float]:
    world = generate(DemoWorldConfig(users=1, interactions=5, seed=seed))
    category = world.catalogue.category
    items = pooled(model, tokenizer, item_texts(world.items)).numpy()
    phrases, phrase_category = _names(world.catalogue)
    between_items = items @ items.T
    np.fill_diagonal(between_items, -np.inf)
    nearest_item = category[between_items.argmax(axis=1)]
    nearest_name = category[(pooled(model, tokenizer, phrases).numpy() @ items.T).argmax(axis=1)]
    same = category[:, None] == category[None, :]
    off_diagonal = ~np.eye(len(items), dtype=bool)
    cosines = items @ items.T
    return {
        "items": (nearest_item == category).mean(),
        "names": (nearest_name == phrase_category).mean(),
        "gap": cosines[same & off_diagonal].mean() - cosines[~same].mean(),
    }


def _names(catalogue: Catalogue) -> tuple[list[str], np.ndarray]:
    """Every style and noun that the catalogue does not hold together."""
    held = set(zip(catalogue.category.tolist(), catalogue.noun.tolist(), catalogue.style.tolist(), strict=True))
    free = [
        (f"{style_name} {noun_name}", leaf)
        for leaf, nouns in enumerate(lexicon.NOUNS)
        for noun, noun_name in enumerate(nouns)
        for style, style_name in enumerate(lexicon.STYLES)
        if (leaf, noun, style) not in held
    ]
    return [phrase for phrase, _ in free], np.array([leaf for _, leaf in free])


def main() -> None:
    for task in ("generate", "embed"):
        folder = assets.resolve("demo", task)
        print(json.dumps({"benchmark": "demo_vectors", "weights": folder.rsplit("/", 1)[-1], **separation(folder)}))


if __name__ == "__main__":
    main()
