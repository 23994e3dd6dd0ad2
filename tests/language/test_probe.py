"""What is wrong with an endpoint is said before anything is sent to it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hnlm_ray.config.language import EmbedConfig, HttpConfig, LLMConfig
from hnlm_ray.errors import EngineError
from hnlm_ray.language.checks import check
from hnlm_ray.language.engines.http import HttpEngine, api_key
from hnlm_ray.language.probe import check_endpoint
from tests.language.engines.endpoint_server import Answer, serving

KEY = "sk-test-0123456789"


def problems(models: Answer, model: str = "some/model", path: str = "", post: Answer | None = None) -> list[str]:
    with serving(lambda asked, n: post or Answer({}, 400), models) as server:
        url = server.url.removesuffix("/v1") + path if path else server.url
        return check_endpoint(LLMConfig(engine="http", model=model, http=HttpConfig(url=url)))


def listing(*names: str) -> Answer:
    return Answer({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


def test_an_endpoint_with_the_model_has_no_problem() -> None:
    assert problems(listing("another", "some/model")) == []
    assert problems(listing("qwen3:latest"), "qwen3") == []
    assert problems(listing()) == []  # it need not list them


def test_a_model_that_it_does_not_list_is_named_beside_those_that_it_does() -> None:
    (problem,) = problems(listing("other-model"))
    assert problem == "llm.model: the endpoint has no model some/model; it lists other-model."
    (problem,) = problems(listing(*[f"model-{number:02}" for number in range(30)], "qwen3:8b"), "qwen3")
    assert "it lists qwen3:8b, model-00" in problem
    assert "and 23 more" in problem


def test_an_address_without_v1_is_told_to_add_it() -> None:
    with serving(lambda asked, n: Answer(), listing("some/model")) as server:
        url = server.url.removesuffix("/v1")
        for base in (url, f"{url}/"):
            (problem,) = check_endpoint(LLMConfig(engine="http", model="some/model", http=HttpConfig(url=base)))
            assert f"add /v1: {url}/v1." in problem


def test_an_address_of_something_else_is_said_so() -> None:
    (problem,) = problems(listing("some/model"), path="/api/chat")
    assert "neither /models nor /chat/completions (HTTP 404)" in problem
    (problem,) = problems(Answer(b"<html>Welcome</html>"))
    assert "gives no list of models" in problem
    (problem,) = problems(Answer({"error": "x"}))
    assert "gives no list of models" in problem
    (problem,) = problems(Answer(b"[" * 100_000))
    assert "gives no list of models" in problem


def test_a_server_without_a_list_may_still_chat() -> None:
    assert problems(Answer({"detail": "Not Found"}, 404)) == []


def test_a_server_in_trouble_is_quoted() -> None:
    (problem,) = problems(Answer({"error": {"message": "model is loading"}}, 503))
    assert "HTTP 503: model is loading" in problem


def test_an_endpoint_that_is_not_there_or_hangs_is_said_soon() -> None:
    (problem,) = check_endpoint(LLMConfig(engine="http", http=HttpConfig(url="http://127.0.0.1:9/v1")))
    assert "http://127.0.0.1:9/v1/models does not answer (ConnectError)" in problem
    with serving(lambda asked, n: Answer(), Answer(drips=True)) as server:
        began = time.monotonic()
        http = HttpConfig(url=server.url, timeout_s=1.0)
        (problem,) = check_endpoint(LLMConfig(engine="http", http=http))
    assert "does not answer (ReadTimeout)" in problem
    assert time.monotonic() - began < 9


def test_a_long_list_is_not_read_to_its_end() -> None:
    began = time.monotonic()
    (problem,) = problems(Answer(b" " * 50 * 2**20))
    assert "no list of models" in problem
    assert time.monotonic() - began < 20


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = Answer({"error": {"message": f"wrong key {KEY}"}}, 401)
    with serving(lambda asked, n: Answer(), refused) as server:
        llm = LLMConfig(engine="http", http=HttpConfig(url=server.url, api_key_env="TEST_ENDPOINT_KEY"))
        monkeypatch.delenv("TEST_ENDPOINT_KEY", raising=False)
        embed = EmbedConfig(engine="scripted")
        assert "TEST_ENDPOINT_KEY" in check(llm, embed)[0]
        monkeypatch.setenv("TEST_ENDPOINT_KEY", KEY)
        (problem,) = check(llm, embed)
    assert "refuses the key (HTTP 401: wrong key ***)" in problem
    assert KEY not in repr(HttpEngine(llm).config)


@pytest.mark.parametrize("key", ["", "  ", "sk-\u00e4", "sk-1\nsk-2", "sk-\u2013", "sk\x00", "sk\u00a0x"])
def test_a_key_that_no_header_can_hold_is_refused_unseen(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr("os.environ", {"TEST_ENDPOINT_KEY": key})
    llm = LLMConfig(engine="http", http=HttpConfig(api_key_env="TEST_ENDPOINT_KEY"))
    with pytest.raises(EngineError, match="TEST_ENDPOINT_KEY") as caught:
        api_key(llm)
    assert "sk-" not in str(caught.value)
    assert "TEST_ENDPOINT_KEY" in check_endpoint(llm)[0]


def test_a_key_may_end_in_the_newline_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_ENDPOINT_KEY", f"{KEY}\r\n")
    assert api_key(LLMConfig(engine="http", http=HttpConfig(api_key_env="TEST_ENDPOINT_KEY"))) == KEY


def test_a_server_without_keys_is_sent_none_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert KEY not in api_key(LLMConfig(engine="http"))


@pytest.mark.parametrize(
    "url",
    ["localhost:8000", "ftp://host/v1", "http://", "http://host:port/v1", "http://a\nb/v1", "http://me:pw@host/v1"],
)
def test_an_address_that_is_none_is_refused_where_it_is_read(url: str) -> None:
    with pytest.raises(ValidationError, match=r"llm\.http\.url|url"):
        HttpConfig(url=url)


@pytest.mark.parametrize(
    "fields", [{"stream": True}, {"messages": []}, {"model": "x"}, {"n": 2}, {"a": float("nan")}, {"a": Path("x")}]
)
def test_fields_that_cannot_be_sent_are_refused_where_they_are_read(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"cannot be changed|JSON"):
        HttpConfig(extra_body=fields)
    if "stream" not in fields and "a" in fields:
        with pytest.raises(ValidationError, match="JSON"):
            LLMConfig(chat_template_kwargs=fields)
