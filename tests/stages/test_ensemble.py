"""An ensemble in a run: joined from its members' fits, evaluated, bundled, served and compared in a study."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from hnlm_ray.cli.main import app
from hnlm_ray.config.backbones import EASEOptions
from hnlm_ray.config.load import load_config
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.evaluation.blocks import evaluate
from hnlm_ray.evaluation.inputs import read_held_out
from hnlm_ray.models.blend import Blend, Teacher
from hnlm_ray.models.closed_form import closed_form
from hnlm_ray.models.fitted import read_ranker
from hnlm_ray.models.item_item import ItemItem
from hnlm_ray.models.rankers import ItemItemRanker, VectorRanker, VotedRanker
from hnlm_ray.run.execute import execute
from hnlm_ray.run.plan import Run, plan
from hnlm_ray.run.study import plan_study
from hnlm_ray.serving.bundle.bundle import load_bundle
from hnlm_ray.serving.recommend.explanation import Explainer
from hnlm_ray.serving.recommend.recommender import Recommender

pytestmark = pytest.mark.ray

OPTIONS = [
    "data.demo={users: 60, items: 40, interactions: 900}",
    "train.variants={mf: {backbone: mf, dim: 4, epochs: 2, batch_size: 128}, "
    "both: {backbone: {name: ensemble, members: [{variant: mf, seeds: [0, 4]}]}}, "
    "voted: {backbone: {name: ensemble, members: [{variant: mf}], "
    "lists: {of: {name: ease, ridge: 5}, neighbours: 7}}}}",
    "serve.variant=both",
    "serve.also=[voted]",
    "study={trials: 1, seeds: [0], jobs: 2}",
]


@pytest.fixture(scope="module")
def run(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = load_config([], [f"run={tmp_path_factory.mktemp('ensemble') / 'run'}", *OPTIONS])
    planned = plan(config)
    execute(config, planned)
    return planned


def rankers(run: Run, *names: str) -> list[VectorRanker]:
    train = read_splits(run["prepare"].artifact).train
    found = [read_ranker(run[f"train.{name}"].artifact, train) for name in names]
    return [one for one in found if isinstance(one, VectorRanker)]


def test_it_ranks_and_is_evaluated_as_the_blend_of_its_members(run: Run) -> None:
    train = read_splits(run["prepare"].artifact).train
    [both], members = rankers(run, "both.s0"), rankers(run, "mf.s0", "mf.s4")
    expected = Blend([Teacher(one) for one in members], train).first(0, train.n_users, 10)
    assert np.array_equal(both.rank(0, train.n_users, train, 10).items, expected)
    metrics = run["evaluate"].artifact.read("metrics")
    chosen = (pc.field("variant") == "both") & (pc.field("split") == "test") & (pc.field("metric") == "ndcg")
    [row] = metrics.filter(chosen & (pc.field("k") == 20)).to_pylist()
    test = read_held_out(run["prepare"].artifact)["test"]
    assert (row["seed"], row["value"]) == (0, pytest.approx(evaluate(both, test, (20,)).mean("ndcg", 20)))
    page = Path(run["report"].artifact.path_of("report.html")).read_text()
    assert "ensemble(mf.s0 + mf.s4)" in page.replace("<wbr>", "")


def test_it_is_served_to_users_and_to_strangers(run: Run) -> None:
    bundle = load_bundle(run["bundle.both"].artifact.path)
    assert bundle.info.dim == 8
    recommender = Recommender.load(run["bundle.both"].artifact.path)
    users = bundle.contents.users["user_id"].to_pylist()
    items = bundle.contents.items["item_id"].to_pylist()
    [both] = rankers(run, "both.s0")
    seen = read_splits(run["prepare"].artifact).seen
    shared = []
    for user, expected in enumerate(both.rank(0, seen.n_users, seen, 10).items.tolist()):
        answer = recommender.recommend(users[user], k=10)
        assert [one.item_id for one in answer.items] == [items[item] for item in expected if item >= 0]
        history = [items[item] for item in seen.slice_users(user, user + 1).items.tolist()]
        folded = recommender.recommend_from_history(history, k=10)
        shared.append(len({one.item_id for one in folded.items} & {one.item_id for one in answer.items}))
    assert np.mean(shared) > 5  # of 10; items drawn at random would share about 4 of the 25 that are unseen
    explanation = Explainer(recommender).explain(users[0])
    assert items[explanation.item] == recommender.recommend(users[0], k=1).items[0].item_id
    assert explanation.because


def test_lists_between_items_vote_in_evaluation_and_service(run: Run) -> None:
    splits = read_splits(run["prepare"].artifact)
    train, seen = splits.train, splits.seen
    ranker = read_ranker(run["train.voted.s0"].artifact, train)
    assert isinstance(ranker, VotedRanker)
    assert np.diff(ranker.lists.indptr).max() == 7
    ease = ItemItem.from_tensors(closed_form(EASEOptions(ridge=5.0), train), train.n_items)
    assert ease is not None
    parts = [Teacher(*rankers(run, "mf.s0")), Teacher(ItemItemRanker(ease.strongest(7), train), 0.25)]
    assert np.array_equal(ranker.rank(0, train.n_users, train, 10).items, Blend(parts, train).first(0, 60, 10))
    page = Path(run["report"].artifact.path_of("report.html")).read_text()
    assert "ensemble(mf.s0 + 0.25 lists of ease)" in page.replace("<wbr>", "")
    recommender = Recommender.load(run["bundle.voted"].artifact.path)
    # A service knows the validation items, too, and lets them vote.
    served = dataclasses.replace(ranker, train=seen).rank(0, 60, seen, 5).items
    items = recommender.catalogue.ids
    for user, expected in zip(recommender.bundle.contents.users["user_id"].to_pylist(), served.tolist(), strict=True):
        assert [one.item_id for one in recommender.recommend(user, 5).items] == [items[item] for item in expected]


def test_a_study_compares_it_with_its_member(run: Run) -> None:
    given = [f"run={run['prepare'].config.run}", *OPTIONS]
    done = CliRunner().invoke(app, ["study", *given])
    assert done.exit_code == 0, done.output
    fits = plan_study(load_config([], given))["study"].artifact.read("study_fits").to_pylist()
    assert {(row["variant"], row["seed"], row["status"]) for row in fits} == {
        (name, 0, "ok") for name in ("mf", "both", "voted")
    }
    test = read_held_out(run["prepare"].artifact)["test"]
    [both] = rankers(run, "both.s0")
    assert fits[1]["ndcg"] == pytest.approx(evaluate(both, test, (20,)).mean("ndcg", 20))
