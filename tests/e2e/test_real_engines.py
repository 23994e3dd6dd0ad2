"""The whole pipeline on the real engines, over a world that the demo models have never seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.demo import lexicon
from hnlm_ray.demo.world import DemoWorld, generate
from hnlm_ray.run.execute import Progress, execute
from hnlm_ray.run.plan import Run, plan
from hnlm_ray.run.store import Artifact

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.timeout(1500)]

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    small = "data.demo={users: 120, items: 240, interactions: 2400, seed: 77}"
    quick = ["train.variants.*.epochs=4", "negatives.per_user=1", "tune.pairs=600", "tune.epochs=1", "tune.workers=1"]
    return load_config([DEMO], [f"run={tmp_path_factory.mktemp('run')}", small, *quick])


@pytest.fixture(scope="module")
def run(config: Config, ray_session: None) -> Run:
    finished = plan(config)
    execute(config, finished)
    return finished


@pytest.fixture(scope="module")
def world(config: Config) -> DemoWorld:
    return generate(config.data.demo)


@pytest.fixture
def prepared(run: Run) -> Artifact:
    return run["prepare"].artifact


def original(ids: list[str]) -> list[int]:
    """Numbers in the generated world of users or items by their ids."""
    return [int(name[1:]) for name in ids]


def rows(run: Run, stage: str, table: str) -> list[dict[str, Any]]:
    return run[stage].artifact.read(table).to_pylist()


def test_item_profiles_name_the_category(run: Run, prepared: Artifact) -> None:
    profiles, items = rows(run, "item_profiles", "item_profiles"), prepared.read("items").to_pylist()
    assert len(items) >= len(profiles) > 0.8 * len(items)  # an item that no prompt shows needs no profile
    named = [items[row["item"]]["categories"][-1] in row["summary"] for row in profiles]
    assert np.mean(named) >= 0.95


def test_user_profiles_name_a_main_category(run: Run, prepared: Artifact, world: DemoWorld) -> None:
    users = original(prepared.read("users")["user_id"].to_pylist())
    named = []
    for row in rows(run, "user_profiles", "user_profiles"):
        mains = [lexicon.CATEGORIES[leaf][1] for leaf in world.tastes.main[users[row["user"]]]]
        named.append(any(main in row["summary"] for main in mains))
    assert np.mean(named) >= 0.9


def test_hard_negatives_are_unmet_items_of_the_users_categories(run: Run, prepared: Artifact) -> None:
    categories = [item["categories"][-1] for item in prepared.read("items").to_pylist()]
    n_users = prepared.read("users").num_rows
    met = Interactions.from_table(prepared.read("interactions"), n_users, len(categories), splits=("train",))
    good = []
    for row in rows(run, "ground", "grounded"):
        mine = met.row(row["user"]).tolist()
        matched = row["status"] == "matched"
        assert not (matched and row["negative"] in mine)
        good.append(matched and categories[row["negative"]] in {categories[item] for item in mine})
    assert np.mean(good) >= 0.8


@pytest.mark.parametrize(
    ("stage", "table"),
    [("item_profiles", "item_profiles"), ("user_profiles", "user_profiles"), ("negatives", "negatives")],
)
def test_answers_are_valid_and_truncation_is_counted(run: Run, stage: str, table: str) -> None:
    answers = run[stage].artifact.read(table)
    ok = pc.mean(pc.equal(answers["status"], "ok")).as_py()
    assert ok >= 0.99
    assert (
        run[stage].artifact.manifest().counts["truncated"] == pc.sum(pc.equal(answers["status"], "truncated")).as_py()
    )


def test_the_negatives_reached_the_training(run: Run) -> None:
    counts = run["train.hnlm.s0"].artifact.manifest().counts
    matched = run["ground"].artifact.manifest().counts["matched"]
    assert counts["pairs_with_vector"] == matched > 0
    assert not run["train.uniform.s0"].artifact.manifest().counts.get("pairs_with_vector")


def test_false_negatives_are_measured_for_every_sampler(run: Run, world: DemoWorld) -> None:
    rates = {row["sampler"]: row["rate"] for row in rows(run, "evaluate", "false_negatives")}
    assert {"uniform", "language model"} <= set(rates)
    assert rates["uniform"] < world.tastes.probability.mean() + 0.02
    assert rates["uniform"] < rates["language model"] < 1.0  # near the positive is where false negatives are


def test_the_language_model_avoids_false_negatives_better_than_the_shelf_does(
    run: Run, prepared: Artifact, world: DemoWorld
) -> None:
    items, users = prepared.read("items"), original(prepared.read("users")["user_id"].to_pylist())
    truth = world.tastes.probability[np.ix_(users, original(items["item_id"].to_pylist()))]
    shelf = np.array([categories[-1] for categories in items["categories"].to_pylist()])
    met = Interactions.from_table(prepared.read("interactions"), len(users), len(shelf), splits=("train",))
    named, any_of_shelf = [], []
    for row in rows(run, "ground", "grounded"):
        if row["status"] == "matched":
            unmet = np.setdiff1d(np.flatnonzero(shelf == shelf[row["item"]]), met.row(row["user"]))
            named.append(truth[row["user"], row["negative"]])
            any_of_shelf.append(truth[row["user"], unmet].mean())
    assert np.mean(named) < 0.8 * np.mean(any_of_shelf)


def test_the_report_is_one_file_with_every_part(run: Run) -> None:
    page = run["report"].artifact.read_bytes("report.html").decode()
    assert "http-equiv" not in page
    for part in ("uniform", "hnlm", "<svg", "false"):
        assert part in page


def test_a_second_run_does_nothing(config: Config, run: Run) -> None:
    started: list[str] = []
    execute(config, plan(config), progress=Progress(started=lambda stage: started.append(stage.name)))
    assert started == []


def test_the_bundle_recommends_unseen_items(run: Run, prepared: Artifact) -> None:
    from hnlm_ray.serving.recommend.recommender import Recommender

    recommender = Recommender.load(run["bundle.ours"].artifact.path)
    user_id = prepared.read("users")["user_id"][0].as_py()
    answer = recommender.recommend(user_id, k=5)
    items = prepared.read("items")["item_id"].to_pylist()
    table = prepared.read("interactions").filter(pc.equal(prepared.read("interactions")["user"], 0)).to_pylist()
    seen = {items[row["item"]] for row in table if row["split"] != "test"}
    assert len(answer.items) == 5
    assert not seen & {item.item_id for item in answer.items}
