"""What stands before every route, around small applications that are easy to reason about, and around the real one."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import io
import json
import logging
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from hnlm_ray.config.serving import ServiceOptions
from hnlm_ray.serving.http import bodies
from hnlm_ray.serving.http import guard as guard_module
from hnlm_ray.serving.http.guard import Guard, JsonLines
from hnlm_ray.serving.http.meters import Meters
from hnlm_ray.serving.http.naming import middlewares
from hnlm_ray.serving.http.web import web_app
from hnlm_ray.serving.recommend.live import Live
from tests.serving.services import LocalClient, running

ORIGIN = "https://shop.example"
PROBES = ["/health", "/ready", "/v1/health", "/v1/ready"]
PAGES = ["/", "/docs", "/openapi.json"]

Headers = Sequence[tuple[str, str]]


def guarded(
    app: Any, meters: Meters, token: str | None = None, *, sends_request_id: bool = True, **options: Any
) -> Guard:
    """An application behind a guard that sends its refusals at once, unless told otherwise."""
    checked = ServiceOptions.model_validate({"refusal_pause_s": 0.0, **options})
    return Guard(app, meters, checked, token, sends_request_id=sends_request_id)


class Answer:
    """What came out of an ASGI application."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.starts = [one for one in messages if one["type"] == "http.response.start"]
        self.status: int = self.starts[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in self.starts[0]["headers"]}
        self.body = b"".join(one.get("body", b"") for one in messages if one["type"] == "http.response.body")

    @property
    def sentence(self) -> str:
        assert self.headers["content-type"] == "application/json"
        assert int(self.headers["content-length"]) == len(self.body)
        content = json.loads(self.body)
        assert list(content) == ["error"]
        return str(content["error"])


async def send_to(app: Any, path: str = "/v1/x", headers: Headers = (), chunks: Sequence[bytes] = (b"",)) -> Answer:
    """One request, whose body comes in the given chunks."""
    sent: list[dict[str, Any]] = []
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": place < len(chunks) - 1}
        for place, chunk in enumerate(chunks)
    ]

    async def receive() -> Any:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": encoded,
        "query_string": b"", "root_path": "", "scheme": "http", "server": ("127.0.0.1", 80), "http_version": "1.1",
    }  # fmt: skip
    await app(scope, receive, send)
    return Answer(sent)


def ask(app: Any, *args: Any, **kwargs: Any) -> Answer:
    return asyncio.run(send_to(app, *args, **kwargs))


class Echo:
    """Reads the whole body and says how long it is."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client has gone")
            size, more = size + len(message["body"]), message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": str(size).encode()})


# Identity


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer secre",
        "Bearer secret2",
        "Bearer  secret",
        "secret",
        "Basic secret",
        "Bearer s\xe9cret",
    ],
)
def test_without_the_token_there_is_no_answer(given: str | None) -> None:
    echo = Echo()
    headers = [] if given is None else [("authorization", given)]
    answer = ask(guarded(echo, Meters(), token="secret"), headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Bearer TOKEN" in answer.sentence
    assert "secret" not in answer.sentence
    assert echo.asked == 0


def test_with_the_token_there_is() -> None:
    guard = guarded(Echo(), Meters(), token="secret")
    assert ask(guard, headers=[("authorization", "Bearer secret")]).status == 200
    assert (
        ask(guarded(Echo(), Meters(), token="s\xe9cret"), headers=[("authorization", "Bearer s\xc3\xa9cret")]).status
        == 200
    )


@pytest.mark.parametrize("path", PROBES + PAGES)
def test_probes_and_pages_need_no_token(path: str) -> None:
    assert ask(guarded(Echo(), Meters(), token="secret"), path).status == 200


@pytest.mark.parametrize("path", ["/metrics", "/v1/recommend", "/health/", "//health", "/v1/health/x", "/docs/x", ""])
def test_everything_else_needs_one(path: str) -> None:
    assert ask(guarded(Echo(), Meters(), token="secret"), path).status == 401


@pytest.mark.parametrize("verdict", [True, False])
def test_the_token_is_compared_in_constant_time(verdict: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    class Recorder:
        @staticmethod
        def compare_digest(left: bytes, right: bytes) -> bool:
            compared.append((left, right))
            return verdict

    assert guard_module.hmac is hmac
    monkeypatch.setattr(guard_module, "hmac", Recorder)
    answer = ask(guarded(Echo(), Meters(), token="secret"), headers=[("authorization", "Bearer guess")])
    assert compared == [(b"Bearer guess", b"Bearer secret")]
    assert (answer.status == 200) is verdict


# Names of requests


@pytest.mark.parametrize("name", ["a", "A-1_2.b", "f" * 64, "0"])
def test_a_harmless_name_of_a_request_is_kept(name: str) -> None:
    assert ask(guarded(Echo(), Meters()), headers=[("x-request-id", name)]).headers["x-request-id"] == name


@pytest.mark.parametrize("name", ["", "a b", "f" * 65, "<script>", "a\nb", "a\n", "\xe9", "../x", '"', "a:b"])
def test_any_other_name_is_replaced(name: str) -> None:
    given = ask(guarded(Echo(), Meters()), headers=[("x-request-id", name)]).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", given)


def test_ray_sees_no_name_that_is_not_plain() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["headers"])

    (middleware,) = middlewares()
    layer = middleware.cls(app)
    for value in (b"mine-1", b"a b", b"\xff", b"x" * 65, b""):
        scope = {"type": "http", "headers": [(b"host", b"h"), (b"x-request-id", value), (b"accept", b"*")]}
        asyncio.run(layer(scope, None, None))
        assert len(scope["headers"]) == 3  # the server's own scope stays as it is
    assert [b"x-request-id" in dict(headers) for headers in seen] == [True, False, False, False, False]
    assert all(dict(headers)[b"accept"] == b"*" for headers in seen)


def test_requests_without_a_name_get_different_ones_and_refusals_have_one_too() -> None:
    guard = guarded(Echo(), Meters(), token="secret")
    assert len({ask(guard, "/health").headers["x-request-id"] for _ in range(5)}) == 5
    refusal = ask(guard, headers=[("x-request-id", "mine")])
    assert (refusal.status, refusal.headers["x-request-id"]) == (401, "mine")


def test_a_server_that_names_requests_itself_is_left_to_it() -> None:
    answer = ask(guarded(Echo(), Meters(), sends_request_id=False), headers=[("x-request-id", "mine")])
    assert "x-request-id" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_application_is_told_the_name() -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.append(scope["hnlm_request_id"])
        await Echo()(scope, receive, send)

    answer = ask(guarded(app, Meters()))
    assert told == [answer.headers["x-request-id"]]


def test_every_answer_forbids_guessing_and_keeping() -> None:
    guard = guarded(Echo(), Meters(), token="secret", max_body_bytes=3)
    token = ("authorization", "Bearer secret")
    answers = [
        ask(guard, "/health"),
        ask(guard),
        ask(guard, headers=[token], chunks=[b"12345"]),
        ask(guard, headers=[token, ("content-length", "5")], chunks=[b"12345"]),
    ]
    assert [one.status for one in answers] == [200, 401, 413, 413]
    for one in answers:
        assert one.headers["x-content-type-options"] == "nosniff"
        assert one.headers["cache-control"] == "no-store"


def test_an_answer_without_headers_gets_them_too() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})  # where ASGI lets them be absent
        await send({"type": "http.response.body"})

    assert ask(guarded(app, Meters())).headers["x-content-type-options"] == "nosniff"


def test_what_is_no_request_passes() -> None:
    seen: list[Any] = []

    async def app(*given: Any) -> None:
        seen.append(given)

    given = ({"type": "lifespan"}, object(), object())
    asyncio.run(guarded(app, Meters(), token="secret")(*given))  # type: ignore[arg-type]
    assert seen == [given]


# Load


class Holding:
    """Holds every request until it is let go."""

    def __init__(self) -> None:
        self.go, self.held = asyncio.Event(), 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] not in PROBES:
            self.held += 1
            await self.go.wait()
        await Echo()(scope, receive, send)


def test_one_request_too_many_is_turned_away_and_probes_are_not() -> None:
    async def play() -> None:
        app, meters = Holding(), Meters()
        guard = guarded(app, meters, max_ongoing_requests=3)
        held = [asyncio.create_task(send_to(guard)) for _ in range(3)]
        async with asyncio.timeout(30):
            while app.held < 3:
                await asyncio.sleep(0)
        for path in ("/v1/x", "/", "/docs", "/metrics"):
            refusal = await send_to(guard, path)
            assert refusal.status == 503
            assert refusal.headers["retry-after"] == "1"
            assert "Too many requests" in refusal.sentence
        for path in PROBES:
            assert (await send_to(guard, path)).status == 200
        assert meters.registry.get_sample_value("hnlm_refused_total") == 4
        app.go.set()
        assert [one.status for one in await asyncio.gather(*held)] == [200, 200, 200]
        assert (await send_to(guard)).status == 200

    asyncio.run(play())


def test_a_refusal_waits_and_takes_no_place_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were those who wait for their refusal counted as at work, nobody would be let in until the last has gone."""
    pause, pauses = asyncio.Event(), list[float]()

    async def wait(seconds: float) -> None:
        pauses.append(seconds)
        await pause.wait()

    async def play() -> None:
        app = Holding()
        guard = guarded(app, Meters(), max_ongoing_requests=1, refusal_pause_s=0.25)
        admitted = asyncio.create_task(send_to(guard))
        await asyncio.sleep(0)
        with monkeypatch.context() as patched:
            patched.setattr(guard_module, "asyncio", SimpleNamespace(sleep=wait))
            patched.setattr(guard_module, "MAX_DELAYED_REFUSALS", 3)
            refused = [asyncio.create_task(send_to(guard)) for _ in range(5)]
            for _ in range(3):
                await asyncio.sleep(0)
            assert [one.done() for one in refused] == [False] * 3 + [True] * 2  # not more than can be held
            gone = refused.pop(0)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            app.go.set()
            assert (await admitted).status == 200
            assert (await send_to(guard)).status == 200
            pause.set()
            assert {one.status for one in await asyncio.gather(*refused)} == {503}
            app.go.clear()
            admitted = asyncio.create_task(send_to(guard))
            await asyncio.sleep(0)
            assert (await send_to(guard)).status == 503
            app.go.set()
            await admitted
        assert len(pauses) == len({*pauses}) == 4
        assert all(0.125 <= pause <= 0.375 for pause in pauses)

    asyncio.run(play())


def test_whoever_fails_is_refused_or_goes_away_leaves_room() -> None:
    async def play() -> None:
        async def broken(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/v1/broken":
                raise ZeroDivisionError
            if scope["path"] == "/v1/held":
                await asyncio.Event().wait()
            await Echo()(scope, receive, send)

        guard = guarded(broken, Meters(), max_ongoing_requests=1, max_body_bytes=3)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await send_to(guard, "/v1/broken")
            assert (await send_to(guard, chunks=[b"12345"])).status == 413
            gone = asyncio.create_task(send_to(guard, "/v1/held"))
            await asyncio.sleep(0)
            assert (await send_to(guard)).status == 503
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
        assert (await send_to(guard)).status == 200

    asyncio.run(play())


# Size


def test_a_body_as_large_as_the_bound_passes() -> None:
    guard = guarded(Echo(), Meters(), max_body_bytes=10)
    assert ask(guard, headers=[("content-length", "10")], chunks=[b"x" * 10]).body == b"10"
    assert ask(guard, chunks=[b"x" * 4, b"x" * 6]).body == b"10"


def test_one_byte_more_is_refused_before_anybody_reads_it() -> None:
    echo = Echo()
    answer = ask(guarded(echo, Meters(), max_body_bytes=10), headers=[("content-length", "11")], chunks=[b"x" * 11])
    assert (answer.status, answer.sentence) == (413, "The body is larger than 10 bytes.")
    assert answer.headers["connection"] == "close"
    assert echo.asked == 0


@pytest.mark.parametrize("length", [None, "5", "0", "abc", "-1", "1e9"])
def test_the_bytes_count_and_not_what_their_header_says(length: str | None) -> None:
    headers = [] if length is None else [("content-length", length)]
    answer = ask(guarded(Echo(), Meters(), max_body_bytes=10), headers=headers, chunks=[b"x" * 5] * 3)
    assert (answer.status, answer.sentence) == (413, "The body is larger than 10 bytes.")
    assert len(answer.starts) == 1
    assert answer.headers["connection"] == "close"


def test_nothing_of_a_body_that_is_too_large_reaches_the_application() -> None:
    echo = Echo()
    assert ask(guarded(echo, Meters(), max_body_bytes=10), chunks=[b"x" * 6] * 3).status == 413
    assert echo.asked == 0


def test_a_body_in_pieces_reaches_the_application_whole_and_then_comes_what_the_server_says_next() -> None:
    read: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        read.extend([await receive() for _ in range(2)])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    assert ask(guarded(app, Meters()), chunks=[b"x" * 4, b"", b"y" * 6]).status == 204
    assert read == [
        {"type": "http.request", "body": b"xxxxyyyyyy", "more_body": False},
        {"type": "http.disconnect"},
    ]


# Time


class SlowClient:
    """Sends its body one byte at a time, so slowly that it never ends."""

    def __init__(self) -> None:
        self.sent = 0

    async def receive(self) -> Any:
        await asyncio.sleep(0.005)
        self.sent += 1
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def ask(self, app: Any) -> Answer:
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await app({"type": "http", "method": "POST", "path": "/v1/x", "headers": []}, self.receive, send)
        return Answer(sent)


def test_a_body_must_arrive_in_time_however_often_a_byte_of_it_does() -> None:
    echo, client = Echo(), SlowClient()
    answer = asyncio.run(client.ask(guarded(echo, Meters(), timeout_s=0.1)))
    assert (answer.status, answer.sentence) == (408, "The body did not arrive in time.")
    assert answer.headers["connection"] == "close"
    assert echo.asked == 0
    assert 1 < client.sent <= 20


def test_bodies_that_arrive_slowly_take_no_place() -> None:
    guard = guarded(Echo(), Meters(), max_ongoing_requests=1, timeout_s=0.5)

    async def play() -> None:
        async with asyncio.TaskGroup() as group:
            slow = [group.create_task(SlowClient().ask(guard)) for _ in range(100)]
            await asyncio.sleep(0.02)
            assert [(await send_to(guard)).status for _ in range(5)] == [200] * 5
        assert {task.result().status for task in slow} == {408}

    asyncio.run(play())


def test_of_too_many_bodies_the_oldest_is_given_up_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MOST_ARRIVING", 3)
    guard = guarded(Echo(), Meters(), timeout_s=30)

    async def play() -> None:
        slow = []
        for _ in range(3):
            slow.append(asyncio.create_task(SlowClient().ask(guard)))
            await asyncio.sleep(0.01)
        assert not any(task.done() for task in slow)
        answers = await asyncio.gather(*(send_to(guard, chunks=[b"x", b"y"]) for _ in range(2)))
        assert [answer.status for answer in answers] == [200, 200]
        assert (await slow[0]).status == 408
        assert not slow[2].done()
        for task in slow[1:]:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        # Those that went away count no longer.
        again = [asyncio.create_task(SlowClient().ask(guard)) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in again)
        for task in again:
            task.cancel()
        await asyncio.gather(*again, return_exceptions=True)

    asyncio.run(play())


@pytest.fixture(scope="module")
def live(bundle_path: Path) -> Live:
    return Live.of({"a": str(bundle_path)})


@pytest.mark.parametrize("http", ["h11", "httptools"])
@pytest.mark.parametrize(
    "framing", [b"transfer-encoding: chunked\r\n", b"content-length: 3145728\r\n"], ids=["chunked", "length"]
)
def test_a_real_server_refuses_three_megabytes_and_closes_the_connection(live: Live, http: str, framing: bytes) -> None:
    """A client that reads before it has sent everything gets the sentence, and then the end of the connection."""
    block = b"x" * (1 << 16)
    chunk = b"%x\r\n%b\r\n" % (len(block), block) if b"chunked" in framing else block
    with (
        running(web_app(live), http) as url,
        socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as wire,
    ):
        wire.settimeout(30)
        wire.sendall(b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\n" + framing + b"\r\n")
        if b"chunked" in framing:
            for _ in range(17):
                wire.sendall(chunk)
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # which is how a connection ends that was not read to its end
            while received := wire.recv(1 << 16):
                answer += received
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(body) == {"error": "The body is larger than 1048576 bytes."}


def test_chunks_next_to_a_small_length_are_counted(live: Live) -> None:
    """H11 reads the chunks and ignores the length, as the standard says."""
    with (
        running(web_app(live), "h11") as url,
        socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as wire,
    ):
        wire.settimeout(30)
        wire.sendall(
            b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for _ in range(17):
            wire.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert wire.recv(1 << 16).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_clients_that_drip_keep_nobody_waiting_on_a_real_server(live: Live, http: str) -> None:
    """Sixty clients send the head of a request and then a byte now and then; there are eight places."""
    options = ServiceOptions(max_ongoing_requests=8, timeout_s=1.5)
    head = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with running(web_app(live, options), http) as url, contextlib.ExitStack() as wires:
        address = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        slow = [wires.enter_context(socket.create_connection(address)) for _ in range(60)]
        for wire in slow:
            wire.settimeout(30)
            wire.sendall(head + b"content-length: 100\r\n\r\n{")
        for _ in range(3):
            for wire in slow:
                wire.sendall(b" ")
            answer = httpx.post(f"{url}/v1/recommend", json={"user_id": "u3"}, trust_env=False, timeout=5)
            assert answer.status_code == 200
        for wire in slow:
            received = b""
            while more := wire.recv(1 << 16):
                received += more
            head_of_answer, _, body = received.partition(b"\r\n\r\n")
            assert head_of_answer.startswith(b"HTTP/1.1 408 ")
            assert json.loads(body) == {"error": "The body did not arrive in time."}


# Other hosts


@pytest.mark.parametrize(
    ("host", "names", "is_known"),
    [
        ("localhost", (), True),
        ("LOCALHOST:8000", (), True),
        ("localhost.:8000", (), True),
        ("app.localhost:1", (), True),
        ("127.0.0.1:8000", (), True),
        ("192.168.1.7", (), True),
        ("[::1]:8000", (), True),
        ("[::1]", (), True),
        ("evil.example", (), False),
        ("evil.example:8000", (), False),
        ("localhost.evil.example", (), False),
        ("evillocalhost", (), False),
        ("127.0.0.1.evil.example:80", (), False),
        ("127.0.0.1@evil.example", (), False),
        ("evil.example:127.0.0.1", (), False),
        ("2130706433", (), False),
        ("::1", (), False),
        ("", (), False),
        ("l\xf6calhost", (), False),
        ("Shop.Example:8000", ("shop.example",), True),
        ("shop.example", ("SHOP.example",), True),
        ("evil.shop.example", ("shop.example",), False),
        ("evil.example", ("*",), True),
    ],
)
def test_without_a_token_only_known_hosts_are_answered(host: str, names: tuple[str, ...], is_known: bool) -> None:
    echo = Echo()
    answer = ask(guarded(echo, Meters(), allowed_hosts=names), headers=[("host", host)])
    assert answer.status == (200 if is_known else 421)
    assert echo.asked == is_known
    if not is_known:
        assert "serve.allowed_hosts" in answer.sentence
        assert "evil" not in answer.sentence


@pytest.mark.parametrize("path", [*PAGES, "/v1/bundles", "/metrics"])
def test_every_page_asks_for_the_host_and_no_probe_does(live: Live, path: str) -> None:
    client = TestClient(web_app(live), base_url="http://evil.example")
    assert client.get(path).status_code == 421
    assert {client.get(probe).status_code for probe in PROBES} == {200}


def test_with_a_token_any_host_is_answered() -> None:
    guard = guarded(Echo(), Meters(), token="secret")
    headers = [("host", "evil.example"), ("authorization", "Bearer secret")]
    assert ask(guard, headers=headers).status == 200


@pytest.mark.parametrize("name", ["http://shop.example", "shop.example:8000", "", "a b", "*.shop.example", "shop."])
def test_a_name_that_no_header_carries_is_refused_as_an_option(name: str) -> None:
    with pytest.raises(ValidationError, match="allowed_hosts"):
        ServiceOptions(allowed_hosts=(name,))


# Other origins


def test_pages_of_other_origins_may_not_ask_by_default(live: Live) -> None:
    client = LocalClient(web_app(live))
    for answer in (
        client.get("/v1/version", headers={"origin": ORIGIN}),
        client.options("/v1/recommend", headers={"origin": ORIGIN, "access-control-request-method": "POST"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_pages_of_a_configured_origin_may(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HNLM_TEST_TOKEN", "secret")
    client = LocalClient(web_app(live, ServiceOptions(cors_origins=(ORIGIN,), token_env="HNLM_TEST_TOKEN")))
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    before = client.options("/v1/recommend", headers={"origin": ORIGIN, **asks})  # without a token, as browsers do
    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in before.headers["access-control-allow-methods"]
    headers = {"origin": ORIGIN, "authorization": "Bearer secret"}
    answer = client.post("/v1/recommend", json={"user_id": "u3"}, headers=headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
    refusal = client.post("/v1/recommend", json={"user_id": "u3"}, headers={"origin": ORIGIN})
    # The page must be able to read why.
    assert (refusal.status_code, refusal.headers["access-control-allow-origin"]) == (401, ORIGIN)
    other = client.post("/v1/recommend", json={}, headers={**headers, "origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in other.headers
    assert "access-control-allow-credentials" not in answer.headers


# The record


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What a replica would write."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("hnlm_ray.serving")
    before = (logger.handlers, logger.propagate, logger.level)
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    yield stream
    logger.handlers, logger.propagate, level = before
    logger.setLevel(level)


def requests_in(log: io.StringIO) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if line["message"] == "request"]


def test_a_line_has_the_name_of_the_request_and_the_template_of_its_route(live: Live, log: io.StringIO) -> None:
    client = LocalClient(web_app(live, ServiceOptions(log_requests="all")))
    client.get("/v1/users/u3", headers={"x-request-id": "mine"})
    client.get("/v1/items/none")
    client.post("/v1/recommend", json={})
    client.get("/nope")
    lines = requests_in(log)
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("GET", "/v1/users/{user_id:path}", 200),
        ("GET", "/v1/items/{item_id:path}", 404),
        ("POST", "/v1/recommend", 422),
        ("GET", "other", 404),
    ]
    assert lines[0]["request"] == "mine"
    assert len({line["request"] for line in lines}) == 4
    for line in lines:
        assert set(line) == {
            "time",
            "level",
            "logger",
            "message",
            "request",
            "method",
            "route",
            "status",
            "milliseconds",
        }
        assert (line["level"], line["logger"]) == ("INFO", "hnlm_ray.serving.requests")
        assert line["milliseconds"] >= 0


def test_no_line_and_no_metric_holds_what_was_asked(
    live: Live, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setenv("HNLM_TEST_TOKEN", "canary-token")
    options = ServiceOptions(log_requests="all", token_env="HNLM_TEST_TOKEN")
    client = LocalClient(web_app(live, options), raise_server_exceptions=False)
    headers = {
        "authorization": "Bearer canary-token",
        "cookie": "canary",
        "user-agent": "canary",
        "x-request-id": "a b",
    }
    for path in ("users/canary", "items/canary", "users?prefix=canary", "items?query=canary&bundle=canary", "canary"):
        client.get(f"/v1/{path}", headers=headers)
    bodies: dict[str, dict[str, Any]] = {
        "recommend": {"user_id": "canary", "include_items": ["canary"], "categories": ["canary"]},
        "recommend:batch": {"user_ids": ["canary"], "canary": "canary"},
        "fold-in": {"item_ids": ["canary"]},
        "profile": {"text": "canary"},
        "similar-items": {"item_id": "canary"},
        "score": {"user_id": "canary", "item_ids": ["canary"]},
        "explain": {"user_id": "canary"},
    }
    for path, body in bodies.items():
        client.post(f"/v1/{path}", json=body, headers=headers)
    client.post("/v1/recommend", content="canary", headers={**headers, "content-type": "application/json"})
    client.post("/v1/recommend", json={"user_id": "canary"}, headers={"authorization": "Bearer canary"})
    monkeypatch.setattr(live.by_name("a").recommender, "score", break_down)
    client.post("/v1/score", json={"user_id": "u3", "item_ids": ["canary"]}, headers=headers)
    metrics = client.get("/metrics", headers=headers)
    statuses = [line["status"] for line in requests_in(log)]
    assert len(statuses) == 16
    assert {200, 400, 401, 404, 409, 422, 500} == set(statuses)
    assert metrics.status_code == 200
    assert "canary" not in log.getvalue() + metrics.text


@pytest.mark.parametrize(("which", "expected"), [("all", [200, 401, 200]), ("problems", [401]), ("none", [])])
def test_which_requests_are_recorded_can_be_chosen(which: Any, expected: list[int], log: io.StringIO) -> None:
    guard = guarded(Echo(), Meters(), token="secret", log_requests=which)
    ask(guard, headers=[("authorization", "Bearer secret")])
    ask(guard)
    ask(guard, "/health")
    assert [line["status"] for line in requests_in(log)] == expected


def test_a_slow_request_is_a_problem(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = guarded(Echo(), Meters(), log_requests="problems")
    ask(guard)
    monkeypatch.setattr(guard_module, "_SLOW_S", 0.0)
    ask(guard)
    assert [line["status"] for line in requests_in(log)] == [200]


def test_a_request_that_fails_is_recorded_and_its_error_goes_on(log: io.StringIO) -> None:
    async def app(*_: Any) -> None:
        raise ZeroDivisionError

    meters = Meters()
    with pytest.raises(ZeroDivisionError):
        ask(guarded(app, meters))
    assert [line["status"] for line in requests_in(log)] == [500]
    assert meters.registry.get_sample_value("hnlm_requests_total", {"route": "other", "status": "500"}) == 1


def test_a_line_is_one_json_object_whatever_it_says() -> None:
    record = logging.LogRecord("n", logging.ERROR, "f", 1, 'two\nlines "%s" \ud800', ("é",), None)
    record.fields = {"request": "a", "where": Path("x")}
    try:
        raise ValueError("three\nlines")
    except ValueError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    line = JsonLines().format(record)
    assert "\n" not in line
    assert line.isascii()
    content = json.loads(line)
    assert (content["message"], content["level"], content["request"], content["where"]) == (
        'two\nlines "é" \ud800', "ERROR", "a", "x",
    )  # fmt: skip
    assert "three\nlines" in content["exception"]
