"""Training on Ray, on one worker and on two: the same result as without Ray."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load

from hnlm_ray.config.semantic import ContrastOptions, MixingOptions, SemanticOptions
from hnlm_ray.config.tracking import TrackingConfig
from hnlm_ray.config.tree import ClusterConfig, Config, TrainConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import ConfigError, ResourceError, StageError
from hnlm_ray.run.stage import StageContext
from hnlm_ray.run.store import Artifact, RunStore
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.stages import train
from hnlm_ray.tables import GROUNDED, INTERACTIONS, ITEM_VECTORS, ITEMS, USERS
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training.fit import fit
from hnlm_ray.training.inputs import FitInputs
from hnlm_ray.training.live import live_folder, read_curve
from hnlm_ray.training.side_information import SideInformation

TRAIN, VALID = random_world(50, 40, 0.2, 3)
PLAIN = VariantConfig(dim=8, epochs=4, batch_size=128, learning_rate=0.01, validate_every=2)
SEMANTIC = SemanticOptions(mixing=MixingOptions(share=0.2), contrast=ContrastOptions(weight=0.1))
VARIANTS = {
    "uniform": PLAIN,
    "hnlm": PLAIN.model_copy(update={"semantic": SEMANTIC}),
}


def rows_of(part: Interactions, split: str) -> list[dict[str, object]]:
    return [
        {"user": user, "item": item, "split": split}
        for user, item in zip(part.users.tolist(), part.items.tolist(), strict=True)
    ]


def write_inputs(store: RunStore) -> dict[str, Artifact]:
    inputs = {stage: store.artifact(stage, "0") for stage in ("prepare", "ground", "vectors")}
    for artifact in inputs.values():
        artifact.create()
    rows = sorted(rows_of(TRAIN, "train") + rows_of(VALID, "valid"), key=lambda row: row["user"])
    empty = {"rating": None, "timestamp": None, "review": ""}
    inputs["prepare"].write("interactions", pa.Table.from_pylist([row | empty for row in rows], schema=INTERACTIONS))
    inputs["prepare"].write("users", pa.Table.from_pylist([{"user": user} for user in range(50)], schema=USERS))
    inputs["prepare"].write("items", pa.Table.from_pylist([{"item": item} for item in range(40)], schema=ITEMS))
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float16)
    table = pa.Table.from_pydict({"item": range(40), "vector": list(vectors)}, schema=ITEM_VECTORS)
    inputs["vectors"].write("item_vectors", table)
    matched = [
        {"pair": row["user"] * 40 + row["item"], "status": "matched", "negative": (row["item"] + 1) % 40, **row}
        for row in rows_of(TRAIN, "train")[::2]
    ]
    inputs["ground"].write("grounded", pa.Table.from_pylist(matched, schema=GROUNDED))
    return inputs


def context_in(folder: Path, workers: int, address: str | None = None) -> StageContext:
    store = RunStore(str(folder))
    inputs = {stage: store.artifact(stage, "0") for stage in ("prepare", "ground", "vectors")}
    if not inputs["ground"].has("grounded"):
        write_inputs(store)
    config = Config(
        train=TrainConfig(workers=workers, variants=VARIANTS),
        cluster=ClusterConfig(address=address),
    )
    output = store.artifact("train", "0")
    output.create()
    return StageContext(config=config, inputs=inputs, output=output)


def assert_like_one_worker(output: Artifact, variant: str, vectors: PairVectors | None = None) -> None:
    expected = fit(TRAIN, VALID, VARIANTS[variant], 0, side=SideInformation(vectors=vectors))
    history = output.read("history").to_pydict()
    assert history["epoch"] == [record.epoch for record in expected.progress.history]
    for name in ("loss", "ranking_loss", "contrastive_loss"):
        assert history[name] == pytest.approx([getattr(record, name) for record in expected.progress.history], rel=1e-4)
    model = load(output.read_bytes(train.MODEL))
    np.testing.assert_allclose(model["user_vectors"], expected.user_vectors, rtol=1e-2, atol=1e-4)
    np.testing.assert_allclose(model["item_vectors"], expected.item_vectors, rtol=1e-2, atol=1e-4)


def with_callback(context: StageContext, **options: object) -> StageContext:
    own = [{"class": "tests.stages.told_callback.Told", **options}]
    train_options = TrainConfig.model_validate({**context.config.train.model_dump(), "callbacks": own})
    tracking = TrackingConfig.model_validate({"tensorboard": {}})
    config = context.config.model_copy(update={"train": train_options, "tracking": tracking})
    return dataclasses.replace(context, config=config)


@pytest.mark.ray
@pytest.mark.parametrize("workers", [1, 2])
def test_ray_workers_train_a_semantic_variant_as_one_process_does(
    ray_session: None, tmp_path: Path, workers: int
) -> None:
    file = tmp_path / "told"
    context = with_callback(context_in(tmp_path, workers=workers), file=str(file))
    summary = train.run(context, variant="hnlm", seed=0)
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert {fit for fit, *_ in told} == {"train.hnlm.s0"}
    assert [epoch for _, what, epoch, _ in told if what == "epoch"] == [1, 2, 3, 4]  # once, by one of the workers
    valid = [figures["valid_ndcg"] for _, what, _, figures in told if what == "validation"]
    history = context.output.read("history")
    assert valid == history["valid_ndcg"].drop_null().to_pylist()
    live = read_curve(live_folder(context.output))  # what trackers are told of while it runs, at most once a second
    assert [row["loss"] for row in live] == history["loss"].to_pylist()[: len(live)]
    assert live
    ground, vectors = context.inputs["ground"], context.inputs["vectors"]
    pairs = PairVectors.from_tables(ground.read("grounded"), vectors.read("item_vectors"), 40)
    assert_like_one_worker(context.output, "hnlm", pairs)
    assert summary.counts["pairs"] == len(TRAIN.items)
    assert summary.counts["pairs_with_vector"] == len(pairs.pairs) == ground.read("grounded").num_rows
    assert summary.counts["epochs"] == 4
    assert summary.rows == {"history": 4}
    # Not committed, as after a crash: the finished fit is read from its checkpoint, with the seconds that it took.
    assert train.run(context, variant="hnlm", seed=0) == summary
    context.output.commit({})
    assert sorted(path.name for path in Path(context.output.path).iterdir()) == [
        "history.parquet",
        "manifest.json",
        "model.safetensors",
    ]


@pytest.mark.ray
def test_small_data_is_one_worker_and_more_is_one_per_machine(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(str(tmp_path))
    prepare = store.artifact("prepare", "0")
    prepare.create()
    prepare.commit({"counts": {"interactions": 12_000_000}})
    assert train._workers(TrainConfig(), prepare) == 1  # there is one machine
    machine = {"Alive": True, "Resources": {"CPU": 4.0}}
    machines = [machine] * 9 + [{"Alive": False, "Resources": {"CPU": 4.0}}, {"Alive": True, "Resources": {}}]
    monkeypatch.setattr("ray.nodes", lambda: machines)
    assert train._workers(TrainConfig(), prepare) == 3
    assert train._workers(TrainConfig(workers=5), prepare) == 5
    monkeypatch.setattr("ray.cluster_resources", lambda: {"GPU": 2.0})
    assert train._workers(TrainConfig(accelerator="gpu"), prepare) == 2


@pytest.mark.ray
def test_more_workers_than_the_cluster_holds_is_one_sentence(ray_session: None, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"train.workers=99 needs 99 CPU \(there are 6\)"):
        train.run(context_in(tmp_path, workers=99), variant="uniform", seed=0)


def test_an_unknown_variant_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no 'none'"):
        train.run(context_in(tmp_path, workers=1), variant="none", seed=0)


def test_a_worker_gets_paths_and_not_tables(tmp_path: Path) -> None:
    import cloudpickle

    context = context_in(tmp_path, workers=1)
    task = train._Task(context.inputs["prepare"], FitInputs(), PLAIN, 0, use_gpu=False)
    assert len(cloudpickle.dumps(task)) < 5_000


@pytest.mark.ray
def test_a_failing_callback_stops_the_run_with_a_sentence_and_the_next_run_goes_on(
    ray_session: None, tmp_path: Path
) -> None:
    file = tmp_path / "told"
    context = context_in(tmp_path, workers=1)
    with pytest.raises(StageError, match=r"callback Told failed in on_epoch of epoch 3 with KeyError"):
        train.run(with_callback(context, file=str(file), failing=3), variant="uniform", seed=0)
    file.unlink()
    train.run(with_callback(context, file=str(file)), variant="uniform", seed=0)
    assert [json.loads(line)[2] for line in file.read_text().splitlines()] == [3, 4, 4]
    assert_like_one_worker(context.output, "uniform")
