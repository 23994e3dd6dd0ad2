"""A backbone that reads histories goes through the stages, with what is known of users when each split is ranked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from safetensors.numpy import load

from hnlm_ray.config.tree import Config, EvaluateConfig, TrainConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.errors import DataError
from hnlm_ray.evaluation.blocks import HeldOut, evaluate
from hnlm_ray.models.fitted import read_ranker, read_served
from hnlm_ray.models.rankers import VectorRanker
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.stages import bundle, train
from hnlm_ray.stages import evaluate as evaluate_stage
from hnlm_ray.training.inputs import FitInputs
from tests.stages.finished_run import N_ITEMS, N_USERS, FinishedRun

OPTIONS = {"backbone": {"name": "sasrec", "length": 6}, "dim": 8, "epochs": 4, "loss": "gbce", "learning_rate": 0.01}


@pytest.fixture
def prepared(tmp_path: Path) -> FinishedRun:
    run = FinishedRun(tmp_path)
    run.config = Config(
        train=TrainConfig(seeds=(0,), workers=1, variants={"ordered": VariantConfig.model_validate(OPTIONS)}),
        evaluate=EvaluateConfig(cutoffs=(5, 10), user_block=7),
        serve={"variant": "ordered"},
    )
    run.prepare(truth=False)
    return run


@pytest.mark.ray
def test_valid_is_ranked_by_train_and_test_and_service_by_all_that_came_before(
    prepared: FinishedRun, ray_session: None
) -> None:
    context = prepared.context("train.ordered.s0")
    summary = train.run(context, variant="ordered", seed=0)
    prepared.commit(context.output, dict(summary.rows), dict(summary.counts))
    tensors = load(prepared.inputs["train.ordered.s0"].read_bytes(train.MODEL))
    by_train, by_all = (
        VectorRanker(tensors[n], tensors["item_vectors"]) for n in ("user_vectors", "seen_user_vectors")
    )
    assert not np.allclose(by_train.user_vectors, by_all.user_vectors)
    known = read_splits(prepared.inputs["prepare"])
    fit = prepared.inputs["train.ordered.s0"]
    assert np.array_equal(read_ranker(fit, known.train).user_vectors, by_train.user_vectors)  # type: ignore[attr-defined]
    assert np.array_equal(read_served(fit, N_USERS, N_ITEMS)[0].user_vectors, by_all.user_vectors)
    context = prepared.context("evaluate")
    evaluate_stage.run(context)
    rows = context.output.read("metrics").filter((pc.field("metric") == "ndcg") & (pc.field("k") == 10)).to_pylist()
    found = {row["split"]: row["value"] for row in rows if row["variant"] == "ordered"}
    for ranker, held_out in (
        (by_train, HeldOut("valid", known.train, known.valid)),
        (by_all, HeldOut("test", known.seen, known.test)),
    ):
        assert found[held_out.name] == evaluate(ranker, held_out, (10,)).mean("ndcg", 10)
    prepared.commit(context.output, {})
    bundled = prepared.context("bundle")
    bundle.run(bundled, variant="ordered")
    best = Recommender.load(bundled.output.path).recommend("u3", k=3)
    first = by_all.rank(3, 4, known.seen.slice_users(3, 4), 3).items[0]
    assert [item.item_id for item in best.items] == [f"i{item}" for item in first]


def test_data_without_times_is_refused_in_one_sentence(prepared: FinishedRun) -> None:
    artifact = prepared.inputs["prepare"]
    table = artifact.read("interactions")
    nothing = pc.if_else(pc.greater(table["user"], 0), table["timestamp"], None)
    index = table.column_names.index("timestamp")
    artifact.write("interactions", table.set_column(index, "timestamp", nothing))
    artifact.commit({})
    variant = prepared.config.train.variants["ordered"]
    splits = read_splits(artifact)
    with pytest.raises(DataError, match="10 of 600 interactions have no time, and a model of sequences needs their or"):
        FitInputs(prepared.inputs).of_variant(variant, splits.train)
    plain = VariantConfig(backbone="mf")
    assert FitInputs(prepared.inputs).of_variant(plain, splits.train).histories is None
