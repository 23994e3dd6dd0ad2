"""Neighbours and guards in a run: the tables equal what the models say, and a guarded variant trains on them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hnlm_ray.config.load import load_config
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.data.vectors import read_item_vectors
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.models.fitted import read_ranker
from hnlm_ray.models.rankers import VectorRanker
from hnlm_ray.run.execute import execute
from hnlm_ray.run.plan import Run, plan
from hnlm_ray.stages.guard import blend_of
from hnlm_ray.training.fit import fit
from hnlm_ray.training.inputs import FitInputs

pytestmark = pytest.mark.ray

SIZES = {"dim": 8, "epochs": 2, "batch_size": 256, "validate_every": 1}
VARIANTS = {
    "graph": {"item_graph": {"source": "text", "neighbours": 4}, "sampler": "dns", **SIZES},
    "ease": {"backbone": "ease"},
    "scattered": {"item_graph": {"source": "random", "neighbours": 3}, **SIZES},
    "ours": {
        "item_graph": {"source": "categories", "neighbours": 5},
        "sampler": "dns",
        "guard": {"table": "both", "exclude": 2},
        **SIZES,
    },
}
GUARDS = (
    "guards={both: {items: 9, decay: 5, user_block: 16, sources: [{variant: graph, seeds: [4]}, {variant: ease},"
    " {neighbours: categories, weight: 0.5}]}}"
)


@pytest.fixture(scope="module")
def run(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("guard")
    options = [f"run={place}", "data.demo={users: 60, items: 48, interactions: 900}", "embed.engine=scripted"]
    options += ["neighbours={keep: 6, item_block: 20}", "serve.variant=ours"]
    options.append(f"train.variants={json.dumps(VARIANTS)}")
    config = load_config([], [*options, GUARDS])
    planned = plan(config)
    execute(config, planned, only=planned.before("evaluate"))
    return planned


def test_neighbours_are_the_nearest_by_text(run: Run) -> None:
    vectors = unit_rows(read_item_vectors(run["vectors"].artifact, 48))
    table = run["neighbours.text"].artifact.read("neighbours")
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -np.inf)
    for item in range(48):
        rows = table.filter(np.equal(table["item"].to_numpy(), item))
        found = similar[item, rows["neighbour"].to_numpy()]
        assert len(rows) == min(6, (similar[item] > 0).sum())
        assert rows["similarity"].to_numpy() == pytest.approx(found, abs=1e-6)
        assert found == pytest.approx(np.sort(similar[item])[::-1][: len(rows)], abs=1e-6)


def test_controls_have_other_neighbours(run: Run) -> None:
    items = run["prepare"].artifact.read("items").sort_by("item")
    sets = [set(names) for names in items["categories"].to_pylist()]
    rows = run["neighbours.categories"].artifact.read("neighbours")
    pairs = list(zip(rows["item"].to_pylist(), rows["neighbour"].to_pylist(), strict=True))
    assert pairs
    assert all(sets[item] & sets[other] and item != other for item, other in pairs)
    scattered = run["neighbours.random"].artifact.read("neighbours")
    assert (scattered["item"].to_numpy() != scattered["neighbour"].to_numpy()).all()
    assert set(scattered["similarity"].to_pylist()) == {1.0}


def test_the_guard_holds_the_first_items_of_the_blend(run: Run) -> None:
    train = read_splits(run["prepare"].artifact).train
    stage = run["guard.both"]
    assert {"train.graph.s4", "train.ease.s0", "neighbours.categories"} < set(stage.inputs)
    artifacts = run.artifacts()
    inputs = {name: artifacts[name] for name in stage.inputs}
    teacher = read_ranker(artifacts["train.graph.s4"], train)
    assert isinstance(teacher, VectorRanker)
    expected = blend_of(stage.config.guards["both"], stage.config.train, inputs, train).first(0, train.n_users, 9)
    table = stage.artifact.read("guard")
    for user in np.flatnonzero(train.degree):
        rows = table.filter(np.equal(table["user"].to_numpy(), user))
        assert rows["item"].to_pylist() == [item for item in expected[user].tolist() if item >= 0]
        assert rows["rank"].to_pylist() == list(range(1, len(rows) + 1))
        assert rows["weight"].to_numpy() == pytest.approx(1 - np.exp(-rows["rank"].to_numpy() / 5))
    assert not train.contains(table["user"].to_numpy(), table["item"].to_numpy()).any()


def test_the_stage_trains_as_the_library_does(run: Run) -> None:
    splits = read_splits(run["prepare"].artifact)
    artifacts = run.artifacts()
    variant = run["train.ours.s0"].config.train.variants["ours"]
    side = FitInputs.of_stage({name: artifacts[name] for name in run["train.ours.s0"].inputs})
    alone = fit(splits.train, splits.valid, variant, 0, side=side.of_variant(variant, splits.train))
    trained = read_ranker(artifacts["train.ours.s0"], splits.train)
    assert isinstance(trained, VectorRanker)
    np.testing.assert_allclose(trained.item_vectors, alone.item_vectors, rtol=1e-4, atol=1e-6)
    free = variant.model_copy(update={"guard": None})
    unguarded = fit(splits.train, splits.valid, free, 0, side=side.of_variant(free, splits.train))
    assert not np.allclose(unguarded.item_vectors, alone.item_vectors, rtol=1e-4)


def test_a_variant_on_tuned_items_needs_an_encoder_that_has_them(tmp_path: Path) -> None:
    options = [f"run={tmp_path}", "train.variants={u: {}, t: {item_graph: {source: tuned}}}"]
    names = [stage.name for stage in plan(load_config([], options)).stages]
    assert names.index("encode") < names.index("neighbours.tuned") < names.index("train.t.s0")
