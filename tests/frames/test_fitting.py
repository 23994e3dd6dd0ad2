"""Fits on data frames: the same as in a run, with ids as they were given, and one sentence for what cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import hnlm_ray
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.conversion import Kind, kind_of, like, table_of
from hnlm_ray.errors import ConfigError, DataError, PackageError
from tests.plain_machine import CORE_ALONE

ROOT = Path(__file__).parents[2]
VARIANT = {"dim": 8, "epochs": 6, "learning_rate": 0.05, "batch_size": 256}


def frame(n_users: int = 60, n_items: int = 40, seed: int = 0) -> pd.DataFrame:
    """Users 100, 101... like items 7, 8... of their own half of the catalogue."""
    rng = np.random.default_rng(seed)
    likes = rng.random((n_users, n_items)) < 0.35 * ((np.arange(n_users)[:, None] + np.arange(n_items)) % 2)
    likes[:, :2] = True
    users, items = np.nonzero(likes)
    return pd.DataFrame({"user_id": users + 100, "item_id": items + 7, "timestamp": rng.integers(0, 10**6, len(users))})


DATA = frame()


@pytest.fixture(scope="module")
def model() -> hnlm_ray.FrameRecommender:
    return hnlm_ray.fit(DATA, variant=VARIANT)


def test_everybody_gets_unseen_items_under_the_ids_that_were_given(model: hnlm_ray.FrameRecommender) -> None:
    found = model.recommend(k=5)
    assert list(found.columns) == ["user_id", "item_id", "rank", "score"]
    assert found.dtypes["user_id"] == found.dtypes["item_id"] == np.int64
    assert set(found.user_id) == set(DATA.user_id)
    assert found.groupby("user_id")["rank"].apply(list).map(lambda ranks: ranks == [1, 2, 3, 4, 5]).all()
    assert found.merge(DATA, on=["user_id", "item_id"]).empty
    assert (found.groupby("user_id").score.diff().dropna() <= 0).all()
    own = (found.user_id - 100 + found.item_id - 7) % 2 == 1
    assert own.mean() > 0.8  # it has learned whose half is whose


def test_it_is_the_fit_of_the_core(model: hnlm_ray.FrameRecommender) -> None:
    from hnlm_ray.data.interactions import Interactions
    from hnlm_ray.training.fit import fit

    train, valid, _ = hnlm_ray.split(DATA, valid=0.1, test=0.0)
    users, items = (np.array([*map(str, ids)]) for ids in (range(100, 160), sorted(map(str, set(DATA.item_id)))))
    parts = [
        Interactions.from_pairs(
            np.searchsorted(users, part.user_id.astype(str)), np.searchsorted(items, part.item_id.astype(str)), 60, 40
        )
        for part in (train, valid)
    ]
    expected = fit(*parts, VariantConfig.model_validate(VARIANT), 0)
    contents = model.recommender.bundle.contents
    assert contents.items["item_id"].to_pylist() == items.tolist()
    np.testing.assert_allclose(contents.user_vectors, expected.user_vectors, rtol=1e-4, atol=1e-6)
    assert model.info.about.metrics == {"valid ndcg@20": pytest.approx(expected.progress.best_ndcg)}


def test_a_saved_one_is_a_bundle_that_gives_the_same(model: hnlm_ray.FrameRecommender, tmp_path: Path) -> None:
    info = model.save(str(tmp_path / "bundle"))
    assert info.version == model.info.version
    again = hnlm_ray.load(str(tmp_path / "bundle"))
    ours, theirs = model.recommend([100, 101], k=3), again.recommend(["100", "101"], k=3)
    assert ours.astype({"user_id": str, "item_id": str}).equals(theirs.astype({"user_id": str, "item_id": str}))
    single = hnlm_ray.Recommender.load(str(tmp_path / "bundle")).recommend(100, k=3)
    assert [item.item_id for item in single.items] == theirs.item_id[theirs.user_id == "100"].tolist()


def test_a_stranger_gets_popular_items_and_neighbours_are_near(model: hnlm_ray.FrameRecommender) -> None:
    popular = DATA.item_id.value_counts().index[:2]
    assert set(model.recommend(["nobody"], k=2).item_id) == set(popular)
    near = model.similar([8, 9], k=4)
    assert list(near.columns) == ["item_id", "similar", "rank", "score"]
    assert near.item_id.tolist() == [8] * 4 + [9] * 4
    assert not (near.item_id == near.similar).any()
    with pytest.raises(KeyError):
        model.similar([4], k=1)


def test_it_says_what_it_is_and_how_it_learned(model: hnlm_ray.FrameRecommender) -> None:
    assert repr(model).startswith("FrameRecommender(lightgcn: 60 users, 40 items, d 8, 6 epochs; valid ndcg@20 0.")
    curve = model.learning_curve()
    assert curve.epoch.tolist() == [1, 2, 3, 4, 5, 6]
    assert curve.loss.iloc[-1] < curve.loss.iloc[0]


def test_measured_as_the_evaluation_measures(model: hnlm_ray.FrameRecommender) -> None:
    test = frame(seed=5).merge(DATA[["user_id", "item_id"]], how="left", indicator=True)
    test = test[test._merge == "left_only"][["user_id", "item_id"]]
    figures = model.evaluate(test, (5,)).set_index("metric").value
    top = model.recommend(sorted(test.user_id.unique()), k=5)
    hits = top.merge(test, on=["user_id", "item_id"]).groupby("user_id").size()
    n_users, sizes = test.user_id.nunique(), test.groupby("user_id").size()
    assert figures["precision"] == pytest.approx(hits.sum() / 5 / n_users)
    assert figures["recall"] == pytest.approx((hits / sizes).fillna(0).mean())
    assert figures["hit_rate"] == pytest.approx(len(hits) / n_users)


@pytest.mark.parametrize("kind", ["arrow", "polars"])
def test_frames_of_a_kind_come_back_as_that_kind(kind: str) -> None:
    if kind == "polars":
        pytest.importorskip("polars")
    data = like(pa.Table.from_pandas(DATA, preserve_index=False), kind)
    train, _, test = hnlm_ray.split(data)
    model = hnlm_ray.fit(train, variant={**VARIANT, "epochs": 1})
    for one in (train, test, model.recommend(k=1), model.evaluate(test), model.similar([7]), model.learning_curve()):
        assert kind_of(one) == kind
    assert table_of(model.recommend(k=1), "x").schema.field("user_id").type == pa.int64()


def test_names_of_columns_and_titles_and_text_ids_are_the_callers() -> None:
    data = DATA.rename(columns={"user_id": "person", "item_id": "film"}).astype({"person": str, "film": "category"})
    films = pd.DataFrame({"film": sorted(set(DATA.item_id)), "title": [f"Film {n}" for n in sorted(set(DATA.item_id))]})
    model = hnlm_ray.fit(data, films, variant="mf", columns={"user": "person", "item": "film"})
    found = model.recommend(["100"], k=2)
    assert list(found.columns) == ["person", "film", "rank", "score"]
    assert model.recommender.recommend("100", k=1).items[0].title.startswith("Film ")
    assert model.evaluate(data.head(20)).metric.tolist()[0] == "recall"


def test_texts_are_features_and_a_graph_of_items() -> None:
    ids = sorted(set(DATA.item_id))
    items = pd.DataFrame({"item_id": ids[::-1], "title": "t"})
    vectors = np.eye(2)[[number % 2 for number in ids[::-1]]] + 0.01
    for option in ({"item_graph": {"source": "text", "neighbours": 3}}, {"item_text": True}):
        model = hnlm_ray.fit(DATA, items, variant={**VARIANT, **option}, item_vectors=vectors)
        near = model.similar([9], k=5)
        assert (near.similar % 2 == 1).mean() > 0.7, option
    with pytest.raises(DataError, match="there are 3 item_vectors for 40 items"):
        hnlm_ray.fit(DATA, items, variant={"item_text": True}, item_vectors=vectors[:3])
    with pytest.raises(DataError, match="item_text needs what the stage vectors writes"):
        hnlm_ray.fit(DATA, items, variant={"item_text": True})


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("ease", "ease has no vectors of users to recommend by"),
        ("nothing", "backbone"),
        ({"samplers": "dns"}, "did you mean 'sampler'"),
        ({"guard": {"table": "x"}}, "guard"),
        ({"semantic": {"mixing": {"share": 0.1}}}, "semantic reads what other stages of a run write"),
        ({"item_graph": {"source": "random"}}, "item_graph.source=random is made by a run"),
    ],
)
def test_a_variant_that_cannot_be_is_one_sentence(variant: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        hnlm_ray.fit(DATA, variant=variant)  # type: ignore[arg-type]


def test_a_frame_that_cannot_be_read_is_one_sentence() -> None:
    with pytest.raises(DataError, match="interactions lacks the column 'user_id', it has 'item_id', 'timestamp'"):
        hnlm_ray.fit(DATA.drop(columns="user_id"))
    with pytest.raises(DataError, match="interactions are a list that Arrow cannot read"):
        hnlm_ray.fit([1, 2])
    mixed = DATA.assign(item_id=[{"a": 1}, *DATA.item_id[1:]])
    with pytest.raises(DataError, match="interactions are a DataFrame that Arrow cannot read"):
        hnlm_ray.fit(mixed)
    with pytest.raises(DataError, match="no user has a validation interaction"):
        hnlm_ray.fit(DATA, valid=0.0)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_library_of_frames_that_is_absent_is_named(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(PackageError, match=f"needs {kind}, which is not installed; pip install {kind}, or take Arrow"):
        like(pa.table({"x": [1]}), kind)


def test_the_core_alone_fits_and_recommends_without_fork_and_shared_memory(tmp_path: Path) -> None:
    code = CORE_ALONE + (
        "import hnlm_ray, json, multiprocessing, os, sys\n"
        "import pyarrow as pa\n"
        "from multiprocessing.shared_memory import SharedMemory\n"
        "refused = []\n"
        "for call in (os.fork, lambda: SharedMemory(create=True, size=8), lambda: open('/dev/shm/x', 'w')):\n"
        "    try:\n"
        "        call()\n"
        "    except OSError as error:\n"
        "        refused.append(str(error))\n"
        "rows = pa.table({'user_id': [n % 9 for n in range(90)], 'item_id': [n % 14 for n in range(90)]})\n"
        "train, _, test = hnlm_ray.split(rows)\n"
        "model = hnlm_ray.fit(train, variant={'epochs': 1})\n"
        "model.save(sys.argv[1])\n"
        "rows = [model.evaluate(test).num_rows, len(hnlm_ray.load(sys.argv[1]).recommend(k=2))]\n"
        "print(json.dumps([refused, multiprocessing.get_start_method(), rows]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "bundle")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused, method, rows = json.loads(done.stdout)
    assert refused == ["this machine has no fork", *["this machine has no shared memory"] * 2]
    assert (method, rows) == ("spawn", [12, 18])


def test_a_model_of_sequences_reads_the_times_of_the_frame() -> None:
    variant = {**VARIANT, "backbone": {"name": "sasrec", "length": 6}, "loss": "gbce", "learning_rate": 0.01}
    first = hnlm_ray.fit(DATA, variant=variant)
    assert len(first.recommend([100, 101], k=3)) == 6
    turned = DATA.assign(timestamp=10**6 - DATA.timestamp)
    second = hnlm_ray.fit(turned, variant=variant)
    vectors = [one.recommender.bundle.contents.user_vectors for one in (first, second)]
    assert not np.allclose(*vectors)
    with pytest.raises(DataError, match="interactions have no time, and a model of sequences needs their order"):
        hnlm_ray.fit(DATA.drop(columns="timestamp"), variant=variant)


def test_columns_of_items_and_users_are_features() -> None:
    items = pd.DataFrame({"item_id": sorted(set(DATA.item_id)), "title": "x"})
    items["half"] = (items.item_id - 7) % 2
    users = pd.DataFrame({"user_id": sorted(set(DATA.user_id))[1:]})
    users["age"] = users.user_id % 7
    given = {"items": {"categorical": ["half"]}, "users": {"numeric": ["age"]}}
    with_features = hnlm_ray.fit(DATA, items, variant=VARIANT, users=users, features=given)
    without = hnlm_ray.fit(DATA, items, variant=VARIANT)
    config = with_features.info.about.config
    assert (config["item_features"], config["user_features"]) == (True, True)
    vectors = [one.recommender.bundle.contents.item_vectors for one in (with_features, without)]
    assert not np.allclose(*vectors)
    with pytest.raises(DataError, match="items lacks the column 'price', it has 'item_id', 'title', 'half'"):
        hnlm_ray.fit(DATA, items, variant=VARIANT, features={"items": {"numeric": ["price"]}})
    with pytest.raises(DataError, match="features of users are named, and there is no frame of users; give users"):
        hnlm_ray.fit(DATA, items, variant=VARIANT, features={"users": {"numeric": ["age"]}})
