"""Every stage with a real, small, instruction-tuned model: its own tokenizer, chat template, layers and weaknesses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnlm_ray import Recommender
from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.run.execute import execute
from hnlm_ray.run.plan import Run, plan
from tests.small_model import small_model

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.timeout(900)]

N_USERS, N_PAIRS = 12, 16
FILMS = {
    "Comedy / Romance": ("Sleepless in Seattle", "You've Got Mail", "Pretty Woman", "Four Weddings and a Funeral"),
    "Horror / Sci-Fi": ("Alien", "The Thing", "Predator", "The Fly"),
    "Animation / Children's": ("Toy Story", "Aladdin", "The Lion King", "Dumbo"),
    "Crime / Drama": ("The Godfather", "GoodFellas", "Casino", "Heat"),
    "Action / Thriller": ("Die Hard", "Speed", "The Rock", "Air Force One"),
    "Western": ("Unforgiven", "High Noon", "Tombstone", "Rio Bravo"),
}
TITLES = {title for titles in FILMS.values() for title in titles}


@pytest.fixture(scope="module")
def model() -> str:
    return small_model()


def write_world(folder: Path) -> None:
    """A catalogue of well-known films; each user likes films of two kinds."""
    items = [
        {"item_id": title, "title": title, "categories": kind.split(" / ")}
        for kind, titles in FILMS.items()
        for title in titles
    ]
    pq.write_table(pa.Table.from_pylist(items), folder / "items.parquet")
    kinds = list(FILMS.values())
    rows = [
        {"user_id": f"u{user}", "item_id": title, "timestamp": 1000 * user + place}
        for user in range(N_USERS)
        for place, title in enumerate((*kinds[user % 6][: 3 + user % 2], *kinds[(user + 1 + user // 6) % 6][1:]))
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "interactions.parquet")


@pytest.fixture(scope="module")
def config(model: str, tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("films")
    write_world(folder)
    options = [
        f"data.path={folder}", f"run={tmp_path_factory.mktemp('run')}", f"llm.model={model}", "data.noun=film",
        "data.columns={rating: null, review: null, brand: null, description: null, split: null}",
        "embed.engine=scripted", f"negatives.budget={N_PAIRS}", "negatives.candidates=4", "llm.max_reject_rate=0.5",
        f"tune={{model: {model}, form: factorised, pairs: 16, epochs: 1, batch_size: 8, lora: {{rank: 4}}}}",
        "tune.max_user_tokens=24", "tune.max_item_tokens=16", "encode.pairs=chosen", "serve.variant=tuned",
        "train.variants={uniform: {}, hnlm: {semantic: {mixing: {share: 0.1}}},"
        " tuned: {semantic: {source: tuned, mixing: {share: 0.1}}}, graph: {item_graph: {source: tuned}}}",
        "train.variants.*.epochs=2",
    ]  # fmt: skip
    return load_config([Path("table"), Path("small_model")], options)


@pytest.fixture(scope="module")
def run(config: Config, ray_session: None) -> Run:
    finished = plan(config)
    execute(config, finished)
    return finished


def rows(run: Run, stage: str, table: str) -> list[dict[str, Any]]:
    return run[stage].artifact.read(table).to_pylist()


@pytest.mark.parametrize("stage", ["item_profiles", "user_profiles"])
def test_profiles_are_usable_and_keep_the_schema(run: Run, stage: str) -> None:
    found = rows(run, stage, stage)
    statuses = Counter(row["status"] for row in found)
    assert len(found) >= N_USERS // 2  # a user whose films were all held out has no profile
    assert statuses["failed"] == 0
    assert statuses["ok"] >= 0.75 * len(found), statuses
    assert all(bool(row["summary"]) == (row["status"] == "ok") == (row["reason"] == "") for row in found)
    assert all(len(row["summary"]) <= 4 * 80 and row["reasoning"] == "" for row in found)
    assert all(0 < row["output_tokens"] <= 80 * row["attempts"] for row in found)
    assert len({row["summary"] for row in found}) > 0.5 * len(found)  # it has read what it was shown


def test_negatives_are_chosen_from_the_catalogue(run: Run) -> None:
    found = rows(run, "negatives", "negatives")
    assert len(found) == N_PAIRS
    usable = [row["answer"] for row in found if row["status"] == "ok"]
    assert len(usable) >= 0.75 * N_PAIRS
    assert set(usable) <= TITLES
    statuses = Counter(row["status"] for row in rows(run, "ground", "grounded"))
    assert statuses["matched"] == len(usable)  # unseen in train, and as the title is written
    assert statuses["interacted"] == 0


def test_it_is_the_body_of_an_encoder_whose_vectors_train_a_model(run: Run) -> None:
    losses = rows(run, "tune", "tuning")
    assert [row["epoch"] for row in losses] == [0, 1]
    assert all(np.isfinite(row["valid_loss"]) for row in losses)
    encoded = rows(run, "encode", "encoded")
    assert len(encoded) == N_PAIRS
    vectors = np.array([row["vector"] for row in encoded], np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-2)
    assert len(np.unique(vectors, axis=0)) == N_PAIRS
    items = np.array([row["vector"] for row in rows(run, "encode", "encoded_items")], np.float32)
    assert len(items) == len(TITLES)
    assert len(np.unique(items, axis=0)) == len(TITLES)


def test_the_run_ends_in_a_report_and_a_bundle_that_recommends(run: Run) -> None:
    measured = {row["variant"] for row in rows(run, "evaluate", "metrics")}
    assert {"uniform", "hnlm", "tuned", "graph"} <= measured
    assert b"hnlm" in run["report"].artifact.read_bytes("report.html")
    recommended = Recommender.load(run["bundle.tuned"].artifact.path).recommend("u0", k=3).items
    assert len(recommended) == 3
    assert {one.title for one in recommended} <= TITLES
