"""A small bundle whose right answers are easy to compute, and a rich one with texts and an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.config.data import DemoWorldConfig
from hnlm_ray.demo import assets
from hnlm_ray.demo.world import DemoWorld, generate
from hnlm_ray.serving.bundle.bundle import Bundle
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.info import BundleAbout, BundleInfo
from hnlm_ray.serving.bundle.writing import Extras, write_bundle
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.tables import ITEM_PROFILES, ITEMS, USER_PROFILES, USERS, WRITTEN_NEGATIVES

ABOUT = BundleAbout(
    data="toy (table)",
    variant="hnlm",
    seed=3,
    config={"backbone": "mf", "dim": 4},
    metrics={"test ndcg@20": 0.25},
    code_version="0.1.0",
)

MakeContents = Callable[..., Contents]


def make_contents(
    user_vectors: np.ndarray,
    item_vectors: np.ndarray,
    seen: list[list[int]],
    popularity: np.ndarray | None = None,
    *,
    titles: Sequence[str] | None = None,
    categories: Sequence[Sequence[str]] | None = None,
) -> Contents:
    """Users ``u0``, ``u1``..., items ``i0``, ``i1``... titled ``Item 0``... in no category, unless told otherwise."""
    n_users, n_items = len(user_vectors), len(item_vectors)
    flat = np.array([item for row in seen for item in sorted(row)], dtype=np.int32)
    users = [{"user": row, "user_id": f"u{row}"} for row in range(n_users)]
    items = [
        {
            "item": row,
            "item_id": f"i{row}",
            "title": f"Item {row}" if titles is None else titles[row],
            "brand": "",
            "categories": [] if categories is None else list(categories[row]),
            "description": "",
        }
        for row in range(n_items)
    ]
    return Contents(
        user_vectors=np.ascontiguousarray(user_vectors, dtype=np.float32),
        item_vectors=np.ascontiguousarray(item_vectors, dtype=np.float32),
        seen_offsets=np.cumsum([0, *map(len, seen)]).astype(np.int64),
        seen_items=flat,
        popularity=np.bincount(flat, minlength=n_items).astype(np.int64) if popularity is None else popularity,
        users=pa.Table.from_pylist(users, schema=USERS),
        items=pa.Table.from_pylist(items, schema=ITEMS),
    )


@pytest.fixture(scope="session")
def contents() -> Contents:
    """40 users, 60 items; ``u0`` has met nothing, ``u1`` everything, ``u2`` all but item 7."""
    rng = np.random.default_rng(5)
    seen = [sorted(rng.choice(60, size=rng.integers(1, 12), replace=False).tolist()) for _ in range(40)]
    seen[0], seen[1], seen[2] = [], list(range(60)), [item for item in range(60) if item != 7]
    return make_contents(rng.normal(size=(40, 4)), rng.normal(size=(60, 4)), seen)


@pytest.fixture(scope="session")
def bundle_path(contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That bundle in a folder; read only."""
    path = tmp_path_factory.mktemp("bundle")
    write_bundle(str(path), contents, ABOUT)
    return path


def bundle_of(contents: Contents, fold_in: np.ndarray | None = None) -> Bundle:
    """A bundle that no folder holds."""
    dim = contents.item_vectors.shape[1]
    info = BundleInfo(
        format=2, version="0" * 12, users=contents.n_users, items=contents.n_items, dim=dim, about=ABOUT, files={}
    )
    weights = np.zeros((3 * dim, dim), np.float32) if fold_in is None else fold_in
    return Bundle(info, contents, weights, "/nowhere")


def mean_pooled(folder: str, texts: Sequence[str], max_tokens: int = 256) -> np.ndarray:
    """Unit vectors (n, t): what a transformer says about each token, averaged over the tokens, without padding."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        ids = torch.tensor([tokenizer.encode(text)[:max_tokens]])
        with torch.no_grad():
            states = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0].numpy()
        mean = states.astype(np.float64).sum(axis=0) / len(states)
        rows.append(mean / np.sqrt((mean**2).sum()))
    return np.stack(rows).astype(np.float32)


RICH_USERS, RICH_ITEMS = 80, 240
ENCODER = assets.resolve("demo", "embed")


@pytest.fixture(scope="session")
def rich_world() -> DemoWorld:
    """A generated catalogue with titles and categories."""
    return generate(DemoWorldConfig(users=RICH_USERS, items=RICH_ITEMS, interactions=1600))


@pytest.fixture(scope="session")
def rich_texts(rich_world: DemoWorld) -> list[str]:
    """What the pipeline gives its encoder of each item: the title, then the categories."""
    rows = rich_world.items.to_pylist()
    return [f"{row['title']}. {', '.join(row['categories'])}" for row in rows]


@pytest.fixture(scope="session")
def rich_contents(rich_world: DemoWorld) -> Contents:
    """80 users, 240 items; an item's vector is the sum of that of its category, its style and a little of its own.

    ``u0`` has met nothing, ``u1`` everything.
    """
    rng, catalogue = np.random.default_rng(8), rich_world.catalogue
    kinds = rng.normal(size=(catalogue.category.max() + 1, 16))[catalogue.category]
    styles = rng.normal(size=(catalogue.style.max() + 1, 16))[catalogue.style]
    items = kinds + 0.7 * styles + 0.2 * rng.normal(size=kinds.shape)
    met = [set[int]() for _ in range(RICH_USERS)]
    for row in rich_world.interactions.to_pylist():
        met[int(row["user_id"][1:])].add(int(row["item_id"][1:]))
    met[0], met[1] = set(), set(range(RICH_ITEMS))
    users = np.stack([items[sorted(own)].mean(axis=0) if own else np.zeros(16) for own in met])
    table = rich_world.items
    return make_contents(
        users + 0.05 * rng.normal(size=users.shape),
        items,
        [sorted(own) for own in met],
        titles=table["title"].to_pylist(),
        categories=table["categories"].to_pylist(),
    )


def _answer(status: str = "ok") -> dict[str, Any]:
    reason = "" if status == "ok" else "the answer is not JSON"
    return {"status": status, "reason": reason, "excerpt": "", "attempts": 1, "prompt_tokens": 90, "output_tokens": 30}


@pytest.fixture(scope="session")
def rich_extras(rich_contents: Contents, rich_texts: list[str]) -> Extras:
    """Profiles of all users but ``u3``, of which that of ``u4`` failed; of all items; up to three negatives a user.

    User ``u7`` has a negative that was matched to an item that they have met, ``u8`` one that is no item, ``u9`` none.
    """
    users = [
        {"user": row, "summary": "" if row == 4 else f"User {row} likes it.", "reasoning": f"because {row}",
         **_answer("failed" if row == 4 else "ok")}
        for row in range(RICH_USERS) if row != 3
    ]  # fmt: skip
    items = [
        {"item": row, "summary": f"Item {row} is for everybody.", "reasoning": "", **_answer()}
        for row in range(RICH_ITEMS)
    ]
    negatives: list[dict[str, Any]] = []
    for user in range(2, RICH_USERS):
        history = rich_contents.seen_items[rich_contents.seen_offsets[user] : rich_contents.seen_offsets[user + 1]]
        unmet = np.setdiff1d(np.arange(RICH_ITEMS), history)
        for place, item in enumerate(history[: 0 if user == 9 else 3].tolist()):
            matched: int | None = int(unmet[(7 * user + place) % len(unmet)])
            status = "matched"
            if user == 7:
                matched, status = int(history[-1]), "interacted"
            if user == 8:
                matched, status = None, "out_of_catalogue"
            negatives.append(
                {"user": user, "item": item, "answer": f"answer {user}-{place}", "reasoning": f"reason {user}-{place}",
                 "status": status, "negative": matched}
            )  # fmt: skip
    vectors = mean_pooled(ENCODER, rich_texts).astype(np.float16).astype(np.float32)
    return Extras(
        user_profiles=pa.Table.from_pylist(users, schema=USER_PROFILES),
        item_profiles=pa.Table.from_pylist(items, schema=ITEM_PROFILES),
        negatives=pa.Table.from_pylist(negatives, schema=WRITTEN_NEGATIVES),
        text_vectors=vectors,
        encoder=ENCODER,
    )


@pytest.fixture(scope="session")
def rich_bundle(rich_contents: Contents, rich_extras: Extras, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those with all extras in a folder; read only."""
    path = tmp_path_factory.mktemp("rich-bundle")
    write_bundle(str(path), rich_contents, ABOUT, extras=rich_extras)
    return path


@pytest.fixture(scope="session")
def rich(rich_bundle: Path) -> Recommender:
    """Over the rich bundle; nobody changes what can be had."""
    return Recommender.load(str(rich_bundle))
