"""Baselines in closed form go through the stages that trained variants go through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from safetensors.numpy import load, save

from hnlm_ray.config.tree import Config, EvaluateConfig, TrainConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import DataError, StoreError
from hnlm_ray.evaluation.blocks import HeldOut, evaluate
from hnlm_ray.models.ease import fit_ease
from hnlm_ray.models.fitted import read_ranker
from hnlm_ray.models.rankers import ItemItemRanker
from hnlm_ray.run.plan import plan
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.stages import bundle, train
from hnlm_ray.stages import evaluate as evaluate_stage
from tests.stages.finished_run import HISTORY, N_ITEMS, N_USERS, FinishedRun

BASELINES = {
    "most": VariantConfig(backbone="popularity"),
    "knn": VariantConfig(backbone={"name": "item_knn", "neighbours": 5}),
    "ease": VariantConfig(backbone={"name": "ease", "ridge": 2.0}),
}
PAIRS = N_USERS * HISTORY


@pytest.fixture
def computed(tmp_path: Path) -> FinishedRun:
    """A prepared run and the fits of every baseline; nothing has started Ray."""
    run = FinishedRun(tmp_path)
    run.config = Config(
        train=TrainConfig(seeds=(3, 4), variants=BASELINES),
        evaluate=EvaluateConfig(cutoffs=(5, 10), user_block=7),
        serve={"variant": "most"},
    )
    run.prepare(truth=False)
    for variant in BASELINES:
        context = run.context(f"train.{variant}.s3")
        summary = train.run(context, variant=variant, seed=3)
        run.commit(context.output, dict(summary.rows), dict(summary.counts))
    return run


def splits(run: FinishedRun) -> tuple[Interactions, Interactions]:
    table = run.inputs["prepare"].read("interactions")
    first, second = (Interactions.from_table(table, N_USERS, N_ITEMS, splits=(name,)) for name in ("train", "valid"))
    return first, second


def met(run: FinishedRun, user: int) -> set[int]:
    rows = run.inputs["prepare"].read("interactions")
    rows = rows.filter((pc.field("user") == user) & (pc.field("split") != "test"))
    return set(rows["item"].to_pylist())


def test_a_fit_is_the_model_one_row_of_history_and_its_validation(computed: FinishedRun) -> None:
    artifact = computed.inputs["train.ease.s3"]
    known, valid = splits(computed)
    expected = fit_ease(known, 2.0)
    np.testing.assert_array_equal(load(artifact.read_bytes(train.MODEL))["item_weights"], expected.weights)
    ndcg = evaluate(ItemItemRanker(expected, known), HeldOut("valid", known, valid), (20,)).mean("ndcg", 20)
    counts = artifact.manifest().counts
    assert counts["valid_ndcg"] == ndcg
    assert (counts["pairs"], counts["parameters"], counts["epochs"]) == (PAIRS, N_ITEMS**2, 0)
    [row] = artifact.read("history").to_pylist()
    assert (row["epoch"], row["valid_ndcg"], row["loss"]) == (0, ndcg, None)


def test_popularity_is_written_as_vectors(computed: FinishedRun) -> None:
    tensors = load(computed.inputs["train.most.s3"].read_bytes(train.MODEL))
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "user_vectors": (N_USERS, 1),
        "item_vectors": (N_ITEMS, 1),
    }
    assert tensors["item_vectors"].sum() == PAIRS


def test_one_seed_is_enough_for_a_baseline() -> None:
    variants = {"hnlm": VariantConfig(), **BASELINES}
    config = Config(train=TrainConfig(seeds=(3, 4), variants=variants))
    fits = [stage.name for stage in plan(config).stages if stage.kind == "train"]
    assert fits == ["train.hnlm.s3", "train.hnlm.s4", "train.most.s3", "train.knn.s3", "train.ease.s3"]


@pytest.mark.ray
def test_ray_data_evaluates_baselines_and_popularity_can_be_served(computed: FinishedRun, ray_session: None) -> None:
    context = computed.context("evaluate")
    evaluate_stage.run(context)
    known, valid = splits(computed)
    held_out = HeldOut("valid", known, valid)
    metrics = context.output.read("metrics")
    for variant in BASELINES:
        ranker = read_ranker(computed.inputs[f"train.{variant}.s3"], known)
        mine = metrics.filter(
            (pc.field("variant") == variant)
            & (pc.field("split") == "valid")
            & (pc.field("metric") == "recall")
            & (pc.field("k") == 10)
        ).to_pylist()
        expected = evaluate(ranker, held_out, (10,)).mean("recall", 10)
        assert [(row["seed"], row["value"]) for row in mine] == [(3, expected)]
    users = context.output.read("user_metrics")
    assert set(users["variant"].to_pylist()) == set(BASELINES)
    computed.commit(context.output, {})
    bundled = computed.context("bundle")
    assert bundle.run(bundled, variant="most").counts["seed"] == 3
    unmet = [item for item in np.argsort(-known.item_popularity, kind="stable") if item not in met(computed, 0)]
    best = Recommender.load(bundled.output.path).recommend("u0", k=3)
    assert [item.item_id for item in best.items] == [f"i{item}" for item in unmet[:3]]


def test_weights_that_do_not_fit_are_named(computed: FinishedRun) -> None:
    artifact = computed.inputs["train.ease.s3"]
    artifact.write_bytes(train.MODEL, save({"item_weights": np.zeros((3, 3), dtype=np.float32)}))
    artifact.commit({})
    with pytest.raises(StoreError, match=r"train\.ease\.s3.*shape \(3, 3\), expected \(40, 40\)"):
        read_ranker(artifact, splits(computed)[0])


def test_nothing_to_count_is_a_sentence(computed: FinishedRun) -> None:
    prepare = computed.inputs["prepare"]
    table = prepare.read("interactions")
    prepare.write("interactions", table.filter(pc.not_equal(table["split"], "train")))
    prepare.commit({})
    with pytest.raises(DataError, match="the train split is empty"):
        train.run(computed.context("train.ease.s3"), variant="ease", seed=3)
