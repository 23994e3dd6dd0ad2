"""One prompt after another against a server that misbehaves: what is repeated, what is not, and when it ends."""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import itertools
import resource
import time
import zlib
from typing import Any

import pyarrow as pa
import pytest
from pydantic import SecretStr

from hnlm_ray.config.language import HttpConfig, LLMConfig, ProfilesConfig
from hnlm_ray.language.engines import pace
from hnlm_ray.language.engines.endpoint import Endpoint, route
from hnlm_ray.language.engines.fields import Fields
from hnlm_ray.language.engines.protocol import Call, Sampling
from hnlm_ray.language.engines.rendering import Reply
from hnlm_ray.language.prompts.render import Prompt
from hnlm_ray.language.requests import ItemRenderer
from tests.language.engines.endpoint_server import Answer, Asked, Server, completion, serving

KEY = "sk-test-0123456789"
BUSY = {"error": {"message": "Rate limit reached"}}


@pytest.fixture(autouse=True)
def shorter_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_FIRST_PAUSE_S", 0.05)


def ask(url: str, prompts: int = 1, user: str = "user {}", **http: Any) -> tuple[list[Reply], Endpoint]:
    """Replies to prompts that are sent together."""

    async def together() -> tuple[list[Reply], Endpoint]:
        llm_options = http.pop("llm", {})
        options: dict[str, Any] = {"concurrency": 4, "timeout_s": 5.0, "patience_s": 5.0} | http
        llm = LLMConfig(engine="http", model="some/model", http=HttpConfig(url=url, **options), **llm_options)
        renderer = ItemRenderer(pa.table({}), ProfilesConfig())
        endpoint = Endpoint(llm.http, SecretStr(KEY), Fields(llm, Call(renderer, 64, Sampling.of(llm, 0.0), 0)))
        prompts_of = [Prompt("system", user.format(number)) for number in range(prompts)]
        return list(
            await asyncio.gather(*(endpoint.ask(prompt, 7 + number) for number, prompt in enumerate(prompts_of)))
        ), endpoint

    return asyncio.run(together())


def errors(replies: list[Reply]) -> set[str]:
    return {reply.error for reply in replies}


def tries_of(server: Server, number: int) -> list[float]:
    return [asked.at for asked in server.asked if asked.user == f"user {number}"]


def test_answers_come_with_their_tokens_and_at_most_so_many_at_a_time() -> None:
    with serving(lambda asked, n: Answer(completion(prompt_tokens=7, completion_tokens=3))) as server:
        replies, _ = ask(server.url, 20)
    assert errors(replies) == {""}
    assert all(reply.final and (reply.prompt_tokens, reply.output_tokens) == (7, 3) for reply in replies)
    assert 1 < server.most_busy <= 4
    body = server.asked[0].body
    assert (body["model"], body["max_tokens"], body["temperature"], body["top_p"]) == ("some/model", 64, 0.0, 1.0)
    assert {asked.body["seed"] for asked in server.asked} == set(range(7, 27))
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["reasoning", "summary"]
    assert {asked.key for asked in server.asked} == {f"Bearer {KEY}"}


def test_penalties_are_sent_where_they_are_asked_for_and_one_that_is_refused_is_left_out() -> None:
    asked_for = {"min_p": 0.1, "top_k": 40, "repetition_penalty": 1.1, "frequency_penalty": 0.5}

    def reply(asked: Asked, number: int) -> Answer:
        refused = next((name for name in ("min_p", "repetition_penalty") if name in asked.body), None)
        if refused is None:
            return Answer()
        detail = [{"type": "extra_forbidden", "loc": ["body", refused], "msg": "Extra inputs are not permitted"}]
        return Answer({"detail": detail}, 422)

    with serving(reply) as server:
        replies, _ = ask(server.url, 6, llm=asked_for)
    assert errors(replies) == {""}
    assert "presence_penalty" not in server.asked[0].body
    last = server.asked[-1].body
    assert {name: last.get(name) for name in asked_for} == {
        "min_p": None, "top_k": 40, "repetition_penalty": None, "frequency_penalty": 0.5,
    }  # fmt: skip
    assert replies[-1].note == (
        "the endpoint refuses min_p, so its own default holds and repetition_penalty, so its own default holds"
    )


def test_a_curbed_prompt_is_sent_with_its_schema_and_the_higher_penalty() -> None:
    renderer = ItemRenderer(pa.table({}), ProfilesConfig())
    config = LLMConfig(engine="http", model="m", frequency_penalty=0.2)
    fields = Fields(config, Call(renderer, 64, Sampling.of(config, 0.7), 0, curb=0.9))
    plain = fields.of(Prompt("s", "u"), 1)
    curbed = fields.of(Prompt("s", "u", reasoning="none", curbed=True), 1)
    assert (plain["frequency_penalty"], curbed["frequency_penalty"]) == (0.2, 0.9)
    schemas = [body["response_format"]["json_schema"]["schema"] for body in (plain, curbed)]
    assert [schema["required"] for schema in schemas] == [["reasoning", "summary"], ["summary"]]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer({"error": {"message": "boom"}}, 500), "HTTP 500: boom (4 tries)"),
        (Answer(b"", 0), "the connection failed (RemoteProtocolError) (4 tries)"),
        (Answer({"error": {"message": "later", "code": 503}}), "HTTP 200 with an error 503: later (4 tries)"),
        (Answer({"error": "too long a prompt"}, 400), "HTTP 400: too long a prompt"),
        (Answer({"error": f"bad key {KEY}"}, 401), "HTTP 401: bad key ***"),
        (Answer(b"no gzip", headers={"Content-Encoding": "gzip"}), "HTTP 200 with broken gzip"),
        (Answer(gzip.compress(b"x" * 9)[:-9], headers={"Content-Encoding": "gzip"}), "HTTP 200 with broken gzip"),
        (Answer(b"x", headers={"Content-Encoding": "br"}), "content encoding that was not asked for (br)"),
        (Answer(b"x", headers={"Content-Encoding": "gzip, gzip"}), "not asked for (gzip, gzip)"),
        (Answer(b"", 204), "HTTP 204"),
        (Answer(b"", 301, {"Location": "https://elsewhere/v1"}), "HTTP 301: moved to https://elsewhere/v1"),
    ],
)
def test_a_row_that_fails_says_why_and_the_others_go_on(answer: Answer, reason: str) -> None:
    """What may pass is repeated, and what the same request would meet again is not."""
    with serving(lambda asked, n: answer if asked.user == "user 3" else Answer()) as server:
        replies, endpoint = ask(server.url, 12)
    assert [reply.error for reply in replies[:3] + replies[4:]] == [""] * 11
    assert reason in replies[3].error
    assert not replies[3].final
    assert len(tries_of(server, 3)) == (4 if "4 tries" in reason else 1)
    assert endpoint.down is None


@pytest.mark.parametrize("answer", [Answer(drips=True), Answer(b" " * (50 * 2**20)), "bomb", "deflate bomb"])
def test_no_answer_takes_more_time_or_memory_than_it_may(answer: Answer | str) -> None:
    if isinstance(answer, str):
        packer = zlib.compressobj(9, wbits=31 if answer == "bomb" else 15)
        packed = b"".join([*(packer.compress(bytes(2**24)) for _ in range(24)), packer.flush()])  # 400 MB
        answer = Answer(packed, headers={"Content-Encoding": "gzip" if answer == "bomb" else "deflate"})
    with serving(lambda asked, n: answer) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.monotonic()
        replies, _ = ask(server.url, 4, timeout_s=0.5 if answer.drips else 20.0)
        assert time.monotonic() - started < 30
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 120_000  # kB
    (error,) = errors(replies)
    assert error in ("no answer in 0.5 s (4 tries)", "HTTP 200 with more than 4,194,304 bytes")


def test_gzip_that_is_sent_all_the_same_is_unpacked() -> None:
    packed = gzip.compress(b'{"choices":[{"message":{"content":"x"}}]}')
    with serving(lambda asked, n: Answer(packed, headers={"Content-Encoding": "gzip"})) as server:
        replies, _ = ask(server.url)
    assert replies[0].text == "x"


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_holds_all_requests_and_then_fewer_are_sent(form: str) -> None:
    """A window of two seconds in which five requests are allowed."""
    begins: list[float] = []
    allowed: dict[int, int] = {}

    def limited(asked: Asked, n: int) -> Answer:
        begins.append(time.time())
        window, gone = divmod(time.time() - begins[0], 2.0)
        allowed[int(window)] = allowed.get(int(window), 0) + 1
        left = 2.0 - gone
        if allowed[int(window)] <= 5:
            return Answer()
        after = f"{left:.2f}" if form == "seconds" else email.utils.formatdate(time.time() + left + 1, usegmt=True)
        return Answer(BUSY, 429, {"Retry-After": after})

    with serving(limited) as server:
        replies, endpoint = ask(server.url, 16, concurrency=8)
    assert errors(replies) == {""}
    assert endpoint.down is None
    times = sorted(asked.at for asked in server.asked)
    assert max(later - sooner for sooner, later in itertools.pairwise(times)) > 0.9  # nobody sent in between
    assert len(times) < 16 * 2  # not every row was refused in every window


def test_a_server_that_says_wait_for_too_long_ends_it() -> None:
    with serving(lambda asked, n: Answer(BUSY, 429, {"Retry-After": "3600"})) as server:
        replies, endpoint = ask(server.url, 40)
    assert len(server.asked) <= 4
    assert endpoint.down is not None
    assert errors(replies) == {"HTTP 429: Rate limit reached"}


def test_rows_that_fail_all_together_do_not_pass_for_an_outage() -> None:
    """More of them than there are places, in front of others that are answered."""
    bad = {f"user {number}" for number in range(8, 16)}
    with serving(lambda asked, n: Answer({}, 500) if asked.user in bad else Answer()) as server:
        replies, endpoint = ask(server.url, 120, patience_s=20.0)
    assert [reply.error for reply in replies].count("") == 112
    assert endpoint.down is None


def test_an_outage_is_waited_for_within_the_patience() -> None:
    began = time.monotonic()

    def out_for_three_seconds(asked: Asked, n: int) -> Answer:
        return Answer({"error": "loading"}, 503) if n >= 4 and time.monotonic() - began < 3.5 else Answer()

    with serving(out_for_three_seconds) as server:
        replies, _ = ask(server.url, 12)
    assert errors(replies) == {""}


def test_an_outage_without_an_end_is_given_up() -> None:
    with serving(lambda asked, n: Answer() if n < 4 else Answer({"error": "gone"}, 503)) as server:
        replies, endpoint = ask(server.url, 200, patience_s=0.5)
    assert endpoint.down is not None
    assert [reply.error for reply in replies].count("") == 4
    assert len({asked.user for asked in server.asked}) < 50  # rows that come back go first: most were never sent


def test_busy_without_a_time_is_waited_for_while_others_are_answered() -> None:
    answered: list[float] = []

    def one_in_half_a_second(asked: Asked, n: int) -> Answer:
        if answered and asked.at < answered[-1] + 0.5:
            return Answer(BUSY, 429)
        answered.append(asked.at)
        return Answer()

    with serving(one_in_half_a_second) as server:
        replies, _ = ask(server.url, 6, patience_s=30.0)
    assert errors(replies) == {""}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 422])
def test_a_refusal_of_the_first_requests_ends_it_at_once(status: int) -> None:
    body = {"error": {"message": "model 'some/model' not found"}}
    with serving(lambda asked, n: Answer(body, status)) as server:
        replies, endpoint = ask(server.url, 100)
    assert len(server.asked) <= 12
    assert errors(replies) == {f"HTTP {status}: model 'some/model' not found"}
    assert endpoint.down == f"HTTP {status}: model 'some/model' not found"


def test_an_endpoint_that_is_not_there_ends_it_soon() -> None:
    replies, endpoint = ask("http://127.0.0.1:9/v1", 100)
    assert all(error.startswith("the connection failed (ConnectError)") for error in errors(replies))
    assert endpoint.down is not None


UNSUPPORTED = "Unsupported parameter: '{}' is not supported with this model."


def refusing(field: str, message: Any) -> Any:
    """A server that refuses a field of a request."""
    return lambda asked, n: Answer({"error": message}, 400) if field in asked.body else Answer()


@pytest.mark.parametrize(
    ("field", "message", "instead"),
    [
        (
            "max_tokens",
            {
                "message": UNSUPPORTED.format("max_tokens") + " Use 'max_completion_tokens' instead.",
                "param": "max_tokens",
            },
            {"max_completion_tokens": 64},
        ),
        ("seed", UNSUPPORTED.format("seed"), {}),
        ("seed", {"message": "Unknown field", "param": "seed"}, {}),
        ("seed", "property 'seed' is unsupported", {}),
        ("temperature", {"message": "Unsupported value: 'temperature' does not support 0.0 with this model."}, {}),
        ("top_p", "Unrecognized request argument supplied: top_p", {}),
        ("response_format", "response_format is not supported", {}),
    ],
)
def test_a_field_that_is_refused_is_replaced_once_and_said(field: str, message: Any, instead: dict[str, Any]) -> None:
    with serving(refusing(field, message)) as server:
        replies, _ = ask(server.url, 20)
    assert errors(replies) == {""}
    assert len(server.asked) <= 20 + 2 * 4
    last = server.asked[-1].body
    assert field not in last
    assert instead.items() <= last.items()
    (note,) = {reply.note for reply in replies}
    assert f"the endpoint refuses {field}" in note


def test_the_form_of_answers_steps_down_as_far_as_it_must() -> None:
    def schema_only_refused(asked: Asked, n: int) -> Answer:
        if asked.body.get("response_format", {}).get("type") == "json_schema":
            return Answer({"error": "'response_format.type' must be 'json_object' or 'text'"}, 400)
        return Answer()

    with serving(schema_only_refused) as server:
        replies, _ = ask(server.url, 6)
        assert errors(replies) == {""}
        assert server.asked[-1].body["response_format"] == {"type": "json_object"}
        replies, _ = ask(server.url, 1, response_format="json_schema")  # by name: nothing else is tried
    assert "must be 'json_object'" in replies[0].error


def test_several_fields_are_replaced_one_after_another() -> None:
    def picky(asked: Asked, n: int) -> Answer:
        for field in ("max_tokens", "seed", "temperature", "top_p"):
            if field in asked.body:
                return Answer({"error": {"message": UNSUPPORTED.format(field), "param": field}}, 400)
        return Answer()

    with serving(picky) as server:
        replies, _ = ask(server.url, 6)
    assert errors(replies) == {""}
    assert len({reply.note for reply in replies}) == 1


def test_words_of_a_product_are_no_field() -> None:
    """A refusal that repeats the prompt, in which a word is the name of a field."""
    body = {"error": "the text about a seed for gardens is not allowed"}
    with serving(lambda asked, n: Answer(body, 400) if asked.user == "user 0" else Answer()) as server:
        replies, _ = ask(server.url, 6)
    assert "seed for gardens" in replies[0].error
    assert all("seed" in asked.body for asked in server.asked)


def test_options_add_rename_and_drop_fields() -> None:
    added = {"seed": None, "max_tokens": None, "max_completion_tokens": 9, "provider": {"order": ["one"]}}
    with serving(lambda asked, n: Answer()) as server:
        ask(
            server.url,
            extra_body=added,
            response_format="none",
            llm={"chat_template_kwargs": {"enable_thinking": False}},
        )
        ask(server.url, max_tokens_field="max_completion_tokens", response_format="json_object")
    first, second = (asked.body for asked in server.asked)
    assert not {"seed", "max_tokens", "response_format"} & first.keys()
    assert first["max_completion_tokens"] == 9
    assert first["provider"] == {"order": ["one"]}
    assert first["chat_template_kwargs"] == {"enable_thinking": False}
    assert second["max_completion_tokens"] == 64
    assert "max_tokens" not in second
    assert second["response_format"] == {"type": "json_object"}


def test_a_prompt_that_the_server_cuts_is_noted() -> None:
    with serving(lambda asked, n: Answer(completion(prompt_tokens=2048))) as server:
        long, _ = ask(server.url, 3, user="word " * 3000)
        short, _ = ask(server.url, 3, user="word " * 1000)
    assert all("num_ctx" in reply.note for reply in long)
    assert {reply.note for reply in short} == {""}


def test_a_refused_field_and_a_cut_prompt_are_both_noted() -> None:
    def cutting(asked: Asked, n: int) -> Answer:
        refused = {"error": UNSUPPORTED.format("seed")}
        return Answer(refused, 400) if "seed" in asked.body else Answer(completion(prompt_tokens=2048))

    with serving(cutting) as server:
        (reply,), _ = ask(server.url, 1, user="word " * 3000)
    first, second = reply.note.splitlines()
    assert "refuses seed" in first
    assert "num_ctx" in second


def test_a_route_keeps_the_query_of_its_base() -> None:
    assert str(route("http://host/v1/", "models")) == "http://host/v1/models"
    assert str(route("http://host/openai/v1?api-version=1", "models")) == "http://host/openai/v1/models?api-version=1"
    assert str(route("http://host", "models")) == "http://host/models"
