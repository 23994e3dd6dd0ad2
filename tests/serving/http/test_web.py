"""The HTTP interface without a server: every answer by its schema, and every refusal."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from hnlm_ray import __version__
from hnlm_ray.config.serving import BundleSource, ServiceOptions
from hnlm_ray.serving.http import types
from hnlm_ray.serving.http.web import web_app
from hnlm_ray.serving.recommend import recommender as recommender_module
from hnlm_ray.serving.recommend.live import Live, Served
from hnlm_ray.serving.recommend.results import Recommendation
from tests.serving.services import ODD_IDS, LocalClient, StubEncoder, running, until, write_rich_bundle

MAX_K = 50
CANARY = "canary-7f3a"
JSON = {"content-type": "application/json"}

GOOD: dict[tuple[str, str], tuple[str, Any, type[BaseModel] | None]] = {
    ("post", "/v1/recommend"): ("", {"user_id": "u3", "k": 3}, types.RecommendAnswer),
    ("post", "/v1/recommend:batch"): ("", {"user_ids": ["u3", "nobody"], "k": 3}, types.BatchAnswer),
    ("post", "/v1/fold-in"): ("", {"item_ids": ["i3", "none"], "k": 3}, types.RecommendAnswer),
    ("post", "/v1/profile"): ("", {"text": "likes old boats", "k": 3}, types.RecommendAnswer),
    ("post", "/v1/similar-items"): ("", {"item_id": "i3", "k": 3}, types.SimilarAnswer),
    ("post", "/v1/score"): ("", {"user_id": "u3", "item_ids": ["i3", "none"]}, types.ScoreAnswer),
    ("post", "/v1/explain"): ("", {"user_id": "u3"}, types.ExplainAnswer),
    ("get", "/v1/users"): ("/v1/users?prefix=u1&limit=5", None, types.UsersAnswer),
    ("get", "/v1/users/{user_id}/recommendations"): ("/v1/users/u3/recommendations?k=3", None, types.RecommendAnswer),
    ("get", "/v1/users/{user_id}"): ("/v1/users/u3", None, types.UserAnswer),
    ("get", "/v1/items"): ("/v1/items?query=t%C3%AFtle%201&limit=5", None, types.ItemsAnswer),
    ("get", "/v1/items/{item_id}"): ("/v1/items/i3", None, types.ItemAnswer),
    ("get", "/v1/categories"): ("/v1/categories?query=kind&limit=3", None, types.CategoriesAnswer),
    ("get", "/v1/bundles"): ("/v1/bundles", None, types.BundlesAnswer),
    ("get", "/v1/health"): ("/v1/health", None, types.HealthAnswer),
    ("get", "/v1/ready"): ("/v1/ready", None, types.HealthAnswer),
    ("get", "/v1/version"): ("/v1/version", None, types.VersionAnswer),
    ("get", "/metrics"): ("/metrics", None, None),
}
POSTS = {path: body for (method, path), (_, body, _) in GOOD.items() if method == "post"}
WITH_K = [path for path, body in POSTS.items() if "k" in body]


@pytest.fixture(scope="module")
def live(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """``rich``, which answers, and ``plain``, without texts and encoder."""
    folder = tmp_path_factory.mktemp("web") / "rich"
    write_rich_bundle(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recommender_module, "TextEncoder", StubEncoder)
        yield Live.of({"rich": str(folder), "plain": str(bundle_path)})


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[TestClient]:
    with LocalClient(web_app(live, ServiceOptions(max_k=MAX_K)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def rich(live: Live) -> Served:
    return live.by_name("rich")


def ask(client: TestClient, path: str, body: Any = None, **more: Any) -> Any:
    return client.get(path, **more) if body is None else client.post(path, json=body, **more)


def refused(answer: Any, status: int) -> str:
    """The sentence of a refusal, which is one, short, and plain ASCII."""
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["content-type"] == "application/json"
    sentence = types.ErrorAnswer.model_validate_json(answer.content).error
    assert sentence.endswith(".")
    assert sentence.isascii()
    assert len(sentence) < 400
    assert "\n" not in sentence
    return sentence


def shown(answer: Any, model: type[BaseModel] = types.RecommendAnswer) -> list[tuple[str, str, float]]:
    assert answer.status_code == 200, answer.text[:300]
    return [(one.item_id, one.title, one.score) for one in model.model_validate_json(answer.content).items]  # type: ignore[attr-defined]


def lines(recommendation: Recommendation) -> list[tuple[str, str, float]]:
    return [(one.item_id, one.title, one.score) for one in recommendation.items]


# Answers


def test_every_published_route_answers_as_its_schema_says(client: TestClient, rich: Served) -> None:
    published = client.get("/openapi.json").json()["paths"]
    assert {(method, path) for path, methods in published.items() for method in methods} == set(GOOD)
    for (_, path), (where, body, model) in GOOD.items():
        answer = ask(client, where or path, body)
        assert answer.status_code == 200, (path, answer.text[:300])
        if model is None:
            assert answer.headers["content-type"].startswith("text/plain")
            continue
        assert answer.headers["content-type"] == "application/json"
        read = model.model_validate_json(answer.content)
        if "bundle" in model.model_fields:
            assert (read.bundle, read.bundle_version) == ("rich", rich.version)  # type: ignore[attr-defined]


def test_the_published_schema_of_an_answer_names_the_type_that_it_is_checked_with(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for (method, path), (_, _, model) in GOOD.items():
        content = document["paths"][path][method]["responses"]["200"]["content"]
        if model is not None:
            assert content["application/json"]["schema"]["$ref"].endswith(f"/{model.__name__}")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"exclude_seen": False},
        {"include_items": ["i1", "i2", "none"]},
        {"exclude_items": ["i1", "i2", "i3", "日本"]},
        {"categories": ["kind 1", " KIND  2"]},
        {"diversity": 0.7},
        {"popularity_penalty": 1.5},
        {"diversity": 0.2, "categories": ["Kind 2"], "exclude_items": ["i2"], "popularity_penalty": 0.1},
    ],
    ids=lambda options: ",".join(options) or "none",
)
def test_a_recommendation_is_that_of_the_recommender(client: TestClient, rich: Served, options: dict[str, Any]) -> None:
    expected = rich.recommender.recommend("u3", 7, **options)
    answer = client.post("/v1/recommend", json={"user_id": "u3", "k": 7, **options})
    assert shown(answer) == lines(expected)
    assert shown(answer)
    assert answer.json()["source"] == "personal"


def test_the_other_recommendations_are_those_of_the_recommender(client: TestClient, rich: Served) -> None:
    one, options = rich.recommender, {"categories": ["Kind 1"], "diversity": 0.3}
    asked: dict[str, tuple[dict[str, Any], Recommendation]] = {
        "fold-in": ({"item_ids": ["i3", "a/b"]}, one.recommend_from_history(["i3", "a/b"], 5, **options)),  # type: ignore[arg-type]
        "profile": ({"text": "boats"}, one.recommend_from_text("boats", 5, **options)),  # type: ignore[arg-type]
    }
    for path, (body, expected) in asked.items():
        answer = client.post(f"/v1/{path}", json={**body, **options, "k": 5})
        assert shown(answer) == lines(expected)
        assert (answer.json()["user_id"], answer.json()["source"]) == (None, expected.source)
    similar = client.post("/v1/similar-items", json={"item_id": "日本", "k": 5, **options})
    expected_items = one.similar_items("日本", 5, **options)  # type: ignore[arg-type]
    assert shown(similar, types.SimilarAnswer) == [(item.item_id, item.title, item.score) for item in expected_items]
    assert similar.json()["item_id"] == "日本"


@pytest.mark.parametrize(
    ("path", "body", "source"),
    [
        ("/v1/recommend", {"user_id": "u3"}, "personal"),
        ("/v1/recommend", {"user_id": "nobody"}, "popular"),
        ("/v1/recommend", {"user_id": "u0"}, "popular"),  # has met nothing
        ("/v1/fold-in", {"item_ids": ["i1"]}, "folded_in"),
        ("/v1/fold-in", {"item_ids": ["none"]}, "popular"),
        ("/v1/profile", {"text": "boats"}, "profile"),
    ],
)
def test_the_answer_says_how_it_came_about(client: TestClient, path: str, body: dict[str, Any], source: str) -> None:
    answer = types.RecommendAnswer.model_validate_json(client.post(path, json=body).content)
    assert answer.source == source
    assert answer.user_id == body.get("user_id")
    assert len(answer.items) == 10


def test_a_batch_answers_in_the_order_of_the_request(client: TestClient, rich: Served) -> None:
    users = ["u5", "nobody", "u3", "u5", "日本"]
    answer = client.post("/v1/recommend:batch", json={"user_ids": users, "k": 4, "exclude_items": ["i2"]})
    answers = types.BatchAnswer.model_validate_json(answer.content).answers
    expected = rich.recommender.recommend_many(users, 4, exclude_items=["i2"])
    assert [one.user_id for one in answers] == users
    assert [one.source for one in answers] == ["personal", "popular", "personal", "personal", "personal"]
    assert [[item.item_id for item in one.items] for one in answers] == [
        [item.item_id for item in one.items] for one in expected
    ]


def test_a_batch_asks_the_bundle_of_each_user(bundle_path: Path, live: Live) -> None:
    rich = live.by_name("rich").recommender.bundle.folder
    halves = Live({"one": BundleSource(path=rich, share=1.0), "two": BundleSource(path=str(bundle_path), share=1.0)})
    users = [f"u{number}" for number in range(20)]
    with LocalClient(web_app(halves)) as client:
        answers = client.post("/v1/recommend:batch", json={"user_ids": users, "k": 3}).json()["answers"]
        alone = [client.post("/v1/recommend", json={"user_id": user_id, "k": 3}).json() for user_id in users]
    assert {one["bundle"] for one in answers} == {"one", "two"}
    for one, other in zip(answers, alone, strict=True):
        assert [one["bundle"], one["bundle_version"]] == [other["bundle"], other["bundle_version"]]
        assert [item["item_id"] for item in one["items"]] == [item["item_id"] for item in other["items"]]


def test_scores_come_in_the_order_of_the_request(client: TestClient, rich: Served) -> None:
    met = rich.recommender.catalogue.ids[int(rich.recommender.history("u3")[0])]
    item_ids = ["i9", "none", met, "i9", "a/b"]
    answer = client.post("/v1/score", json={"user_id": "u3", "item_ids": item_ids})
    items = types.ScoreAnswer.model_validate_json(answer.content).items
    assert [(one.item_id, one.score, one.seen) for one in items] == [
        (one.item_id, one.score, one.seen) for one in rich.recommender.score("u3", item_ids)
    ]
    assert [one.item_id for one in items] == item_ids
    assert items[1].score is None
    assert items[2].seen


def test_the_best_item_is_explained_by_default(client: TestClient, rich: Served) -> None:
    best = rich.recommender.recommend("u3", 1).items[0]
    answer = types.ExplainAnswer.model_validate_json(client.post("/v1/explain", json={"user_id": "u3"}).content)
    assert (answer.item.item_id, answer.rank) == (best.item_id, 1)
    assert answer.score == pytest.approx(best.score, rel=1e-5)
    assert (answer.user_profile, answer.item_profile) == (
        f"User {rich.recommender.users['u3']}",
        f"Thing {rich.recommender.catalogue[best.item_id]}",
    )
    history = {rich.recommender.catalogue.ids[item] for item in rich.recommender.history("u3").tolist()}
    assert {one.item_id for one in answer.because} <= history
    assert [one.similarity for one in answer.because] == sorted(
        (one.similarity for one in answer.because), reverse=True
    )


def test_what_the_model_wrote_is_told(client: TestClient) -> None:
    answer = types.ExplainAnswer.model_validate_json(
        client.post("/v1/explain", json={"user_id": "u2", "item_id": "i20"}).content
    )
    assert answer.item.item_id == "i20"
    matched, unmatched = answer.negatives
    assert (matched.beside.item_id, matched.answer, matched.reasoning) == ("i2", "Rival 2", "close")
    assert matched.item is not None
    assert matched.item.item_id == "i7"
    assert (unmatched.beside.item_id, unmatched.answer, unmatched.item, unmatched.rank) == ("i3", "Nowhere", None, None)


def test_a_user_who_has_met_everything_gets_nothing_and_no_explanation(client: TestClient) -> None:
    assert client.post("/v1/recommend", json={"user_id": "u1"}).json()["items"] == []
    assert "seen every item" in refused(client.post("/v1/explain", json={"user_id": "u1"}), 404)
    answer = client.post("/v1/explain", json={"user_id": "u1", "item_id": "i5"})
    assert types.ExplainAnswer.model_validate_json(answer.content).rank is None


def test_recommendations_can_be_read_at_an_address(client: TestClient) -> None:
    for query, body in (
        ("", {}),
        ("?k=3&exclude_seen=false", {"k": 3, "exclude_seen": False}),
        ("?categories=kind%203&categories=Kind%204", {"categories": ["Kind 3", "Kind 4"]}),
        ("?bundle=plain&k=2&available_only=false", {"k": 2, "available_only": False}),
    ):
        bundle = "?bundle=plain" if "plain" in query else ""
        expected = client.post(f"/v1/recommend{bundle}", json={"user_id": "u3", **body})
        assert client.get(f"/v1/users/u3/recommendations{query}").json() == expected.json()
    assert client.get("/v1/users/some/body/recommendations").json()["source"] == "popular"
    for query, words in (
        ("?k=0", "'k'"),
        (f"?k={MAX_K + 1}", "'k' is refused: input should be less than or equal to 50"),
        ("?k=three", "'k'"),
        ("?exclude_seen=maybe", "'exclude_seen'"),
    ):
        assert words in refused(client.get(f"/v1/users/u3/recommendations{query}"), 422)
    assert "no such category" in refused(client.get("/v1/users/u3/recommendations?categories=none"), 404)
    assert "'user_id'" in refused(client.get(f"/v1/users/{'x' * 300}/recommendations"), 422)


def test_an_address_without_a_number_takes_what_the_service_gives(live: Live) -> None:
    with LocalClient(web_app(live, ServiceOptions(max_k=4))) as client:
        assert len(client.get("/v1/users/u3/recommendations").json()["items"]) == 4
        route = client.get("/openapi.json").json()["paths"]["/v1/users/{user_id}/recommendations"]["get"]
        (k,) = (one["schema"] for one in route["parameters"] if one["name"] == "k")
        assert (k["maximum"], k["default"]) == (4, 4)


def test_lookups_are_those_of_the_bundle(client: TestClient, rich: Served) -> None:
    history = rich.recommender.history("u3").tolist()
    user = types.UserAnswer.model_validate_json(client.get("/v1/users/u3").content)
    assert (user.interactions, user.profile) == (len(history), "User 3")
    assert [one.item_id for one in user.history] == [rich.recommender.catalogue.ids[item] for item in history]
    item = types.ItemAnswer.model_validate_json(client.get("/v1/items/i3").content)
    assert (item.title, item.brand, item.categories, item.description, item.available, item.profile) == (
        "Tïtle 3", "Brand 0", ["All", "Kind 3"], "Nice 3", True, "Thing 3",
    )  # fmt: skip
    assert item.interactions == rich.recommender.catalogue.popularity[3]
    users = types.UsersAnswer.model_validate_json(client.get("/v1/users?prefix=u1&limit=3").content).users
    assert users == ["u1", "u10", "u11"]
    items = types.ItemsAnswer.model_validate_json(client.get("/v1/items", params={"query": "TÏTLE 5"}).content).items
    assert {one.title for one in items} == {"Tïtle 5", *(f"Tïtle {number}" for number in range(50, 60))}
    found = types.CategoriesAnswer.model_validate_json(client.get("/v1/categories?query=KIND&limit=3").content)
    n_items = len(rich.recommender.catalogue)
    assert [(one.name, one.items) for one in found.categories] == [
        (f"Kind {kind}", len(range(kind, n_items, 4))) for kind in range(3)
    ]


def test_the_bundles_and_versions_are_told(client: TestClient, live: Live) -> None:
    rich, plain = types.BundlesAnswer.model_validate_json(client.get("/v1/bundles").content).bundles
    assert (rich.name, rich.share, rich.shadow, rich.users, rich.items, rich.reads_text) == (
        "rich", 1.0, False, 30, 60, True,
    )  # fmt: skip
    assert (plain.name, plain.share, plain.data, plain.variant, plain.reads_text) == (
        "plain", 0.0, "toy (table)", "hnlm", False,
    )  # fmt: skip
    version = types.VersionAnswer.model_validate_json(client.get("/v1/version").content)
    assert version.version == __version__
    assert version.bundles == {one.name: one.version for one in live}


def test_a_bundle_answers_by_its_name(client: TestClient, live: Live) -> None:
    for (_, path), (where, body, model) in GOOD.items():
        if model is None or "bundle" not in model.model_fields or path == "/v1/profile":
            continue
        answer = ask(client, where or path, body, params={"bundle": "plain"})
        assert answer.status_code == 200, (path, answer.text)
        assert (answer.json()["bundle"], answer.json()["bundle_version"]) == ("plain", live.by_name("plain").version)
    batch = client.post("/v1/recommend:batch?bundle=plain", json={"user_ids": ["u3"]}).json()["answers"]
    assert [one["bundle"] for one in batch] == ["plain"]


@pytest.mark.parametrize("path", WITH_K)
def test_k_defaults_to_ten_and_may_be_as_large_as_the_bound(client: TestClient, path: str) -> None:
    def counts(body: dict[str, Any]) -> list[int]:
        answer = client.post(path, json=body).json()
        return [len(one["items"]) for one in answer.get("answers", [answer])]

    rest = {name: value for name, value in POSTS[path].items() if name != "k"}
    assert set(counts(rest)) == {10}
    assert set(counts({**rest, "k": 1})) == {1}
    assert set(counts({**rest, "k": 2.0})) == {2}
    assert set(counts({**rest, "k": MAX_K})) == {MAX_K}


def test_k_defaults_to_the_bound_where_that_is_below_ten(live: Live) -> None:
    client = LocalClient(web_app(live, ServiceOptions(max_k=3)))
    assert len(client.post("/v1/recommend", json={"user_id": "u3"}).json()["items"]) == 3
    refused(client.post("/v1/recommend", json={"user_id": "u3", "k": 4}), 422)


@pytest.fixture(scope="module")
def server(live: Live) -> Iterator[httpx.Client]:
    """A real one, as the test client decodes a path twice."""
    with (
        running(web_app(live, ServiceOptions(max_k=MAX_K))) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        yield client


@pytest.mark.parametrize("odd", ODD_IDS, ids=ascii)
def test_an_odd_id_is_found_in_bodies_and_paths(server: httpx.Client, odd: str) -> None:
    answer = server.post("/v1/recommend", json={"user_id": odd, "include_items": [odd]}).json()
    assert (answer["user_id"], answer["source"]) == (odd, "personal")
    assert server.post("/v1/similar-items", json={"item_id": odd}).json()["item_id"] == odd
    where = quote(odd, safe="") if odd != ".." else "%2E%2E"  # else the client takes it for the folder above
    user = server.get(f"/v1/users/{where}")
    assert types.UserAnswer.model_validate_json(user.content).user_id == odd
    item = server.get(f"/v1/items/{where}")
    assert types.ItemAnswer.model_validate_json(item.content).item_id == odd
    assert server.get("/v1/users", params={"prefix": odd}).json()["users"] == [odd]
    assert odd in [one["item_id"] for one in server.get("/v1/items", params={"query": odd}).json()["items"]]


# Refusals


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ('{"user_id": "u9", "k": 0}', 422, "'k' is refused: input should be greater than or equal to 1"),
        ('{"user_id": "u9", "k": -1}', 422, "'k' is refused: input should be greater than or equal to 1"),
        ('{"user_id": "u9", "k": 51}', 422, "'k' is refused: input should be less than or equal to 50"),
        ('{"user_id": "u9", "k": 1000000000}', 422, "'k' is refused: input should be less than or equal to 50"),
        ('{"user_id": "u9", "k": 1e9}', 422, "'k' is refused: input should be less than or equal to 50"),
        ('{"user_id": "u9", "k": 1e308}', 422, "'k' is refused: input should be less than or equal to 50"),
        ('{"user_id": "u9", "k": 1e999}', 422, "'k' is refused: input should be a valid integer"),
        ('{"user_id": "u9", "k": 2.5}', 422, "'k' is refused: input should be a valid integer"),
        ('{"user_id": "u9", "k": -0.0}', 422, "'k' is refused: input should be greater than or equal to 1"),
        ('{"user_id": "u9", "k": "5"}', 422, "'k' is refused: input should be a valid integer"),
        ('{"user_id": "u9", "k": true}', 422, "'k' is refused: input should be a valid integer"),
        ('{"user_id": "u9", "k": null}', 422, "'k' is refused: input should be a valid integer"),
        ('{"user_id": "u9", "k": NaN}', 422, "'k' is refused: input should be a valid integer"),
        ('{"user_id": "u9", "diversity": NaN}', 422, "'diversity' is refused: input should be a finite number"),
        ('{"user_id": "u9", "diversity": Infinity}', 422, "'diversity' is refused: input should be a finite number"),
        ('{"user_id": "u9", "diversity": 1.01}', 422, "'diversity' is refused: input should be less than or equal"),
        ('{"user_id": "u9", "popularity_penalty": -0.1}', 422, "'popularity_penalty' is refused: input should be gre"),
        ('{"user_id": "u9", "popularity_penalty": 101}', 422, "'popularity_penalty' is refused: input should be less"),
        ('{"user_id": "u9", "exclude_items": "i1"}', 422, "'exclude_items' is refused: input should be a valid array"),
        ('{"user_id": "u9", "include_items": [1]}', 422, "'include_items' is refused: input should be a valid string"),
        ('{"user_id": "u9", "categories": [""]}', 422, "'categories' is refused: string should have at least 1"),
        ('{"user_id": "u9", "categories": [' + ",".join(['"c"'] * 101) + "]}", 422, "'categories' is refused: list"),
        ('{"user_id": "u9", "exclude_seen": 1}', 422, "'exclude_seen' is refused: input should be a valid boolean"),
        ('{"k": 5}', 422, "'user_id' is missing"),
        ('{"user_id": 9}', 422, "'user_id' is refused: input should be a valid string"),
        ('{"user_id": ""}', 422, "'user_id' is refused: string should have at least 1 character"),
        ('{"user_id": "' + "x" * 1_000_000 + '"}', 422, "'user_id' is refused: string should have at most 256"),
        ('{"user_id": "u9", "kk": 5}', 422, "'kk' is unknown, there are 'available_only', 'categories'"),
        ('{"user_id": "u9", "query": 5}', 422, "'query' is unknown, there are"),
        ('{"user_id": "u9", "' + "\u00e9" * 900 + '": 5}', 422, "is unknown, there are"),
        ("[]", 422, "must be a JSON object"),
        ("null", 422, "must be a JSON object"),
        ('"u9"', 422, "must be a JSON object"),
        ("", 400, "not valid JSON"),
        ("{", 400, "not valid JSON"),
        ("user_id=u9", 400, "not valid JSON"),
        ('{"user_id": "u9"} {}', 400, "not valid JSON"),
        (b'{"user_id": "\xff"}', 400, "not valid JSON"),
        ('{"user_id": "\\ud800"}', 400, "not valid JSON"),
        ('{"user_id": "u9", "\\ud800": 5}', 400, "not valid JSON"),
        ("[" * 100_000, 400, "not valid JSON"),
        ('{"user_id": "u9", "k": ' + "9" * 4000 + "}", 422, "'k' is refused"),
        ('{"user_id": "u9", "k": ' + "9" * 5000 + "}", 400, "not valid JSON"),
    ],
    ids=lambda value: ascii(value)[:40],
)  # fmt: skip
def test_a_bad_request_is_refused_with_one_short_sentence(
    client: TestClient, body: str | bytes, status: int, words: str
) -> None:
    answer = client.post("/v1/recommend", content=body, headers=JSON)
    assert words in refused(answer, status)


@pytest.mark.parametrize("path", POSTS)
def test_every_body_is_checked(client: TestClient, path: str) -> None:
    for content, status in (("", 400), ("{", 400), ("[]", 422), ("{}", 422), ('{"k": NaN}', 422)):
        refused(client.post(path, content=content, headers=JSON), status)
    assert f"'{CANARY}' is unknown" in refused(client.post(path, json={**POSTS[path], CANARY: 1}), 422)
    if path in WITH_K:
        assert "'k' is refused" in refused(client.post(path, json={**POSTS[path], "k": 0}), 422)
        assert "'k' is refused" in refused(client.post(path, json={**POSTS[path], "k": MAX_K + 1}), 422)


@pytest.mark.parametrize("path", POSTS)
def test_a_refused_value_is_never_repeated(client: TestClient, path: str) -> None:
    good = POSTS[path]
    for name in {*good, "k", "diversity", "exclude_items"}:
        for wrong in ({CANARY: CANARY}, [[CANARY]], CANARY * 400):
            answer = client.post(path, json={**good, name: wrong})
            assert answer.status_code == 422
            assert CANARY not in answer.text
    assert CANARY not in client.post(path, content=CANARY, headers=JSON).text


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"limit": CANARY}, "limit"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
        ({"limit": "nan"}, "limit"),
        ({"query": CANARY * 40}, "query"),
        ({"bundle": CANARY * 40}, "bundle"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_wrong_parameter_is_named_and_its_value_is_not(
    client: TestClient, parameters: dict[str, str], field: str
) -> None:
    sentence = refused(client.get("/v1/items", params=parameters), 422)
    assert f"'{field}' is refused" in sentence
    assert CANARY not in sentence


def test_a_thousand_unknown_fields_are_not_listed(client: TestClient) -> None:
    answer = client.post("/v1/recommend", json={"user_id": "u9", **{f"field{n}": n for n in range(1000)}})
    assert answer.status_code == 422
    assert answer.json()["error"].endswith("997 further problems.")
    assert len(answer.json()["error"]) < 800


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/score", {"user_id": CANARY, "item_ids": ["i1"]}, "about this user"),
        ("/v1/score", {"user_id": "u0", "item_ids": ["i1"]}, "about this user"),
        ("/v1/explain", {"user_id": CANARY}, "about this user"),
        ("/v1/explain", {"user_id": "u3", "item_id": CANARY}, "no such item"),
        ("/v1/similar-items", {"item_id": CANARY}, "no such item"),
        (f"/v1/users/{CANARY}", None, "about this user"),
        ("/v1/users/u0", None, "about this user"),
        ("/v1/users/", None, "about this user"),
        (f"/v1/users/{CANARY * 1000}", None, "about this user"),
        (f"/v1/items/{CANARY}", None, "no such item"),
        ("/v1/items/i3/", None, "no such item"),
        ("/v1/items/%ff%fe", None, "no such item"),
        ("/v1/items/..%2F..%2Fetc%2Fpasswd", None, "no such item"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_who_or_what_is_unknown_is_not_found(client: TestClient, path: str, body: Any, words: str) -> None:
    sentence = refused(ask(client, path, body), 404)
    assert words in sentence
    assert CANARY not in sentence


@pytest.mark.parametrize("name", ["zz", "", "../../etc/passwd", "..%2f..%2frich", "rich/", "rich\x00", "RICH", "日本"])
def test_a_bundle_that_is_not_served_is_not_found(client: TestClient, name: str) -> None:
    for (method, path), (where, body, model) in GOOD.items():
        if method == "post" or (model is not None and "bundle" in model.model_fields):
            answer = ask(client, where or path, body, params={"bundle": name})
            assert refused(answer, 404) == "There is no bundle of that name, there are rich, plain."


def test_a_profile_needs_an_encoder(client: TestClient) -> None:
    answer = client.post("/v1/profile?bundle=plain", json={"text": "boats"})
    assert refused(answer, 409) == "The bundle 'plain' has no text encoder."


@pytest.mark.parametrize("path", POSTS)
def test_ten_megabytes_are_too_much_with_a_length_and_in_chunks(client: TestClient, path: str) -> None:
    block = b" " * (1 << 20)
    whole = client.post(path, content=block * 10)
    chunked = client.post(path, content=(block for _ in range(10)))
    assert "content-length" in whole.request.headers
    assert "content-length" not in chunked.request.headers
    for answer in (whole, chunked):
        assert refused(answer, 413) == "The body is larger than 1048576 bytes."


def test_a_body_in_chunks_is_read(client: TestClient) -> None:
    chunks = (part.encode() for part in ('{"user', '_id": "u3', '", "k": 2}'))
    answer = client.post("/v1/recommend", content=chunks, headers=JSON)
    assert len(answer.json()["items"]) == 2


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/plain; application/json",
        "text/plain;charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/jsonp",
        "application/json-seq",
        "application/json, text/plain",
        "xapplication/json",
        "text/json",
        "json",
        "",
        None,
    ],
)
def test_a_body_of_another_type_is_refused_even_if_it_is_json(
    client: TestClient, path: str, content_type: str | None
) -> None:
    """Browsers send the first few, and none, to any site without asking it."""
    content = json.dumps(POSTS[path])
    answer = client.post(path, content=content, headers={} if content_type is None else {"content-type": content_type})
    assert "Content-Type: application/json" in refused(answer, 415)


def test_forms_and_uploads_are_refused(client: TestClient) -> None:
    refused(client.post("/v1/recommend", data={"user_id": "u9"}), 415)
    refused(client.post("/v1/recommend", files={"user_id": b"u9"}), 415)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;v=1",
     "application/vnd.api+json", "application/ld+json ; profile=x"],
)  # fmt: skip
def test_every_type_of_json_is_read(client: TestClient, path: str, content_type: str) -> None:
    answer = client.post(path, content=json.dumps(POSTS[path]), headers={"content-type": content_type})
    assert answer.status_code == 200
    assert refused(client.post(path, content="u3", headers={"content-type": content_type}), 400).startswith("The body")


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/nope", 404, "'/nope'"),
        ("GET", "/v1", 404, "'/v1'"),
        ("GET", "/v2/recommend", 404, "'/v2/recommend'"),
        ("GET", "/" + "é" * 5000, 404, "There is no page"),
        ("GET", "/v1/recommend", 405, "GET is not allowed"),
        ("PUT", "/v1/recommend", 405, "PUT is not allowed"),
        ("DELETE", "/v1/users/u3", 405, "DELETE is not allowed"),
        ("POST", "/health", 405, "POST is not allowed"),
        ("POST", "/v1/bundles", 405, "POST is not allowed"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_wrong_route_is_refused_with_a_sentence(
    client: TestClient, method: str, path: str, status: int, words: str
) -> None:
    answer = client.request(method, path)
    assert words in refused(answer, status)
    assert ("allow" in answer.headers) == (status == 405)


def test_a_bug_is_one_sentence_and_reaches_the_server(
    client: TestClient, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError(CANARY)

    monkeypatch.setattr(live.by_name("rich").recommender, "score", break_down)
    body = {"user_id": "u3", "item_ids": ["i1"]}
    answer = client.post("/v1/score", json=body)
    assert CANARY not in refused(answer, 500)
    assert "x-request-id" in answer.headers
    with pytest.raises(ZeroDivisionError):
        LocalClient(web_app(live)).post("/v1/score", json=body)


def test_the_page_is_one_file_under_a_strict_policy(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    for rule in ("default-src 'none'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'"):
        assert rule in policy
    for loading in ("<script src", "stylesheet", "@import", "url(", "https://"):
        assert loading not in answer.text
    folder = files("hnlm_ray.serving.http").joinpath("page")
    for part in folder.iterdir():
        if not part.name.endswith(".html"):
            assert part.read_text() in answer.text


@pytest.mark.parametrize("kind", [KeyError, LookupError, IndexError])
def test_a_bug_in_an_explanation_is_not_taken_for_a_user_who_has_seen_everything(
    client: TestClient, live: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: type
) -> None:
    def break_down(*_: object) -> None:
        raise kind(CANARY)

    monkeypatch.setattr(live.by_name("rich").explainer, "explain", break_down)
    monkeypatch.setattr(logging.getLogger("hnlm_ray.serving"), "propagate", True)
    with caplog.at_level(logging.INFO, logger="hnlm_ray.serving"):
        answer = client.post("/v1/explain", json={"user_id": "u3"})
    assert "Something went wrong" in refused(answer, 500)
    assert [record.fields["status"] for record in caplog.records] == [500]  # type: ignore[attr-defined]


def test_a_client_that_goes_in_the_middle_of_its_body_is_no_bug(live: Live) -> None:
    sent: list[Any] = []
    messages = [
        {"type": "http.request", "body": b'{"user_id": ', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/recommend", "raw_path": b"/v1/recommend", "headers": [],
        "query_string": b"", "root_path": "", "scheme": "http", "server": ("127.0.0.1", 80), "http_version": "1.1",
    }  # fmt: skip
    asyncio.run(web_app(live)(scope, receive, send))
    assert sent[0]["status"] == 400


# Long requests


class Gate:
    """Work that goes on until it is let go, and counts how much of it there is."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self._work, self._lock, self.open = work, threading.Lock(), threading.Event()
        self.at_work = self.most = self.ended = 0

    def __call__(self, *args: Any) -> Any:
        with self._lock:
            self.at_work += 1
            self.most = max(self.most, self.at_work)
        self.open.wait(60)
        with self._lock:
            self.at_work -= 1
            self.ended += 1
        return self._work(*args)


def test_what_takes_too_long_is_given_up_and_still_counts_as_work(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = live.by_name("rich").recommender.catalogue
    gate = Gate(catalogue.search)
    monkeypatch.setattr(catalogue, "search", gate)
    with LocalClient(web_app(live, ServiceOptions(timeout_s=0.05))) as client:
        for _ in range(5):
            answer = client.get("/v1/items?query=1")
            assert "took too long" in refused(answer, 503)
            assert answer.headers["retry-after"] == "1"
        # Requests that need no thread go on meanwhile.
        assert client.post("/v1/recommend", json={"user_id": "u3"}).status_code == 200
        assert gate.most == 2
        gate.open.set()
        until(lambda: gate.ended == 2)
        until(lambda: client.get("/v1/items?query=1").status_code == 200)


def test_what_fails_after_it_was_given_up_is_no_news(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError

    catalogue, complaints = live.by_name("rich").recommender.catalogue, []
    gate = Gate(break_down)
    monkeypatch.setattr(catalogue, "search", gate)
    with LocalClient(web_app(live, ServiceOptions(timeout_s=0.05))) as client:
        assert client.portal is not None
        client.portal.call(_collect_complaints, complaints)
        refused(client.get("/v1/items?query=1"), 503)
        gate.open.set()
        until(lambda: gate.ended == 1)
        client.portal.call(asyncio.sleep, 0.1)
    assert complaints == []


async def _collect_complaints(into: list[Any]) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, context: into.append(context))


# The document, the page and the probes


def test_openapi_states_the_bounds_and_the_refusals(client: TestClient) -> None:
    assert client.get("/docs").status_code == 200
    paths = client.get("/openapi.json").json()["paths"]
    request = paths["/v1/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    k = {"type": "integer", "minimum": 1, "maximum": MAX_K, "default": 10, "description": "Number of items."}
    assert {name: value for name, value in request["properties"]["k"].items() if name != "title"} == k
    assert request["properties"]["user_id"]["maxLength"] == 256
    assert request["additionalProperties"] is False
    assert request["required"] == ["user_id"]
    for path in POSTS:
        for status in ("400", "401", "404", "408", "409", "413", "415", "421", "422", "503"):
            content = paths[path]["post"]["responses"][status]["content"]
            assert content["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer")


def test_the_page_may_load_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", ["/health", "/ready", "/v1/health", "/v1/ready"])
def test_probes_get_an_answer(client: TestClient, path: str) -> None:
    assert client.get(path).json() == {"status": "ok"}


# Whatever comes


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["u3", "i3", *ODD_IDS]),
    lambda leaf: st.lists(leaf, max_size=3),
)
_MODELS = (
    types.BatchRequest, types.FoldInRequest, types.ProfileRequest, types.SimilarRequest, types.ScoreRequest,
    types.ExplainRequest,
)  # fmt: skip
_FIELDS = sorted({name for model in _MODELS for name in model.model_fields})


@pytest.mark.parametrize("path", POSTS)
@settings(max_examples=40)
@given(changes=st.dictionaries(st.sampled_from(_FIELDS) | st.text(max_size=3), _JSON, max_size=3), drop=st.booleans())
def test_any_json_object_gets_an_answer_or_a_sentence(
    client: TestClient, path: str, changes: dict[str, Any], drop: bool
) -> None:
    body = changes if drop else {**POSTS[path], **changes}
    answer = client.post(path, content=json.dumps(body), headers=JSON)
    if answer.status_code == 200:
        model = GOOD["post", path][2]
        assert model is not None
        model.model_validate_json(answer.content)
    else:
        assert answer.status_code in (400, 404, 422)
        assert types.ErrorAnswer.model_validate_json(answer.content).error


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("recommend", {"user_id": "u3"}),
        ("recommend:batch", {"user_ids": ["u3", "u4"]}),
        ("fold-in", {"item_ids": ["i3"]}),
        ("similar-items", {"item_id": "i3"}),
        ("profile", {"text": "boats"}),
    ],
)
def test_an_unknown_category_is_refused_with_the_near_one(client: TestClient, path: str, body: dict[str, Any]) -> None:
    answer = client.post(f"/v1/{path}", json={**body, "categories": ["kind 1", "Knid 2"]})
    assert refused(answer, 404) == "The catalogue has no such category, the nearest is 'Kind 2'."
    assert client.post(f"/v1/{path}", json={**body, "categories": ["KIND 2"]}).status_code == 200
