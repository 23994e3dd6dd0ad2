"""The endpoint engine under Ray, against a server that misbehaves in known ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnlm_ray.config.language import HttpConfig, LLMConfig, ProfilesConfig
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import EngineError
from hnlm_ray.language.engines.http import HttpEngine
from hnlm_ray.language.generate import Request, Written, generate
from hnlm_ray.language.requests import ItemRenderer
from hnlm_ray.language.verdicts import answer_counts
from hnlm_ray.run.rows import Rows
from hnlm_ray.run.store import RunStore
from tests.language.engines.endpoint_server import GOOD, Answer, Asked, Server, completion, serving

pytestmark = pytest.mark.ray

KEY = "sk-test-0123456789"
OTHER = '{"reasoning":"r","summary":"for those who do not"}'
SENT: dict[str, tuple[Answer, str]] = {
    "fenced": (Answer(completion(f"```json\n{GOOD}\n```")), "ok"),
    "thoughts": (Answer(completion(f"<think>{OTHER}</think>{GOOD}")), "ok"),
    "parts": (Answer(completion([{"type": "text", "text": GOOD}])), "ok"),
    "object": (Answer(completion({"reasoning": "r", "summary": "for those who care"})), "ok"),
    "more keys": (Answer(completion(GOOD[:-1] + ',"more":1}')), "ok"),
    "huge count": (Answer(completion(prompt_tokens=2**40)), "ok"),
    "infinite count": (
        Answer(json.dumps(completion(prompt_tokens="X")).encode().replace(b'"X"', b"1e999")),
        "ok",
    ),
    "endless integer": (
        Answer(json.dumps(completion(prompt_tokens="X")).encode().replace(b'"X"', b"9" * 5000)),
        "ok",
    ),
    "finish reason a number": (Answer(completion(finish_reason=5)), "ok"),
    "finish reason a surrogate": (Answer(completion(finish_reason="\ud800")), "ok"),
    "cut": (Answer(completion('{"reas', "length")), "truncated"),
    "number": (Answer(completion(5)), "invalid"),
    "lone surrogate": (Answer(completion("\ud800\x00")), "invalid"),
    "two answers": (Answer(completion(GOOD + OTHER)), "invalid"),
    "another form": (Answer({"ok": True}), "failed"),
    "an error": (Answer({"error": {"message": "no", "code": 400}}), "failed"),
    "nested deeply": (Answer(b"[" * 100_000), "failed"),
    "HTML": (Answer(b"<html>Bad gateway</html>"), "failed"),
    "empty": (Answer(b""), "failed"),
    "50 MB": (Answer(b" " * 50 * 2**20), "failed"),
    "broken gzip": (Answer(b"no gzip", headers={"Content-Encoding": "gzip"}), "failed"),
    "bad request": (Answer({"error": f"never show this {KEY}"}, 400), "failed"),
    "always 500": (Answer({}, 500), "failed"),
    "drops": (Answer(status=0), "failed"),
    "drips": (Answer(drips=True), "failed"),
    "good": (Answer(completion(prompt_tokens=7, completion_tokens=3)), "ok"),
}


def title_of(asked: Asked) -> str:
    return str(json.loads(asked.user)["title"])


def written(url: str, titles: list[str], folder: Path, **options: Any) -> Written:
    """One stage that asks for the profile of each title."""
    size = len(titles)
    columns = {"title": titles, "brand": [""] * size, "description": [""] * size}
    items = pa.table({**columns, "categories": pa.array([[]] * size, pa.list_(pa.string()))})
    rows = pa.table({"id": pa.array(range(size), pa.int64()), "reviews": pa.array([[]] * size, pa.list_(pa.string()))})
    http = HttpConfig(url=url, concurrency=4, timeout_s=1.5, patience_s=30.0, api_key_env="TEST_ENDPOINT_KEY")
    llm = LLMConfig(engine="http", model="some/model", http=http, batch_size=8, **{"retries": 0} | options)
    output = RunStore(str(folder)).artifact("item_profiles", "test")
    request = Request(Rows.of(rows), ItemRenderer(items, ProfilesConfig()), 64)
    return generate(request, HttpEngine(llm), Config(llm=llm), output, print)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_ENDPOINT_KEY", KEY)


def test_every_kind_of_reply_becomes_a_row(ray_session: None, tmp_path: Path) -> None:
    titles = [*SENT, *["good"] * 20]
    with serving(lambda asked, n: SENT[title_of(asked)][0]) as server:
        found = written(server.url, titles, tmp_path, max_reject_rate=1.0)
    rows = found.answers.table().to_pylist()
    assert [row["id"] for row in rows] == list(range(len(titles)))
    assert {title: row["status"] for title, row in zip(titles, rows, strict=True)} == {
        title: status for title, (_, status) in SENT.items()
    }
    assert all((row["reason"] == "") == (row["status"] == "ok") for row in rows)
    assert all((row["excerpt"] != "") == (row["status"] in ("invalid", "truncated")) for row in rows)
    counts = answer_counts(found.answers.parts())
    assert sum(counts[name] for name in ("ok", "invalid", "truncated", "failed")) == len(titles)
    assert (rows[-1]["prompt_tokens"], rows[-1]["output_tokens"]) == (7, 3)
    assert any("11 of 46 prompts got no answer" in warning for warning in found.warnings)
    assert {asked.key for asked in server.asked} == {f"Bearer {KEY}"}
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert not kept


def asked_titles(server: Server) -> list[str]:
    titles = sorted(title_of(asked) for asked in server.asked)
    server.asked.clear()
    return titles


def test_only_answers_are_durable(ray_session: None, tmp_path: Path) -> None:
    """A server that fails for some rows, then for all, then for none."""
    state = {"down": {"item 3", "item 17"}}
    titles = [f"item {number}" for number in range(24)]

    def reply(asked: Asked, n: int) -> Answer:
        if title_of(asked) in state["down"]:
            return Answer({"error": {"message": "model is loading"}}, 503)
        return Answer(completion("nonsense")) if title_of(asked) == "item 5" else Answer()

    with serving(reply) as server:
        with pytest.raises(EngineError, match=r"2 of 24 prompts got no answer.*HTTP 503: model is loading"):
            written(server.url, titles, tmp_path)
        assert set(asked_titles(server)) == set(titles)
        state["down"] = set(titles)
        with pytest.raises(EngineError, match="2 of 24"):
            written(server.url, titles, tmp_path)
        assert set(asked_titles(server)) == {"item 3", "item 17"}  # all others have an answer, a rejected one too
        state["down"] = set()
        found = written(server.url, titles, tmp_path)
        assert asked_titles(server) == ["item 17", "item 3"]
        again = written(server.url, titles, tmp_path)
        assert asked_titles(server) == []
    statuses = dict(zip(titles, found.answers.table()["status"].to_pylist(), strict=True))
    assert statuses == {title: "invalid" if title == "item 5" else "ok" for title in titles}
    assert again.answers.table().equals(found.answers.table())
    assert found.warnings == ()


def test_a_few_rows_without_an_answer_are_asked_once_more_and_then_told(ray_session: None, tmp_path: Path) -> None:
    titles = [f"item {number}" for number in range(24)]
    failing = {"item 3": 4, "item 17": 1000}

    def reply(asked: Asked, n: int) -> Answer:
        title = title_of(asked)
        failing[title] = failing.get(title, 0) - 1
        return Answer(status=0) if failing[title] >= 0 else Answer()

    with serving(reply) as server:
        found = written(server.url, titles, tmp_path, max_reject_rate=0.1)
    assert [
        title for title, row in zip(titles, found.answers.table().to_pylist(), strict=True) if row["status"] != "ok"
    ] == ["item 17"]
    (warning,) = found.warnings
    assert "1 of 24 prompts got no answer" in warning
    assert "the connection failed" in warning


def test_a_refusal_of_everything_stops_the_stage_and_is_quoted(ray_session: None, tmp_path: Path) -> None:
    titles = [f"item {number}" for number in range(200)]
    refused = Answer({"error": {"message": "model 'some/model' not found"}}, 404)
    with serving(lambda asked, n: refused) as server:
        with pytest.raises(EngineError, match="HTTP 404: model 'some/model' not found"):
            written(server.url, titles, tmp_path, max_reject_rate=1.0, retries=1)
        assert len(server.asked) <= 12
        results = tmp_path / "item_profiles" / "test" / "_work" / "item_profile-0" / "results"
        assert not any(pq.read_table(results)["final"].to_pylist())


def test_what_the_server_refuses_of_a_request_is_a_warning(ray_session: None, tmp_path: Path) -> None:
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    refused = Answer({"error": {"message": message, "param": "max_tokens"}}, 400)
    with serving(lambda asked, n: refused if "max_tokens" in asked.body else Answer()) as server:
        found = written(server.url, [f"item {number}" for number in range(20)], tmp_path)
    assert set(found.answers.table()["status"].to_pylist()) == {"ok"}
    (warning,) = found.warnings
    assert "refuses max_tokens, so max_completion_tokens was sent (20 of 20 requests)" in warning
