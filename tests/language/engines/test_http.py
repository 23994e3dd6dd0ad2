"""The endpoint engine against a server that misbehaves in known ways."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hnlm_ray.config.language import EmbedConfig, HttpConfig, LLMConfig, ProfilesConfig
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import EngineError
from hnlm_ray.language.checks import check
from hnlm_ray.language.engines.http import HttpEngine, api_key
from hnlm_ray.language.generate import Request, generate
from hnlm_ray.language.requests import ItemRenderer
from hnlm_ray.run.store import RunStore

KINDS = ("good", "busy once", "always 500", "bad request", "not a completion", "cut", "drops")
KEY = "sk-test-0123456789"


class Server(ThreadingHTTPServer):
    """Behaves by the title in the prompt."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.tries: Counter[str] = Counter()
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
            server.tries[kind] += 1
            tries = server.tries[kind]
            server.busy += 1
            server.most_busy = max(server.most_busy, server.busy)
        threading.Event().wait(0.02)
        with server.lock:
            server.busy -= 1
        good = {"message": {"content": '{"reasoning":"r","summary":"s"}'}, "finish_reason": "stop"}
        if kind == "busy once" and tries == 1:
            self.reply(429, {})
        elif kind == "always 500":
            self.reply(500, {"error": "boom"})
        elif kind == "bad request":
            self.reply(400, {"error": f"never show this {KEY}"})
        elif kind == "not a completion":
            self.reply(200, {"ok": True})
        elif kind == "cut":
            self.reply(200, {"choices": [{"message": {"content": '{"reas'}, "finish_reason": "length"}]})
        elif kind == "drops":
            self.close_connection = True
            self.connection.close()
        else:
            self.reply(200, {"choices": [good], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})

    def reply(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
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
    options = HttpConfig(url=server.url, concurrency=4, timeout_s=5, **http)
    return LLMConfig(engine="http", model="some/model", http=options, retries=0, max_reject_rate=1.0, batch_size=8)


@pytest.mark.ray
def test_every_kind_of_reply_becomes_a_row(
    ray_session: None, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_ENDPOINT_KEY", KEY)
    titles = [*KINDS, *["good"] * 20]
    items = pa.table(
        {"title": titles, "brand": [""] * 27, "categories": [[]] * 27, "description": [""] * 27},
        schema=pa.schema(
            {
                "title": pa.string(),
                "brand": pa.string(),
                "categories": pa.list_(pa.string()),
                "description": pa.string(),
            }
        ),
    )
    rows = pa.table({"id": pa.array(range(27), pa.int64()), "reviews": pa.array([[]] * 27, pa.list_(pa.string()))})
    llm = config(server, api_key_env="TEST_ENDPOINT_KEY")
    output = RunStore(str(tmp_path)).artifact("item_profiles", "test")
    request = Request(rows, ItemRenderer(items, ProfilesConfig()), 64)
    answers = generate(request, HttpEngine(llm), Config(llm=llm), output, lambda line: None).to_pylist()
    assert [row["status"] for row in answers[:7]] == ["ok", "ok", "failed", "failed", "failed", "truncated", "failed"]
    assert [row["status"] for row in answers[7:]] == ["ok"] * 20
    assert server.tries["busy once"] == 2
    assert server.tries["always 500"] == 4  # tried again, and then given up
    assert server.tries["bad request"] == 1  # the same again would be refused again
    assert "HTTP 500" in answers[2]["reason"]
    assert (answers[0]["prompt_tokens"], answers[0]["output_tokens"]) == (7, 3)
    assert server.keys == {f"Bearer {KEY}"}
    assert 1 < server.most_busy <= 4
    body = server.bodies[0]
    assert body["model"] == "some/model"
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["reasoning", "summary"]
    assert len({body["seed"] for body in server.bodies if "good" in body["messages"][-1]["content"]}) == 21
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
    assert api_key(config(server)) is None


def test_an_endpoint_that_is_not_there_is_said_so() -> None:
    llm = LLMConfig(engine="http", http=HttpConfig(url="http://127.0.0.1:9/v1"))
    (problem,) = check(llm, EmbedConfig(engine="scripted"))
    assert "http://127.0.0.1:9/v1/models does not answer" in problem
