"""Tests of new items: in a bundle, on a shelf, and in a service."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from hnlm_ray.errors import BundleError, DataError
from hnlm_ray.serving.bundle.bundle import load_bundle
from hnlm_ray.serving.bundle.shelf import NEW_ITEMS_FILE, Shelf, current_offer
from hnlm_ray.serving.http.web import web_app
from hnlm_ray.serving.recommend.live import Live
from hnlm_ray.serving.recommend.new_items import with_new_items
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.tables import NEW_ITEMS


def new_items(*items: dict[str, object]) -> pa.Table:
    bare = {"title": "", "brand": "", "categories": [], "description": ""}
    return pa.Table.from_pylist([{**bare, **item} for item in items], schema=NEW_ITEMS)


@pytest.fixture(scope="module")
def twins(rich: Recommender) -> pa.Table:
    """New items with the titles and categories of ``i5`` and ``i9``."""
    rows = [rich.catalogue.row(item) for item in (5, 9)]
    return new_items(
        *({"item_id": f"new-{row['item_id']}", "title": row["title"], "categories": row["categories"]} for row in rows)
    )


@pytest.fixture
def shelf(tmp_path: Path, rich_bundle: Path) -> Shelf:
    shelf = Shelf(str(tmp_path / "shelf"))
    shelf.use(shelf.add(str(rich_bundle)).version)
    return shelf


def put(shelf: Shelf, table: pa.Table) -> None:
    pq.write_table(table, f"{shelf.path}/{NEW_ITEMS_FILE}")


def test_a_new_item_stands_beside_its_twin(rich: Recommender, twins: pa.Table) -> None:
    bundle = with_new_items(rich.bundle, twins)
    recommender = Recommender(bundle)
    assert recommender.catalogue.ids[-2:] == ["new-i5", "new-i9"]
    assert recommender.catalogue.popularity[-2:].tolist() == [0, 0]
    vectors = bundle.contents.item_vectors
    for twin, item in ((240, 5), (241, 9)):
        apart = np.linalg.norm(vectors[:240] - vectors[twin], axis=1)
        assert apart[item] < 0.5 * np.median(apart)
    assert rich.catalogue.ids[-1] == "i239"  # the bundle itself stays as it was
    assert load_bundle(rich.bundle.folder).contents.n_items == 240


def test_users_get_new_items_and_old_scores_stay(rich: Recommender, twins: pa.Table) -> None:
    recommender = Recommender(with_new_items(rich.bundle, twins))
    users = rich.users.ids
    before, after = (one.recommend_many(users, k=240, exclude_seen=False) for one in (rich, recommender))
    places = []
    for old, new in zip(before, after, strict=True):
        titles = [item.item_id for item in new.items]
        assert [one for one in new.items if not one.item_id.startswith("new-")][:230] == list(old.items)[:230]
        places += [titles.index("new-i5") if "new-i5" in titles else 240]
    assert min(places) < 20 < max(places)  # near the top for some, far down for others


def test_items_that_the_bundle_has_are_not_new(rich: Recommender) -> None:
    assert with_new_items(rich.bundle, new_items({"item_id": "i5", "title": "Else"})) is rich.bundle
    assert with_new_items(rich.bundle, NEW_ITEMS.empty_table()) is rich.bundle


def test_a_bundle_without_text_vectors_takes_no_new_items(rich: Recommender, twins: pa.Table) -> None:
    with pytest.raises(BundleError, match=r"has no text vectors of its items.*set embed\.model"):
        with_new_items(dataclasses.replace(rich.bundle, item_texts=None), twins)


def test_the_shelf_gives_each_new_item_once_and_without_nulls(shelf: Shelf) -> None:
    assert shelf.new_items() == (None, NEW_ITEMS.empty_table())
    rows = new_items({"item_id": "a", "title": "old"}, {"item_id": "b", "title": None}, {"item_id": "a", "title": "A"})
    put(shelf, rows)
    mark, found = shelf.new_items()
    assert found.select(["item_id", "title"]).to_pylist() == [
        {"item_id": "b", "title": ""},
        {"item_id": "a", "title": "A"},
    ]
    assert mark == shelf.new_items_mark() is not None
    assert current_offer(shelf.path).new_items == found
    put(shelf, new_items({"item_id": "a"}, {"item_id": None}))
    with pytest.raises(DataError, match=rf"row 1 of .*{NEW_ITEMS_FILE} has no item_id"):
        shelf.new_items()
    put(shelf, pa.table({"item_id": ["a"]}))
    with pytest.raises(DataError, match=rf"{NEW_ITEMS_FILE} lacks the column"):
        shelf.new_items()


def test_a_service_takes_new_items_up_while_it_runs(shelf: Shelf, twins: pa.Table) -> None:
    live = Live.of({"shop": shelf.path})
    client = TestClient(web_app(live), base_url="http://localhost")
    assert client.get("/v1/items/new-i5").status_code == 404
    put(shelf, twins)
    live.refresh()
    answer = client.get("/v1/items/new-i5").json()
    assert (answer["interactions"], answer["profile"], answer["available"]) == (0, "", True)
    found = client.get("/v1/items", params={"query": "new-i"}).json()["items"]
    assert [one["item_id"] for one in found] == ["new-i5", "new-i9"]
    body = {"user_id": "u7", "k": 2, "include_items": ["new-i5", "i1", "i2"]}
    chosen = client.post("/v1/recommend", json={**body, "exclude_seen": False}).json()
    assert len(chosen["items"]) == 2
    near = client.post("/v1/similar-items", json={"item_id": "new-i5", "k": 5}).json()["items"]
    assert "i5" in [one["item_id"] for one in near]
    explained = client.post("/v1/explain", json={"user_id": "u7", "item_id": "new-i5"}).json()
    assert explained["item"]["item_id"] == "new-i5"
    Path(shelf.path, NEW_ITEMS_FILE).unlink()
    live.refresh()
    assert client.get("/v1/items/new-i5").status_code == 404


def test_new_items_hold_from_the_start(shelf: Shelf, twins: pa.Table) -> None:
    put(shelf, twins)
    assert "new-i9" in Recommender.load(shelf.path).catalogue
    served = Live.of({"shop": shelf.path}).by_name("shop")
    assert "new-i9" in served.recommender.catalogue


def test_a_broken_table_is_said_once_and_the_old_one_stays(
    shelf: Shelf, twins: pa.Table, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("hnlm_ray.serving"), "propagate", True)
    put(shelf, twins)
    live = Live.of({"shop": shelf.path})
    Path(shelf.path, NEW_ITEMS_FILE).write_bytes(b"half of a file")
    for _ in range(5):
        live.refresh()
    said = [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]
    assert len(said) == 1
    assert NEW_ITEMS_FILE in said[0]
    assert "new-i9" in live.by_name("shop").recommender.catalogue
