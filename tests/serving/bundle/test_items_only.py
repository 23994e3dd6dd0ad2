"""A bundle without users answers everybody else as the whole one does, and holds nothing of anybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from hnlm_ray.config.serving import BundleSource
from hnlm_ray.errors import BundleError
from hnlm_ray.serving.bundle.bundle import load_bundle
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.items_only import write_items_only
from hnlm_ray.serving.bundle.writing import Extras, write_bundle
from hnlm_ray.serving.http.web import web_app
from hnlm_ray.serving.recommend.live import Live
from hnlm_ray.serving.recommend.recommender import Recommender
from tests.serving.conftest import ABOUT
from tests.serving.services import LocalClient


def test_it_answers_histories_texts_and_items_as_the_whole_one(
    rich_contents: Contents, rich_extras: Extras, tmp_path: Path
) -> None:
    write_bundle(str(tmp_path / "whole"), rich_contents, ABOUT, extras=rich_extras)
    (tmp_path / "items").mkdir()
    info = write_items_only(load_bundle(str(tmp_path / "whole")), str(tmp_path / "items"))
    whole, items = (Recommender.load(str(tmp_path / name)) for name in ("whole", "items"))
    assert items.info == info
    assert (info.users, info.items, info.about) == (0, whole.info.items, whole.info.about)
    history = rich_contents.items["item_id"].to_pylist()[3:8]
    assert items.recommend_from_history(history).items == whole.recommend_from_history(history).items
    text = "Enjoys puzzles."
    assert items.recommend_from_text(text).items == whole.recommend_from_text(text).items
    assert items.similar_items(history[0]) == whole.similar_items(history[0])
    assert items.recommend("u5").source == "popular"
    assert items.recommend("u5").items == whole.recommend("nobody").items
    assert whole.info.files.keys() - info.files.keys() == {"user_profiles.parquet", "negatives.parquet"}
    for path in (tmp_path / "items").rglob("*"):
        assert path.is_dir() or b"User 5 likes it." not in path.read_bytes()


def test_a_service_answers_from_it(contents: Contents, tmp_path: Path) -> None:
    write_bundle(str(tmp_path / "whole"), contents, ABOUT)
    (tmp_path / "items").mkdir()
    write_items_only(load_bundle(str(tmp_path / "whole")), str(tmp_path / "items"))
    client = LocalClient(web_app(Live({"shop": BundleSource(path=str(tmp_path / "items"))})))
    assert client.post("/v1/recommend", json={"user_id": "u3", "k": 3}).json()["source"] == "popular"
    answer = client.post("/v1/fold-in", json={"item_ids": ["i3", "i9"], "k": 3}).json()
    assert (answer["source"], len(answer["items"])) == ("folded_in", 3)
    assert client.get("/v1/users?prefix=u").json()["users"] == []
    assert client.get("/").status_code == 200


def test_a_place_that_cannot_be_written_is_named(contents: Contents, tmp_path: Path) -> None:
    write_bundle(str(tmp_path / "whole"), contents, ABOUT)
    with pytest.raises(BundleError, match="nowhere"):
        write_items_only(load_bundle(str(tmp_path / "whole")), str(tmp_path / "nowhere"))
