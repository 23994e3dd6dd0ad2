"""The endpoint engine against a server that misbehaves in known ways."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from hnlm_ray.config.language import EmbedConfig, HttpConfig, LLMConfig, ProfilesConfig
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import EngineError
from hnlm_ray.language.checks import check
from hnlm_ray.language.engines.http import HttpEngine, api_key
from hnlm_ray.language.generate import Request, generate
from hnlm_ray.language.requests import ItemRenderer
from hnlm_ray.run.store import RunStore

KEY = "sk-test-0123456789"
GOOD = '{"reasoning":"r","summary":"s"}'
NO_COMPLETION = "HTTP 200 without a chat completion"


def completion(content: object = GOOD, finish_reason: object = "stop", **usage: object) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, "finish_reason": finish_reason}], "usage": usage or None}


ODD: dict[str, bytes | dict[str, Any]] = {
    "another form": {"ok": True},
    "an error": {"error": {"message": "rate limit", "code": 429}},
    "no choice": {"choices": []},
    "content in parts": completion([{"type": "text", "text": GOOD}]),
    "content a number": completion(5),
    "finish reason a number": completion(finish_reason=5),
    "huge count": completion(prompt_tokens=2**40, completion_tokens=3),
    "negative count": completion(prompt_tokens=-1),
    "infinite count": b'{"choices":[{"message":{"content":"{}"}}],"usage":{"prompt_tokens":1e999}}',
    "endless integer": b'{"choices":[{"message":{"content":"{}"}}],"usage":{"prompt_tokens":' + b"9" * 5000 + b"}}",
    "lone surrogate": b'{"choices":[{"message":{"content":"\\ud800"}}]}',
    "nested deeply": b"[" * 100_000,
    "HTML": b"<html>Bad gateway</html>",
    "empty": b"",
}
"""Bodies under status 200 that are no chat completion."""
ODD_STATUS = {"bad request": 400, "no such model": 404, "always 500": 500}
CONNECTION = {
    "drops": "the connection failed",
    "broken gzip": "the connection failed",
    "drips": "no answer in 1.5 s",
}
KINDS = ("good", "cut", "busy once", "wait a second", *ODD, *ODD_STATUS, *CONNECTION)


class Server(ThreadingHTTPServer):
    """Behaves by the title in the prompt."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.tries: defaultdict[str, list[float]] = defaultdict(list)
        """When each kind was asked for."""
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None: ...

    def do_GET(self) -> None:
        self.reply(200, {"data": []}) if self.headers.get("Authorization") == f"Bearer {KEY}" else self.reply(401, {})

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        user = body["messages"][-1]["content"]
        kind = json.loads(user)["title"]
        with server.lock:
            server.bodies.append(body)
            server.keys.add(self.headers.get("Authorization"))
            server.tries[kind].append(time.monotonic())
            first = len(server.tries[kind]) == 1
            server.busy += 1
            server.most_busy = max(server.most_busy, server.busy)
        time.sleep(0.02)
        with server.lock:
            server.busy -= 1
        if kind in ODD:
            self.reply(200, ODD[kind])
        elif kind in ODD_STATUS:
            self.reply(ODD_STATUS[kind], {"error": f"never show this {KEY}"})
        elif kind == "busy once" and first:
            self.reply(429, {})
        elif kind == "wait a second" and first:
            self.reply(429, {}, {"Retry-After": "1"})
        elif kind == "cut":
            self.reply(200, completion('{"reas', "length"))
        elif kind == "broken gzip":
            self.reply(200, b"no gzip", {"Content-Encoding": "gzip"})
        elif kind in ("drips", "drops"):
            self.drip() if kind == "drips" else None
            self.close_connection = True
            self.connection.close()
        else:
            self.reply(200, completion(prompt_tokens=7, completion_tokens=3))

    def drip(self) -> None:
        """A byte now and then, so that no single read takes long."""
        with contextlib.suppress(OSError):
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b" ")
                time.sleep(0.1)

    def reply(self, status: int, content: bytes | dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def config(server: Server, **http: object) -> LLMConfig:
    options = HttpConfig(url=server.url, concurrency=4, timeout_s=1.5, **http)
    return LLMConfig(engine="http", model="some/model", http=options, retries=0, max_reject_rate=1.0, batch_size=8)


@pytest.mark.ray
def test_every_kind_of_reply_becomes_a_row(
    ray_session: None, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_ENDPOINT_KEY", KEY)
    titles = [*KINDS, *["good"] * 20]
    size = len(titles)
    items = pa.table(
        {"title": titles, "brand": [""] * size, "categories": [[]] * size, "description": [""] * size},
        schema=pa.schema(
            {
                "title": pa.string(),
                "brand": pa.string(),
                "categories": pa.list_(pa.string()),
                "description": pa.string(),
            }
        ),
    )
    rows = pa.table({"id": pa.array(range(size), pa.int64()), "reviews": pa.array([[]] * size, pa.list_(pa.string()))})
    llm = config(server, api_key_env="TEST_ENDPOINT_KEY")
    output = RunStore(str(tmp_path)).artifact("item_profiles", "test")
    request = Request(rows, ItemRenderer(items, ProfilesConfig()), 64)
    answers = generate(request, HttpEngine(llm), Config(llm=llm), output, lambda line: None).to_pylist()
    statuses = {kind: row["status"] for kind, row in zip(KINDS, answers, strict=False)}
    failed = dict.fromkeys([*ODD, *ODD_STATUS, *CONNECTION], "failed")
    assert statuses == {"good": "ok", "cut": "truncated", "busy once": "ok", "wait a second": "ok"} | failed
    assert [row["status"] for row in answers[len(KINDS) :]] == ["ok"] * 20
    reasons = {kind: row["reason"] for kind, row in zip(KINDS, answers, strict=False)}
    assert {reasons[kind] for kind in ODD} == {NO_COMPLETION}
    assert all(reasons[kind] == f"HTTP {status}" for kind, status in ODD_STATUS.items())
    assert all(reasons[kind].startswith(reason) for kind, reason in CONNECTION.items())
    tries = {kind: len(times) for kind, times in server.tries.items()}
    assert tries["busy once"] == 2
    assert all(tries[kind] == 4 for kind in ("always 500", *CONNECTION))  # repeated, and then given up
    assert tries["bad request"] == tries["HTML"] == 1  # the same again would be refused again
    refused, asked_again = server.tries["wait a second"]
    assert asked_again - refused > 0.99  # without Retry-After, it would be half a second
    assert (answers[0]["prompt_tokens"], answers[0]["output_tokens"]) == (7, 3)
    assert server.keys == {f"Bearer {KEY}"}
    assert 1 < server.most_busy <= 4
    body = server.bodies[0]
    assert body["model"] == "some/model"
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["reasoning", "summary"]
    good = [body["seed"] for body in server.bodies if json.loads(body["messages"][-1]["content"])["title"] == "good"]
    assert len(set(good)) == 21
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert not kept


def test_the_key_is_only_in_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = config(server, api_key_env="TEST_ENDPOINT_KEY")
    monkeypatch.delenv("TEST_ENDPOINT_KEY", raising=False)
    with pytest.raises(EngineError, match="TEST_ENDPOINT_KEY"):
        api_key(llm)
    embed = EmbedConfig(engine="scripted")
    assert "TEST_ENDPOINT_KEY" in check(llm, embed)[0]
    monkeypatch.setenv("TEST_ENDPOINT_KEY", "wrong")
    (problem,) = check(llm, embed)
    assert "401" in problem
    assert "wrong" not in problem
    monkeypatch.setenv("TEST_ENDPOINT_KEY", KEY)
    assert check(llm, embed) == []
    assert KEY not in repr(HttpEngine(llm).config)


@pytest.mark.parametrize("key", ["", "  ", "sk-\u00e4", "sk-1\nsk-2"])
def test_a_key_that_no_header_can_hold_is_refused_unseen(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("TEST_ENDPOINT_KEY", key)
    with pytest.raises(EngineError, match="TEST_ENDPOINT_KEY") as caught:
        api_key(LLMConfig(engine="http", http=HttpConfig(api_key_env="TEST_ENDPOINT_KEY")))
    assert "sk-" not in str(caught.value)


def test_a_server_without_keys_needs_none(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)  # meant for another server, so not sent to this one
    (problem,) = check(config(server), EmbedConfig(engine="scripted"))
    assert "refuses the key" in problem  # it got one that it does not know


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://", "http://host:port/v1", "http://a\nb/v1"])
def test_an_address_that_is_none_is_refused_where_it_is_read(url: str) -> None:
    with pytest.raises(ValidationError, match=r"llm\.http\.url|url"):
        HttpConfig(url=url)


def test_an_endpoint_that_is_not_there_is_said_so() -> None:
    llm = LLMConfig(engine="http", http=HttpConfig(url="http://127.0.0.1:9/v1"))
    (problem,) = check(llm, EmbedConfig(engine="scripted"))
    assert "http://127.0.0.1:9/v1/models does not answer" in problem
