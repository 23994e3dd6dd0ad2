"""The HTTP interface without a server: every refusal, and that answers keep their published schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.serving.recommender import Recommender
from hnlm_ray.serving.types import ErrorAnswer, HealthAnswer, RecommendAnswer
from hnlm_ray.serving.web import web_app

ROUTE = "/v1/recommend"


@pytest.fixture(scope="module")
def client(bundle_path: Path) -> TestClient:
    return TestClient(web_app(Recommender.load(str(bundle_path)), max_k=50), raise_server_exceptions=False)


def _post(client: TestClient, content: str | bytes) -> Any:
    return client.post(ROUTE, content=content, headers={"content-type": "application/json"})


def test_the_answer_is_that_of_the_recommender(client: TestClient, bundle_path: Path) -> None:
    expected = Recommender.load(str(bundle_path)).recommend("u9", 5)
    answer = RecommendAnswer.model_validate_json(client.post(ROUTE, json={"user_id": "u9", "k": 5}).content)
    assert [(i.item_id, i.title, i.score) for i in answer.items] == [
        (i.item_id, i.title, i.score) for i in expected.items
    ]
    assert (answer.user_id, answer.source, answer.bundle_version) == ("u9", "personal", expected.bundle_version)


def test_k_defaults_to_ten(client: TestClient) -> None:
    assert len(client.post(ROUTE, json={"user_id": "u9"}).json()["items"]) == 10


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ('{"user_id": "u9", "k": 0}', 422, "'k' is refused: input should be greater than or equal to 1"),
        ('{"user_id": "u9", "k": -1}', 422, "'k' is refused: input should be greater than or equal to 1"),
        ('{"user_id": "u9", "k": 51}', 422, "'k' is refused: input should be less than or equal to 50"),
        ('{"user_id": "u9", "k": 1000000000}', 422, "'k' is refused: input should be less than or equal to 50"),
        ('{"user_id": "u9", "k": 1e9}', 422, "'k' is refused: input should be a valid integer"),
        ('{"user_id": "u9", "k": "5"}', 422, "'k' is refused: input should be a valid integer"),
        ('{"user_id": "u9", "k": true}', 422, "'k' is refused: input should be a valid integer"),
        ('{"user_id": "u9", "k": null}', 422, "'k' is refused: input should be a valid integer"),
        ('{"user_id": "u9", "k": NaN}', 422, "'k' is refused: input should be a valid integer"),
        ('{"k": 5}', 422, "'user_id' is missing"),
        ('{"user_id": 9}', 422, "'user_id' is refused: input should be a valid string"),
        ('{"user_id": ""}', 422, "'user_id' is refused: string should have at least 1 character"),
        ('{"user_id": "' + "x" * 1_000_000 + '"}', 422, "'user_id' is refused: string should have at most 256"),
        ('{"user_id": "\\ud800"}', 422, "'user_id' is refused"),
        ('{"user_id": "u9", "kk": 5}', 422, "'kk' is unknown, there are 'user_id', 'k'"),
        ('{"user_id": "u9", "\\ud800": 5}', 422, "must be a JSON object"),
        ("[]", 422, "must be a JSON object"),
        ("", 422, "must be a JSON object"),
        ("{", 400, "not valid JSON"),
        ("user_id=u9", 400, "not valid JSON"),
        (b'{"user_id": "\xff"}', 400, "error parsing the body"),
        ("[" * 100_000, 400, "error parsing the body"),
        ('{"user_id": "u9", "k": ' + "9" * 5000 + "}", 400, "error parsing the body"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_bad_request_is_refused_with_one_short_sentence(
    client: TestClient, body: str | bytes, status: int, words: str
) -> None:
    answer = _post(client, body)
    assert answer.status_code == status
    sentence = ErrorAnswer.model_validate_json(answer.content).error
    assert words in sentence
    assert sentence.endswith(".")
    assert len(sentence) < 200


def test_a_thousand_unknown_fields_are_not_listed(client: TestClient) -> None:
    answer = _post(client, json.dumps({"user_id": "u9", **{f"field{n}": n for n in range(1000)}}))
    assert answer.status_code == 422
    assert answer.json()["error"].endswith("997 further problems.")


def test_a_form_is_refused(client: TestClient) -> None:
    answer = client.post(ROUTE, data={"user_id": "u9"})
    assert answer.status_code == 422
    assert "application/json" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [("GET", "/nope", 404, "'/nope'"), ("GET", ROUTE, 405, "GET is not allowed"), ("PUT", "/health", 405, "PUT")],
)
def test_a_wrong_route_is_refused_with_a_sentence(
    client: TestClient, method: str, path: str, status: int, words: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert words in ErrorAnswer.model_validate_json(answer.content).error
    assert "allow" in answer.headers or status == 404


def test_health_names_the_bundle(client: TestClient, bundle_path: Path) -> None:
    health = HealthAnswer.model_validate_json(client.get("/health").content)
    info = Recommender.load(str(bundle_path)).info
    assert health.bundle_version == info.version
    assert (health.users, health.items, health.variant) == (40, 60, "hnlm")


def test_openapi_states_the_bounds_and_the_refusals(client: TestClient) -> None:
    assert client.get("/docs").status_code == 200
    schema = client.get("/openapi.json").json()
    request = schema["components"]["schemas"]["RecommendRequest"]
    assert request["properties"]["k"] | {"title": ""} == {
        "type": "integer", "minimum": 1, "maximum": 50, "default": 10, "title": "", "description": "How many items."
    }  # fmt: skip
    assert request["properties"]["user_id"]["maxLength"] == 256
    assert request["additionalProperties"] is False
    for status in ("400", "422"):
        content = schema["paths"][ROUTE]["post"]["responses"][status]["content"]
        assert content["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda leaf: st.lists(leaf, max_size=3)
)


@settings(max_examples=60, deadline=None)
@given(body=st.dictionaries(st.sampled_from(["user_id", "k", "x"]) | st.text(max_size=3), _JSON, max_size=4))
def test_any_json_object_gets_an_answer_or_a_sentence(client: TestClient, body: dict[str, Any]) -> None:
    answer = _post(client, json.dumps(body))
    if answer.status_code == 200:
        assert len(RecommendAnswer.model_validate_json(answer.content).items) <= body.get("k", 10)
    else:
        assert answer.status_code == 422
        assert ErrorAnswer.model_validate_json(answer.content).error
