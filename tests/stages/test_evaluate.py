from __future__ import annotations

import gzip
from dataclasses import asdict
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from safetensors.numpy import load, save

from hnlm_ray.config.tree import Config, EvaluateConfig, TrainConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.vectors import read_item_vectors
from hnlm_ray.errors import StageError, StoreError
from hnlm_ray.evaluation.beyond import Reference
from hnlm_ray.evaluation.blocks import HeldOut, evaluate
from hnlm_ray.evaluation.false_negatives import dns_rate
from hnlm_ray.evaluation.metrics import METRICS
from hnlm_ray.evaluation.rate_table import rate_table
from hnlm_ray.evaluation.strata import strata as strata_of
from hnlm_ray.models.rankers import VectorRanker
from hnlm_ray.stages.evaluate import run
from hnlm_ray.tuning.candidates import Knowledge
from hnlm_ray.tuning.supervision import STRATEGIES, choose_targets
from tests.stages.finished_run import HELD_OUT, HISTORY, N_ITEMS, N_USERS, FinishedRun

BEYOND = ("coverage", "gini", "tie_rate", "popularity", "novelty")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> FinishedRun:
    """A run that has been evaluated under Ray Data."""
    finished = FinishedRun(tmp_path_factory.mktemp("run"))
    finished.prepare()
    finished.fits()
    finished.language_model()
    context = finished.context("evaluate")
    summary = run(context)
    finished.commit(context.output, dict(summary.rows), dict(summary.counts))
    return finished


def held_out(finished: FinishedRun) -> dict[str, HeldOut]:
    table = finished.inputs["prepare"].read("interactions")

    def part(*names: str) -> Interactions:
        return Interactions.from_table(table, N_USERS, N_ITEMS, splits=names)

    return {
        "valid": HeldOut("valid", part("train"), part("valid")),
        "test": HeldOut("test", part("train", "valid"), part("test")),
    }


@pytest.mark.ray
@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize(("variant", "seed"), [("uniform", 0), ("hnlm", 1)])
def test_ray_data_and_one_process_give_the_same_figures(
    finished: FinishedRun, variant: str, seed: int, split: str
) -> None:
    tensors = load(finished.inputs[f"train.{variant}.s{seed}"].read_bytes("model.safetensors"))
    splits = held_out(finished)
    reference = Reference(splits["valid"].seen, read_item_vectors(finished.inputs["vectors"], N_ITEMS))
    alone = evaluate(VectorRanker(**tensors), splits[split], (5, 10, 20), N_USERS, reference)
    metrics = finished.inputs["evaluate"].read("metrics")
    rows = metrics.filter((pc.field("variant") == variant) & (pc.field("seed") == seed) & (pc.field("split") == split))
    found = {(row["metric"], row["k"]): row["value"] for row in rows.to_pylist()}
    assert {name for name, _ in found} == {*METRICS, *BEYOND, "intra_list_distance"}
    assert found == alone.means()
    strata = finished.inputs["evaluate"].read("strata")
    rows = strata.filter((pc.field("variant") == variant) & (pc.field("seed") == seed)).to_pylist()
    if split == "test":
        groups = [asdict(group) for group in strata_of(alone, splits["test"].relevant, reference.train, 20)]
        assert [{name: row[name] for name in groups[0]} for row in rows] == groups
    if split == "test":
        users = finished.inputs["evaluate"].read("user_metrics")
        mine = users.filter((pc.field("variant") == variant) & (pc.field("seed") == seed))
        np.testing.assert_array_equal(mine["ndcg"].to_numpy(), alone.per_user["ndcg", 20])
        np.testing.assert_array_equal(mine["recall"].to_numpy(), alone.per_user["recall", 20])


@pytest.mark.ray
def test_every_user_stands_in_each_fit_once(finished: FinishedRun) -> None:
    users = finished.inputs["evaluate"].read("user_metrics")
    for variant in ("uniform", "hnlm"):
        for seed in (0, 1):
            mine = users.filter((pc.field("variant") == variant) & (pc.field("seed") == seed))
            assert mine["user"].to_pylist() == list(range(N_USERS))


@pytest.mark.ray
def test_trained_fits_beat_the_reference_rankers(finished: FinishedRun) -> None:
    metrics = finished.inputs["evaluate"].read("metrics")
    ndcg = metrics.filter(
        (pc.field("metric") == "ndcg") & (pc.field("k") == 10) & (pc.field("split") == "test")
    ).to_pylist()
    value = {(row["variant"], row["seed"]): row["value"] for row in ndcg}
    assert set(value) == {
        *((v, s) for v in ("uniform", "hnlm") for s in (0, 1)),
        ("popularity", None),
        ("random", None),
    }
    assert value["uniform", 0] > value["random", None]
    assert value["uniform", 0] > value["popularity", None]


@pytest.mark.ray
def test_masked_items_are_no_hits(finished: FinishedRun) -> None:
    """A model that only knows the train items must not be paid for them."""
    splits = held_out(finished)
    dense = np.zeros((N_USERS, N_ITEMS), dtype=np.float32)
    seen = splits["valid"].seen
    dense[seen.users, seen.items] = 1.0
    parrot = evaluate(VectorRanker(dense, np.eye(N_ITEMS, dtype=np.float32)), splits["valid"], (5,))
    constant = evaluate(VectorRanker(0 * dense, np.eye(N_ITEMS, dtype=np.float32)), splits["valid"], (5,))
    assert parrot.mean("recall", 5) == constant.mean("recall", 5)


@pytest.mark.ray
@pytest.mark.parametrize(("variant", "seed"), [("uniform", 0), ("hnlm", 1)])
def test_others_compute_the_same_figures_from_the_written_rankings(
    finished: FinishedRun, variant: str, seed: int, tmp_path: Path
) -> None:
    files = {"run": f"runs/{variant}.s{seed}.trec.gz", "qrels": "qrels.test.txt.gz"}
    for name, file in files.items():
        (tmp_path / name).write_bytes(gzip.decompress(finished.inputs["evaluate"].read_bytes(file)))
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "qrels")))
    ranked = list(ir_measures.read_trec_run(str(tmp_path / "run")))
    assert len(qrels) == len(held_out(finished)["test"].relevant)
    assert len(ranked) == N_USERS * (N_ITEMS - HISTORY - HELD_OUT)  # the catalogue has fewer items than a run holds
    metrics = finished.inputs["evaluate"].read("metrics")
    mine = (pc.field("variant") == variant) & (pc.field("seed") == seed) & (pc.field("split") == "test")
    ours = {(row["metric"], row["k"]): row["value"] for row in metrics.filter(mine).to_pylist()}
    for name, measure in (("recall", ir_measures.R), ("ndcg", ir_measures.nDCG), ("map", ir_measures.AP)):
        for k in (5, 20):
            theirs = ir_measures.calc_aggregate([measure @ k], qrels, ranked)[measure @ k]
            assert ours[name, k] == pytest.approx(theirs, abs=1e-9)


@pytest.mark.ray
def test_a_run_may_go_without_the_files_for_others(tmp_path: Path, ray_session: None) -> None:
    bare = FinishedRun(tmp_path)
    options = EvaluateConfig(cutoffs=(5,), trec=False)
    bare.config = bare.config.model_copy(
        update={"train": TrainConfig(variants={"uniform": VariantConfig()}), "evaluate": options}
    )
    bare.prepare(truth=False)
    bare.fits()
    context = bare.context("evaluate")
    run(context)
    assert not context.output.has("qrels.test.txt.gz")
    assert not context.output.has("runs/uniform.s0.trec.gz")


@pytest.mark.ray
def test_false_negative_rates_of_every_sampler(finished: FinishedRun) -> None:
    rows = finished.inputs["evaluate"].read("false_negatives").to_pylist()
    rate = {row["sampler"]: row["rate"] for row in rows}
    choices = {f"supervision: {name}" for name in STRATEGIES}
    assert set(rate) == {"uniform", "popularity", "nearest text", "language model"} | choices
    truth, train = finished.probability, held_out(finished)["valid"].seen
    unseen = np.ones_like(truth, dtype=bool)
    unseen[train.users, train.items] = False
    # Every user has as many train items, so the mean over pairs is the mean over users.
    assert rate["uniform"] == pytest.approx(np.mean([truth[u, unseen[u]].mean() for u in range(N_USERS)]), rel=1e-5)
    matched = np.arange(N_USERS - 10)
    assert rate["language model"] == pytest.approx(truth[matched, matched % N_ITEMS].mean(), rel=1e-5)
    pairs = {row["sampler"]: row["pairs"] for row in rows}
    assert pairs["uniform"] == len(train.items)
    assert pairs["language model"] == N_USERS - 10
    model = load(finished.inputs["train.uniform.s0"].read_bytes("model.safetensors"))
    texts = read_item_vectors(finished.inputs["vectors"], N_ITEMS)
    knowledge = Knowledge(train, model["user_vectors"], model["item_vectors"], texts)
    options = finished.config.tune.supervision
    assert options.strategy == "refined"
    chosen = choose_targets(train.keys, knowledge, options, finished.config.seed)
    found = chosen.negatives >= 0
    assert pairs["supervision: refined"] == found.sum() > 0
    expected = truth[train.users[found], chosen.negatives[found]].mean()
    assert rate["supervision: refined"] == pytest.approx(expected, rel=1e-5)
    answered = set(train.keys.tolist()) & {user * N_ITEMS for user in range(N_USERS - 10)}
    assert pairs["supervision: answer"] <= len(answered)


def test_tuned_vectors_stand_beside_dns_of_the_same_hardness(tmp_path: Path) -> None:
    tuned = FinishedRun(tmp_path)
    tuned.prepare()
    tuned.fits()
    tuned.language_model()
    train, truth = held_out(tuned)["valid"].seen, tuned.probability
    nearest = np.stack([np.setdiff1d(np.arange(N_ITEMS), train.row(int(user)))[[3, 1]] for user in train.users])
    artifact = tuned.artifact("encode")
    columns = {"pair": train.keys, "user": train.users, "item": train.items}
    vectors = pa.array([[1.0]] * len(train), pa.list_(pa.float16()))
    artifact.write("encoded", pa.table({**columns, "vector": vectors, "nearest": nearest.tolist()}))
    tuned.commit(artifact, {"encoded": len(train)})
    model = load(tuned.inputs["train.uniform.s0"].read_bytes("model.safetensors"))
    users, items = model["user_vectors"], model["item_vectors"]
    table = rate_table(tuned.config, tuned.inputs, train, (users, items))
    rows = {row["sampler"]: row for row in table.to_pylist()}
    first = rows["tuned vectors: nearest item"]
    assert first["rate"] == pytest.approx(truth[train.users, nearest[:, 0]].mean(), rel=1e-5)
    assert first["hardness"] == pytest.approx((users[train.users] * items[nearest[:, 0]]).sum(axis=1).mean(), rel=1e-4)
    assert rows["tuned vectors: all nearest"]["pairs"] == 2 * len(train)
    beside = [row for name, row in rows.items() if name.startswith("dns as hard as")]
    assert len(beside) == 2
    assert {row["hardness"] for row in beside} == {first["hardness"], rows["tuned vectors: all nearest"]["hardness"]}


def test_every_variant_that_is_trained_on_negatives_has_the_rate_of_its_sampler(tmp_path: Path) -> None:
    several = FinishedRun(tmp_path)
    hard = {"name": "dns", "candidates": 32}
    written = {
        "hnlm": {},
        "first": {"sampler": hard},
        "second": {"sampler": hard, "backbone": "mf"},
        "ahns": {"sampler": "ahns", "loss": "softmax"},
        "flat": {"sampler": {"name": "popularity", "exponent": 0.0}},
        "au": {"backbone": "directau", "sampler": "dns"},
        "knn": {"backbone": "popularity", "sampler": "dns"},
    }
    variants = {name: VariantConfig.model_validate(options) for name, options in written.items()}
    several.config = several.config.model_copy(update={"train": TrainConfig(variants=variants, seeds=(0, 1))})
    several.prepare()
    several.fits()
    truth, train = several.probability, held_out(several)["valid"].seen
    table = rate_table(several.config, several.inputs, train)
    rate = dict(zip(table["sampler"].to_pylist(), table["rate"].to_pylist(), strict=True))
    named = {"dns(candidates=32), first", "dns(candidates=32), second", "ahns", "popularity(exponent=0.0)"}
    assert set(rate) == {"uniform", "popularity", *named}
    assert rate["popularity(exponent=0.0)"] == pytest.approx(rate["uniform"])
    assert rate["dns(candidates=32), first"] > rate["uniform"] + 0.1
    assert rate["dns(candidates=32), first"] != rate["dns(candidates=32), second"]  # each by its own vectors
    tensors = [load(several.inputs[f"train.first.s{seed}"].read_bytes("model.safetensors")) for seed in (0, 1)]
    by_seed = [dns_rate(truth, train, (one["user_vectors"], one["item_vectors"]), 32) for one in tensors]
    assert rate["dns(candidates=32), first"] == pytest.approx(np.mean(by_seed))


def guarded_run(folder: Path) -> FinishedRun:
    """A run whose variant ``ours`` is guarded by what users would like best, ten items each."""
    run = FinishedRun(folder)
    dns = {"sampler": {"name": "dns", "candidates": 16}}
    written = {"uniform": {}, "dns": dns, "ours": {**dns, "guard": {"table": "wise", "exclude": 2}}}
    variants = {name: VariantConfig.model_validate(options) for name, options in written.items()}
    update = {"train": TrainConfig(variants=variants), "guards": {"wise": {"sources": [{"variant": "dns"}]}}}
    run.config = Config.model_validate({**run.config.model_dump(), **update})
    run.prepare()
    run.fits()
    unseen = run.probability.copy()
    train = held_out(run)["valid"].seen
    unseen[train.users, train.items] = -1.0
    artifact, best = run.artifact("guard.wise"), np.argsort(-unseen, axis=1)[:, :10]
    ranks = np.tile(np.arange(1, 11, dtype=np.int32), N_USERS)
    users = np.repeat(np.arange(N_USERS, dtype=np.int32), 10)
    columns = {"user": users, "item": best.ravel().astype(np.int32), "rank": ranks, "weight": ranks / np.float32(11)}
    artifact.write("guard", pa.table(columns))
    run.commit(artifact, {"guard": len(ranks)})
    return run


def test_a_guarded_sampler_has_fewer_false_negatives_than_one_as_hard_without(tmp_path: Path) -> None:
    guarded = guarded_run(tmp_path)
    train = held_out(guarded)["valid"].seen
    users, items = guarded.users.astype(np.float32), guarded.items.astype(np.float32)
    rows = {
        row["sampler"]: row for row in rate_table(guarded.config, guarded.inputs, train, (users, items)).to_pylist()
    }
    own = "dns(candidates=16) guarded by wise"
    assert rows[own]["rate"] < rows["dns(candidates=16)"]["rate"] - 0.03
    (beside,) = (row for name, row in rows.items() if name.startswith("dns as hard as"))
    by_teacher = rows[f"{own} as in ours, by the teacher"]
    assert by_teacher["hardness"] == beside["hardness"] > rows["uniform"]["hardness"]
    assert by_teacher["rate"] > rows["uniform"]["rate"]


@pytest.mark.ray
def test_the_precision_of_a_guard_stands_beside_that_of_all_unseen_items(tmp_path: Path, ray_session: None) -> None:
    guarded = guarded_run(tmp_path)
    context = guarded.context("evaluate")
    run(context)
    rows = context.output.read("guard_likes").to_pylist()
    train, truth = held_out(guarded)["valid"].seen, guarded.probability
    unseen = np.ones_like(truth, dtype=bool)
    unseen[train.users, train.items] = False
    assert [(row["guard"], row["first"], row["pairs"]) for row in rows] == [
        ("wise", first, N_USERS * 10) for first in (10, 30, 200)
    ]
    assert [row["unseen"] for row in rows] == pytest.approx([truth[unseen].mean()] * 3, rel=1e-4)
    best = np.sort(np.where(unseen, truth, -1.0), axis=1)[:, -10:]
    assert rows[0]["liked"] == pytest.approx(best.mean(), rel=1e-4)
    assert rows[0]["liked"] > rows[0]["unseen"] + 0.1


@pytest.mark.ray
def test_without_truth_and_language_model_only_metrics_are_written(tmp_path: Path, ray_session: None) -> None:
    alone = FinishedRun(tmp_path)
    alone.config = alone.config.model_copy(update={"train": TrainConfig(variants={"uniform": VariantConfig()})})
    alone.prepare(truth=False)
    alone.fits()
    context = alone.context("evaluate")
    summary = run(context)
    assert set(summary.rows) == {"metrics", "user_metrics", "strata"}
    assert summary.counts == {"valid_users": N_USERS, "test_users": N_USERS}
    assert not context.output.has("false_negatives")
    assert len(context.output.read("metrics")) == summary.rows["metrics"] == 3 * 2 * 3 * len((*METRICS, *BEYOND))


@pytest.fixture
def unevaluated(tmp_path: Path) -> FinishedRun:
    fresh = FinishedRun(tmp_path)
    fresh.prepare()
    fresh.fits()
    return fresh


def break_fit(finished: FinishedRun, content: bytes) -> None:
    """Exchange the model of a fit as if the stage had written it so."""
    finished.inputs["train.hnlm.s1"].write_bytes("model.safetensors", content)
    finished.inputs["train.hnlm.s1"].commit({})


def test_a_fit_without_its_file_is_named(unevaluated: FinishedRun) -> None:
    artifact = unevaluated.inputs["train.hnlm.s1"]
    artifact.filesystem.delete_file(artifact.path_of("model.safetensors"))
    with pytest.raises(StoreError, match=r"there is no .*train\.hnlm\.s1.*model\.safetensors"):
        run(unevaluated.context("evaluate"))


def test_a_damaged_fit_is_named(unevaluated: FinishedRun) -> None:
    break_fit(unevaluated, b"not safetensors")
    with pytest.raises(StoreError, match=r"train\.hnlm\.s1.*cannot be read"):
        run(unevaluated.context("evaluate"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"user_vectors": np.zeros((3, 4), dtype=np.float32)}, r"user_vectors has shape \(3, 4\), expected 60 rows"),
        ({"item_vectors": np.zeros((40, 5), dtype=np.float32)}, r"item_vectors has 5 columns, user_vectors has 4"),
        ({"user_vectors": np.full((60, 4), np.nan, dtype=np.float32)}, "user_vectors holds values that are not finite"),
    ],
)
def test_vectors_that_do_not_fit_are_named(
    unevaluated: FinishedRun, change: dict[str, np.ndarray], sentence: str
) -> None:
    good = {"user_vectors": np.ones((60, 4), dtype=np.float32), "item_vectors": np.ones((40, 4), dtype=np.float32)}
    break_fit(unevaluated, save({**good, **change}))
    with pytest.raises(StoreError, match=sentence):
        run(unevaluated.context("evaluate"))


def test_an_empty_split_is_a_sentence(unevaluated: FinishedRun) -> None:
    prepare = unevaluated.inputs["prepare"]
    table = prepare.read("interactions")
    prepare.write("interactions", table.filter(pc.not_equal(table["split"], "test")))
    prepare.commit({})
    with pytest.raises(StageError, match="the test split is empty"):
        run(unevaluated.context("evaluate"))
