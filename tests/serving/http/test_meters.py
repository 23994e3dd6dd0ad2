"""What a scraper reads after requests of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hnlm_ray.serving.http.meters import Meters
from hnlm_ray.serving.http.web import web_app
from hnlm_ray.serving.recommend import recommender as recommender_module
from hnlm_ray.serving.recommend.live import Live
from tests.serving.services import LocalClient, StubEncoder, stocked_shelf, write_rich_bundle


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    write_rich_bundle(tmp_path / "rich")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recommender_module, "TextEncoder", StubEncoder)
        yield Live.of({"rich": str(tmp_path / "rich")})


def samples(client: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of ``/metrics`` by name and labels, as a scraper reads it."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(client: Any, name: str, /, **labels: str) -> float | None:
    return samples(client).get((name, tuple(sorted(labels.items()))))


def test_recommendations_are_counted_by_bundle_and_source(live: Live) -> None:
    with LocalClient(web_app(live)) as client:
        client.post("/v1/recommend", json={"user_id": "u3"})
        client.post("/v1/recommend", json={"user_id": "u3", "diversity": 0.5})
        client.post("/v1/recommend", json={"user_id": "nobody"})
        client.post("/v1/recommend:batch", json={"user_ids": ["u3", "u4", "nobody", "u5"]})
        client.post("/v1/fold-in", json={"item_ids": ["i1"]})
        client.post("/v1/fold-in", json={"item_ids": ["none"]})
        client.post("/v1/profile", json={"text": "boats"})
        client.post("/v1/similar-items", json={"item_id": "i1"})
        counts = {
            source: value(client, "hnlm_recommendations_total", bundle="rich", source=source)
            for source in ("personal", "popular", "folded_in", "profile")
        }
    assert counts == {"personal": 5, "popular": 3, "folded_in": 1, "profile": 1}


def test_requests_are_counted_and_timed_by_route_and_status(live: Live) -> None:
    with LocalClient(web_app(live)) as client:
        for user_id in ("u3", "u4", "nobody"):
            client.get(f"/v1/users/{user_id}")
        client.get("/nope")
        route = "/v1/users/{user_id:path}"
        assert value(client, "hnlm_requests_total", route=route, status="200") == 2
        assert value(client, "hnlm_requests_total", route=route, status="404") == 1
        assert value(client, "hnlm_requests_total", route="other", status="404") == 1
        assert value(client, "hnlm_request_seconds_count", route=route) == 3
        assert value(client, "hnlm_request_seconds_bucket", route=route, le="+Inf") == 3
        # Five scrapes so far; the sixth is counted when it has ended.
        assert value(client, "hnlm_requests_total", route="/metrics", status="200") == 5


def test_names_that_callers_invent_make_no_new_series(live: Live) -> None:
    with LocalClient(web_app(live)) as client:
        client.get("/v1/users/u3")
        client.get("/nope")
        client.get("/metrics")
        before = len(samples(client))
        for number in range(20):
            client.get(f"/v1/users/u{number % 2 + 3}?bundle=rich")
            client.get(f"/nope-{number}")
        assert len(samples(client)) == before


def test_the_sizes_of_batches_are_observed(live: Live) -> None:
    with LocalClient(web_app(live)) as client:
        for _ in range(3):
            client.post("/v1/recommend", json={"user_id": "u3"})
        assert value(client, "hnlm_batch_size_count") == 3
        assert value(client, "hnlm_batch_size_sum") == 3


def test_only_the_version_that_is_served_is_told(tmp_path: Path) -> None:
    shelf, (old, new, _) = stocked_shelf(tmp_path)
    live = Live.of({"shop": shelf.path})
    with LocalClient(web_app(live)) as client:
        assert value(client, "hnlm_bundle", name="shop", version=old) == 1
        shelf.use(new)
        live.refresh()
        assert value(client, "hnlm_bundle", name="shop", version=new) == 1
        assert value(client, "hnlm_bundle", name="shop", version=old) is None
        assert value(client, "hnlm_reloads_total", name="shop", outcome="loaded") == 1


def test_a_bundle_of_another_name_keeps_its_version() -> None:
    meters = Meters()
    for name, version in (("a", "1"), ("b", "1"), ("a", "2"), ("a", "2")):
        meters.set_version(name, version)
    found = {
        tuple(sample.labels.values()): sample.value for metric in meters.bundles.collect() for sample in metric.samples
    }
    assert found == {("a", "2"): 1, ("b", "1"): 1}


def test_two_services_of_one_process_count_apart(live: Live) -> None:
    one, two = LocalClient(web_app(live)), LocalClient(web_app(live))
    one.post("/v1/fold-in", json={"item_ids": ["i1"]})
    assert value(one, "hnlm_recommendations_total", bundle="rich", source="folded_in") == 1
    assert value(two, "hnlm_recommendations_total", bundle="rich", source="folded_in") is None
