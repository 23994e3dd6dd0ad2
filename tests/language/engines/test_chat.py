"""Whatever bytes a server sends become an answer or a reason."""

from __future__ import annotations

import email.utils
import gzip
import json
import re
import time
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.language.engines.chat import Failure, message_of, read_failure, read_reply
from hnlm_ray.language.engines.rendering import Reply, completions
from hnlm_ray.language.prompts.answers import parse

GOOD = '{"reasoning":"r","summary":"for those who care"}'


def completion(content: Any = GOOD, finish_reason: Any = "stop", usage: Any = None, **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": finish_reason}], "usage": usage}


def read(body: Any) -> Reply | Failure:
    outcome = read_reply(body if isinstance(body, bytes) else json.dumps(body).encode())
    row = outcome if isinstance(outcome, Reply) else Reply.failed(outcome.reason)
    stored = completions(pa.chunked_array([pa.array([0], pa.int64())]), [row])  # everything can be stored
    assert stored.num_rows == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", stored["error"][0].as_py())
    return outcome


def status_of(body: Any) -> str:
    said = read(body)
    assert isinstance(said, Reply)
    return parse("item_profile", said.text, said.finish_reason).status


@pytest.mark.parametrize(
    "body",
    [
        completion(),
        completion([{"type": "text", "text": GOOD}]),
        completion([{"type": "output_text", "text": GOOD[:9]}, {"type": "text", "text": GOOD[9:]}]),
        completion([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": GOOD}]),
        completion([GOOD[:9], GOOD[9:]]),
        completion({"type": "text", "text": GOOD}),
        completion({"reasoning": "r", "summary": "for those who care"}),
        completion(None, reasoning_content=GOOD),
        completion("", reasoning=GOOD),
        completion(GOOD, reasoning_content="hm, a draft: {}"),
        completion(f"<think></think>{GOOD}"),
        completion(finish_reason=5),
        completion(finish_reason=None),
        completion(finish_reason=["stop"]),
        completion(finish_reason="\ud800"),
        {"choices": [{"text": GOOD}]},
        {"choices": [{"message": {"content": GOOD}}, {"message": {"content": "another"}}], "error": None},
        json.dumps(completion()).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(completion()).encode(),
    ],
)
def test_an_answer_is_found_in_every_form(body: Any) -> None:
    assert status_of(body) == "ok"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (completion(5), "invalid"),
        (completion(True), "invalid"),
        (completion(None), "invalid"),
        (completion([]), "invalid"),
        (completion([{"type": "image_url", "image_url": {}}]), "invalid"),
        (completion(None, refusal="I will not."), "invalid"),
        (completion(None, tool_calls=[{"function": {"name": "x", "arguments": GOOD}}]), "invalid"),
        (completion(None, reasoning_content=f"a draft: {GOOD}"), "invalid"),
        (completion("\ud800"), "invalid"),
        (completion(GOOD[:-3], "length"), "truncated"),
        (completion(GOOD[:-3], "MAX_TOKENS"), "truncated"),
    ],
)
def test_an_answer_that_is_none_is_judged_like_every_other(body: Any, status: str) -> None:
    assert status_of(body) == status


@pytest.mark.parametrize(
    ("count", "kept"),
    [(7, 7), (7.0, 7), ("7", 7), (0, 0), (None, 0), (-1, 0), (2**40, 0), ("x", 0), ([7], 0), ({}, 0), (True, 1)],
)
def test_a_count_of_tokens_is_kept_if_it_can_be_one(count: Any, kept: int) -> None:
    said = read(completion(usage={"prompt_tokens": count, "completion_tokens": 3}))
    assert isinstance(said, Reply)
    assert (said.prompt_tokens, said.output_tokens) == (kept, 3)


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"NaN", b"Infinity", b"9" * 5000, b"-" + b"9" * 5000])
def test_a_number_out_of_all_bounds_costs_no_answer(number: bytes) -> None:
    body = json.dumps(completion(usage={"prompt_tokens": "HERE"})).encode().replace(b'"HERE"', number)
    said = read(body)
    assert isinstance(said, Reply)
    assert (said.text, said.prompt_tokens) == (GOOD, 0)


@pytest.mark.parametrize("usage", [None, [], 5, "many", {}, {"prompt_tokens": {}}])
def test_no_usage_costs_no_answer(usage: Any) -> None:
    said = read(completion(usage=usage))
    assert isinstance(said, Reply)
    assert (said.text, said.prompt_tokens, said.output_tokens) == (GOOD, 0, 0)


@pytest.mark.parametrize(
    ("body", "reason", "is_passing"),
    [
        (b"", "no JSON", True),
        (b'{"choices": [{"message": {"cont', "no JSON", True),
        (b"<html><head><style>p {}</style></head>Bad <b>gateway</b></html>", "no JSON instead of a chat", False),
        (b"<html>Bad gateway</html>", "Bad gateway", False),
        (b"\xff\xfe\x00\xd8", "no JSON", False),
        (b"\x80" * 200, "no JSON", False),
        (gzip.compress(b"x"), "no JSON", False),
        (b"[" * 100_000, "no JSON", False),
        (b'{"a":' * 100_000, "no JSON", True),
        (b"5", "another object", False),
        (b"null", "another object", False),
        (b'"text"', "another object", False),
        ({"ok": True}, "another object", False),
        ({"choices": None}, "another object", False),
        ({"choices": []}, "another object", False),
        ({"choices": {}}, "another object", False),
        ({"choices": [None]}, "another object", False),
        ({"choices": [{}]}, "another object", False),
        ({"choices": [{"message": None}]}, "another object", False),
        ({"choices": [{"message": {}}]}, "another object", False),
        (b'{"choices": [{"message": {"content": "a"}}], "choices": []}', "no JSON", True),
        (b'data: {"choices": [{"delta": {"content": "x"}}]}\n\ndata: [DONE]\n', "event stream", False),
        (completion("x" * 2**21), "2,097,152 characters", False),
        ({"error": {"message": "Rate limit exceeded: free-models-per-min", "code": 429}}, "Rate limit exceeded", True),
        ({"error": {"message": "Overloaded", "type": "overloaded_error"}}, "Overloaded", True),
        ({"error": {"message": "Provider returned error", "code": "502"}}, "Provider returned error", True),
        ({"error": "model is unavailable, try again"}, "model is unavailable", True),
        ({"error": {"message": "no such model", "code": 404}}, "404: no such model", False),
        ({"error": {"message": "no such model", "code": 10**40}}, "no such model", False),
        ({"error": [1, 2]}, "1, 2", False),
        ({"choices": [{"error": {"code": 503, "message": "upstream"}, "message": {"content": ""}}]}, "upstream", True),
        ({"error": {"message": "\ud800\x1b[31mred\n<|im_end|>"}}, "(31mred \u2039|im_end|\u203a", False),
    ],
)
def test_what_is_no_answer_is_a_reason(body: Any, reason: str, is_passing: bool) -> None:
    failure = read(body)
    assert isinstance(failure, Failure)
    assert failure.reason.startswith("HTTP 200 with ")
    assert reason in failure.reason
    assert failure.is_passing == is_passing
    assert len(failure.reason) < 330


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    read(body)
    message_of(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON, JSON, JSON)
def test_no_values_break_the_reader(content: Any, finish: Any, usage: Any, error: Any) -> None:
    read(completion(content, finish, {"prompt_tokens": usage, "completion_tokens": usage}))
    read(completion(content, finish, usage, reasoning_content=finish, refusal=error))
    read({"choices": [{"message": content, "finish_reason": finish}]})
    read({"choices": content, "error": error})
    read_failure(400, {"retry-after": str(content), "location": str(finish)}, json.dumps({"error": error}).encode())
    read_failure(500, {}, json.dumps({"detail": error, "message": content}).encode())


def test_content_of_any_depth_is_read() -> None:
    for depth in (10, 300, 600, 900, 2_000, 50_000):
        read(b'{"choices": [{"message": {"content": ' + b"[" * depth + b"]" * depth + b"}}]}")
        read(b'{"error": ' + b'{"message": ' * depth + b"1" + b"}" * depth + b"}")
        read_failure(400, {}, b'{"error": ' + b"[" * depth + b"]" * depth + b"}")


@pytest.mark.parametrize(
    ("status", "is_passing"),
    [(400, False), (401, False), (404, False), (422, False), (204, False), (301, False)]
    + [(status, True) for status in (408, 409, 425, 429, 500, 502, 503, 504, 529)],
)
def test_a_status_says_whether_to_ask_again(status: int, is_passing: bool) -> None:
    assert read_failure(status, {}, b"").is_passing == is_passing


@pytest.mark.parametrize(
    ("body", "says", "named"),
    [
        (b'{"error": {"message": "no max_tokens here", "param": "max_tokens"}}', "no max_tokens here", "max_tokens"),
        (b'{"error": "page not found"}', "page not found", ""),
        (b'{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs"}]}', "body.seed: Extra inputs", "seed"),
        (b'{"detail": "Not Found"}', "Not Found", ""),
        (b'{"object": "error", "message": "too long", "code": 400}', "too long", ""),
        (b"<html><title>404</title><body>\nnginx\n</body></html>", "404 nginx", ""),
        (b"404 page not found\n", "404 page not found", ""),
        (b"", "", ""),
        (b"{}", "", ""),
    ],
)
def test_the_body_of_an_error_is_quoted(body: bytes, says: str, named: str) -> None:
    assert message_of(body) == (says, named)
    assert read_failure(400, {}, body).reason == (f"HTTP 400: {says}" if says else "HTTP 400")


def test_a_redirection_names_the_place() -> None:
    failure = read_failure(308, {"location": "https://elsewhere/v1/chat/completions"}, b"<html>moved</html>")
    assert failure.reason == "HTTP 308: moved to https://elsewhere/v1/chat/completions"


def test_the_server_says_how_long_to_wait() -> None:
    assert read_failure(429, {"retry-after": "2"}, b"").wait_s == 2
    assert read_failure(503, {"retry-after": "1.5"}, b"").wait_s == 1.5
    assert read_failure(503, {"retry-after-ms": "500", "retry-after": "9"}, b"").wait_s == 0.5
    assert read_failure(429, {"retry-after": "-5"}, b"").wait_s == 0
    later = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert 28 < (read_failure(429, {"retry-after": later}, b"").wait_s or 0) <= 30
    for odd in ("soon", "", "inf", "nan", "1e999", "Mon, 99 Foo 2026 00:00:00 GMT"):
        assert read_failure(429, {"retry-after": odd}, b"").wait_s is None
    assert read_failure(400, {"retry-after": "9"}, b"").wait_s is None
