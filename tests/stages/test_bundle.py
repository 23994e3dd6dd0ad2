from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save

from hnlm_ray.config.tree import Config
from hnlm_ray.errors import StageError, StoreError
from hnlm_ray.run.stage import StageContext
from hnlm_ray.run.store import RunStore
from hnlm_ray.serving.bundle.bundle import load_bundle
from hnlm_ray.serving.recommend.explanation import Explainer
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.stages.bundle import run
from hnlm_ray.tables import GROUNDED, INTERACTIONS, ITEM_PROFILES, ITEMS, METRICS, NEGATIVES, USER_PROFILES, USERS

CONFIG = Config.model_validate(
    {
        "train": {"seeds": [0, 1, 2]},
        "data": {"format": "table", "path": "/raw/shop/"},
        "llm": {"model": "demo"},
        "embed": {"model": "demo"},
    }
)
USER_VECTORS = {seed: np.eye(3, 4, k=seed, dtype=np.float32) + np.float32(0.1) for seed in (0, 1, 2)}
ITEM_VECTORS = np.arange(20, dtype=np.float32).reshape(5, 4)


def _metric(variant: str, seed: int | None, split: str, value: float | None, metric: str = "ndcg", k: int = 20) -> dict:
    return {"variant": variant, "seed": seed, "split": split, "metric": metric, "k": k, "value": value}


SEED_1_IS_BEST = [
    _metric("hnlm", 0, "valid", 0.30),
    _metric("hnlm", 1, "valid", 0.40),
    _metric("hnlm", 2, "valid", 0.40),
    # None of these may decide.
    _metric("hnlm", 0, "test", 0.90),
    _metric("hnlm", 1, "test", 0.20),
    _metric("hnlm", 2, "valid", 0.95, k=10),
    _metric("hnlm", 2, "valid", 0.95, metric="recall"),
    _metric("hnlm", 7, "valid", 0.99),
    _metric("uniform", 0, "valid", 0.99),
    _metric("popularity", None, "valid", 0.99),
]


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    store = RunStore(str(tmp_path))
    names = ["prepare", "evaluate", *(f"train.hnlm.s{seed}" for seed in (0, 1, 2))]
    inputs = {name: store.artifact(name, "x") for name in names}
    for artifact in inputs.values():
        artifact.create()
    splits = [("train", 0, 0), ("train", 0, 2), ("valid", 0, 1), ("test", 0, 3), ("train", 1, 2), ("test", 2, 4)]
    rows = [
        {"user": user, "item": item, "rating": None, "timestamp": None, "review": "", "split": split}
        for split, user, item in splits
    ]
    users = [{"user": n, "user_id": f"u{n}"} for n in range(3)]
    items = [
        {"item": n, "item_id": f"i{n}", "title": f"T{n}", "brand": "", "categories": [], "description": ""}
        for n in range(5)
    ]
    inputs["prepare"].write("users", pa.Table.from_pylist(users, schema=USERS))
    inputs["prepare"].write("items", pa.Table.from_pylist(items, schema=ITEMS))
    inputs["prepare"].write("interactions", pa.Table.from_pylist(rows, schema=INTERACTIONS))
    inputs["evaluate"].write("metrics", pa.Table.from_pylist(SEED_1_IS_BEST, schema=METRICS))
    for seed, vectors in USER_VECTORS.items():
        tensors = {"user_vectors": vectors, "item_vectors": ITEM_VECTORS}
        inputs[f"train.hnlm.s{seed}"].write_bytes("model.safetensors", save(tensors))
    output = store.artifact("bundle", "y")
    output.create()
    return StageContext(CONFIG, inputs, output)


def test_the_best_fit_on_valid_becomes_the_bundle(context: StageContext) -> None:
    summary = run(context, variant="hnlm")
    bundle = load_bundle(context.output.path)
    np.testing.assert_array_equal(bundle.contents.user_vectors, USER_VECTORS[1])
    np.testing.assert_array_equal(bundle.contents.item_vectors, ITEM_VECTORS)
    about = bundle.info.about
    assert (about.variant, about.seed, about.data) == ("hnlm", 1, "shop (table)")
    assert about.metrics == {"valid ndcg@20": 0.40, "test ndcg@20": 0.20}
    assert about.config == CONFIG.train.variants["hnlm"].model_dump(mode="json")
    assert summary.rows == {"users": 3, "items": 5}
    assert summary.counts == {"seen": 4, "seed": 1, "text_encoder": 0}


def test_train_and_valid_are_seen_and_test_is_not(context: StageContext) -> None:
    run(context, variant="hnlm")
    contents = load_bundle(context.output.path).contents
    assert contents.seen_offsets.tolist() == [0, 3, 4, 4]
    assert contents.seen_items.tolist() == [0, 1, 2, 2]
    assert contents.popularity.tolist() == [1, 1, 2, 0, 0]
    answer = Recommender.load(context.output.path).recommend("u0", k=5)
    assert {item.item_id for item in answer.items} == {"i3", "i4"}


def test_without_the_selection_cutoff_the_largest_decides(context: StageContext) -> None:
    rows = [_metric("hnlm", seed, "valid", value, k=k) for seed, k, value in
            [(0, 5, 0.9), (1, 5, 0.1), (2, 5, 0.1), (0, 10, 0.1), (1, 10, 0.1), (2, 10, 0.2)]]  # fmt: skip
    context.inputs["evaluate"].write("metrics", pa.Table.from_pylist(rows, schema=METRICS))
    run(context, variant="hnlm")
    assert load_bundle(context.output.path).info.about.seed == 2


def test_an_evaluation_without_the_variant_is_refused(context: StageContext) -> None:
    rows = [_metric("uniform", 0, "valid", 0.5)]
    context.inputs["evaluate"].write("metrics", pa.Table.from_pylist(rows, schema=METRICS))
    with pytest.raises(StageError, match="no valid NDCG of the variant 'hnlm'"):
        run(context, variant="hnlm")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"nonsense", "cannot be read"), (save({"user_vectors": USER_VECTORS[1]}), "item_vectors")],
)
def test_a_damaged_fit_is_named(context: StageContext, content: bytes, words: str) -> None:
    context.inputs["train.hnlm.s1"].write_bytes("model.safetensors", content)
    with pytest.raises(StoreError, match=words) as caught:
        run(context, variant="hnlm")
    assert "train.hnlm.s1" in str(caught.value)


def test_vectors_of_other_users_leave_no_bundle(context: StageContext) -> None:
    tensors = {"user_vectors": USER_VECTORS[1][:2], "item_vectors": ITEM_VECTORS}
    context.inputs["train.hnlm.s1"].write_bytes("model.safetensors", save(tensors))
    with pytest.raises(StoreError, match="user_vectors has shape"):
        run(context, variant="hnlm")
    assert not context.output.has("bundle.json")


ANSWERED = {"status": "ok", "reason": "", "excerpt": "", "attempts": 1, "prompt_tokens": 9, "output_tokens": 9}


def _with_texts(context: StageContext) -> StageContext:
    """What the language model stages and the text encoder leave, beside the other inputs."""
    store = RunStore(str(Path(context.output.path).parents[1]))
    written = [
        {"pair": pair, "user": user, "item": item, "answer": answer, "reasoning": f"because {pair}", **ANSWERED}
        for pair, user, item, answer in ((10, 2, 4, "Red Loom"), (0, 0, 0, "Blue Kite"), (5, 1, 2, ""))
    ]
    matched = [
        {"pair": 0, "user": 0, "item": 0, "answer": "Blue Kite", "status": "matched", "negative": 3},
        {"pair": 5, "user": 1, "item": 2, "answer": "", "status": "none", "negative": None},
        {"pair": 10, "user": 2, "item": 4, "answer": "Red Loom", "status": "out_of_catalogue", "negative": None},
    ]
    profiles = {"summary": "likes looms", "reasoning": "", **ANSWERED}
    tables = {
        "user_profiles": pa.Table.from_pylist([{"user": n, **profiles} for n in range(3)], schema=USER_PROFILES),
        "item_profiles": pa.Table.from_pylist([{"item": n, **profiles} for n in range(5)], schema=ITEM_PROFILES),
        "negatives": pa.Table.from_pylist(written, schema=NEGATIVES),
        "grounded": pa.Table.from_pylist([{"step": "", "similarity": None, **row} for row in matched], schema=GROUNDED),
    }
    inputs = dict(context.inputs)
    for name, table in tables.items():
        stage = {"grounded": "ground"}.get(name, name)
        inputs[stage] = store.artifact(stage, "x")
        inputs[stage].create()
        inputs[stage].write(name, table)
    return StageContext(context.config, inputs, context.output)


def test_what_the_language_model_wrote_goes_along(context: StageContext) -> None:
    summary = run(_with_texts(context), variant="hnlm")
    explainer = Explainer(Recommender.load(context.output.path))
    assert summary.rows == {"users": 3, "items": 5, "user_profiles": 3, "item_profiles": 5, "negatives": 2}
    (story,) = explainer.explain("u0").negatives
    assert (story.beside, story.answer, story.reasoning, story.item, story.rank) == (0, "Blue Kite", "because 0", 3, 2)
    assert explainer.user_profile(0) == "likes looms"
    assert explainer.item_profile(4) == "likes looms"


def test_another_variant_gets_a_bundle_of_its_own(context: StageContext) -> None:
    inputs = dict(context.inputs)
    inputs["train.uniform.s0"] = inputs["train.hnlm.s2"]
    context = StageContext(context.config, inputs, context.output)
    run(context, "uniform")
    about = load_bundle(context.output.path).info.about
    assert (about.variant, about.seed, about.metrics) == ("uniform", 0, {"valid ndcg@20": 0.99})


SERVED = {"variants": {"hnlm": {}, "uniform": {}, "close": {"backbone": "ease"}}, "seeds": [0, 1, 2]}


@pytest.mark.parametrize(
    ("more", "expected", "warning"),
    [
        # The mean over seeds decides (0.367 of hnlm), not the best seed.
        ([_metric("uniform", 0, "valid", 0.37), _metric("uniform", 1, "valid", 0.37)], "uniform", ""),
        ([_metric("uniform", 0, "valid", 0.10), _metric("uniform", 1, "valid", 0.60)], "hnlm", ""),
        (
            [_metric("close", 0, "valid", 0.90)],
            "hnlm",
            "close is best on validation (0.9000) but has no vectors of users",
        ),
    ],
)
def test_the_best_is_the_variant_with_the_best_mean_on_valid(
    more: list[dict], expected: str, warning: str, context: StageContext
) -> None:
    fits = [
        _metric("hnlm", seed, split, value) for seed, value in enumerate((0.3, 0.4, 0.4)) for split in ("valid", "test")
    ]
    more = [*fits, *more, *({**row, "split": "test"} for row in more), _metric("popularity", None, "valid", 0.99)]
    context.inputs["evaluate"].write("metrics", pa.Table.from_pylist(more, schema=METRICS))
    config = Config.model_validate({"train": SERVED, "data": {"format": "table", "path": "/raw/shop/"}})
    inputs = dict(context.inputs)
    for seed in (0, 1, 2):
        inputs[f"train.uniform.s{seed}"] = inputs[f"train.hnlm.s{seed}"]
    summary = run(dataclasses.replace(context, config=config, inputs=inputs), variant="best")
    assert load_bundle(context.output.path).info.about.variant == expected
    assert [warning in one for one in summary.warnings] == ([True] if warning else [])


def test_without_validation_the_first_is_served_and_it_is_said(context: StageContext) -> None:
    rows = [_metric("hnlm", seed, split, None) for seed in (0, 1, 2) for split in ("valid", "test")]
    context.inputs["evaluate"].write("metrics", pa.Table.from_pylist(rows, schema=METRICS))
    config = Config.model_validate({"train": SERVED, "data": {"format": "table", "path": "/raw/shop/"}})
    summary = run(dataclasses.replace(context, config=config), variant="best")
    assert load_bundle(context.output.path).info.about.variant == "hnlm"
    assert "nothing was held out for validation, so hnlm" in summary.warnings[0]
