"""What clients send to ``/v1/feedback`` is on the disk when they are answered, or they are told that it is not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from hnlm_ray.config.serving import ServiceOptions
from hnlm_ray.errors import StoreError
from hnlm_ray.run import places
from hnlm_ray.run.feedback import event_files, read_events
from hnlm_ray.serving.bundle.writing import write_bundle
from hnlm_ray.serving.http import feedback
from hnlm_ray.serving.http.meters import Meters
from hnlm_ray.serving.http.protocol import ASGI
from hnlm_ray.serving.http.web import web_app
from hnlm_ray.serving.recommend.live import Live
from tests.serving.conftest import ABOUT
from tests.serving.http.test_meters import value
from tests.serving.services import LocalClient, running, some_contents, until

TOKEN = {"authorization": "Bearer for-tests"}
EVENT = {"user_id": "u1", "item_id": "i2"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Live:
    folder = tmp_path_factory.mktemp("feedback") / "bundle"
    write_bundle(str(folder), some_contents(1), ABOUT)
    return Live.of({"main": str(folder)})


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HNLM_TEST_TOKEN", "for-tests")


def service(live: Live, folder: Path, **options: Any) -> ASGI:
    waits = {"feedback_wait_s": 0.02, **options}
    return web_app(live, ServiceOptions(token_env="HNLM_TEST_TOKEN", feedback=str(folder), **waits))


@pytest.fixture
def client(live: Live, tmp_path: Path) -> Iterator[LocalClient]:
    with LocalClient(service(live, tmp_path / "events"), headers=TOKEN) as client:
        yield client


def stored(folder: Path) -> pa.Table:
    return read_events(str(folder), event_files(str(folder)))


def send(client: Any, *events: dict[str, Any]) -> httpx.Response:
    answer: httpx.Response = client.post("/v1/feedback", json={"events": list(events)})
    return answer


def test_an_event_is_stored_when_it_is_answered(client: LocalClient, tmp_path: Path) -> None:
    before = time.time()
    answer = send(client, EVENT, {**EVENT, "rating": 4, "time": 1_700_000_000, "id": "mine"})
    assert (answer.status_code, answer.json()) == (200, {"stored": 2})
    plain, full = stored(tmp_path / "events").to_pylist()
    assert plain == {**plain, **EVENT, "id": None, "rating": None, "time": plain["received"]}
    assert before <= plain["received"] <= time.time()
    assert full == {**full, **EVENT, "id": "mine", "rating": 4.0, "time": 1_700_000_000.0}
    assert value(client, "hnlm_feedback_events_total", outcome="stored") == 2
    assert value(client, "hnlm_feedback_write_seconds_count") == 1


def test_users_and_items_may_be_new(client: LocalClient, tmp_path: Path) -> None:
    new = {"user_id": "日本/a\n", "item_id": "\U0001f600 ?#%2F"}
    assert send(client, new).status_code == 200
    assert stored(tmp_path / "events").select(["user_id", "item_id"]).to_pylist() == [new]


@contextlib.contextmanager
def caller(app: ASGI) -> Iterator[httpx.Client]:
    """A client of the application under a server of its own, for requests at the same time."""
    with running(app) as url, httpx.Client(base_url=url, headers=TOKEN, trust_env=False, timeout=30) as client:
        yield client


def test_events_that_arrive_together_share_a_file(live: Live, tmp_path: Path) -> None:
    with caller(service(live, tmp_path / "events", feedback_wait_s=0.5)) as client:

        def ask(number: int) -> int:
            return send(client, {**EVENT, "id": str(number)}).status_code

        with ThreadPoolExecutor(60) as pool:  # more than a replica works on at a time
            assert set(pool.map(ask, range(60))) == {200}
    assert sorted(map(int, stored(tmp_path / "events")["id"].to_pylist())) == list(range(60))
    assert 1 <= len(event_files(str(tmp_path / "events"))) <= 4


def test_waiting_requests_keep_no_other_waiting(live: Live, tmp_path: Path) -> None:
    options = {"feedback_wait_s": 1.5, "max_ongoing_requests": 1}
    with caller(service(live, tmp_path / "events", **options)) as client, ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(send, client, EVENT) for _ in range(4)]
        time.sleep(0.3)  # they have arrived
        for _ in range(3):
            assert client.post("/v1/recommend", json={"user_id": "u1"}).status_code == 200
        assert not any(one.done() for one in waiting)
        assert {one.result().status_code for one in waiting} == {200}
    assert stored(tmp_path / "events").num_rows == 4


def test_what_waits_is_stored_when_the_service_ends(tmp_path: Path) -> None:
    async def end_early() -> None:
        log = feedback.EventLog(str(tmp_path), 3600.0, Meters())
        sent = asyncio.create_task(log.add([feedback.Event(**EVENT)]))
        await asyncio.sleep(0)
        await log.close()
        await sent

    asyncio.run(end_early())
    assert stored(tmp_path).num_rows == 1


def test_many_events_are_stored_at_once(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "_ENOUGH", 1000)
    with LocalClient(service(live, tmp_path / "events", feedback_wait_s=9.0), headers=TOKEN) as client:
        started = time.monotonic()
        assert send(client, *[EVENT] * 1000).json() == {"stored": 1000}
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"user_id": "u1"}, "The field 'events[1].item_id' is missing."),
        ({**EVENT, "item": "i2"}, "The field 'events[1].item' is unknown, see /docs."),
        ({**EVENT, "user_id": ""}, "'events[1].user_id' is refused"),
        ({**EVENT, "user_id": "x" * 257}, "'events[1].user_id' is refused"),
        ({**EVENT, "item_id": 7}, "'events[1].item_id' is refused: input should be a valid string"),
        ({**EVENT, "time": -1}, "'events[1].time' is refused: input should be greater"),
        ({**EVENT, "time": 1_700_000_000_000}, "'events[1].time' is refused: input should be less"),
        ({**EVENT, "rating": "4"}, "'events[1].rating' is refused"),
        ({**EVENT, "rating": 1e39}, "'events[1].rating' is refused"),
        ({**EVENT, "id": "x" * 65}, "'events[1].id' is refused"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_one_bad_event_refuses_the_request_and_nothing_is_stored(
    client: LocalClient, tmp_path: Path, event: dict[str, Any], words: str
) -> None:
    answer = send(client, EVENT, event)
    assert answer.status_code == 422
    assert words in answer.json()["error"]
    assert stored(tmp_path / "events").num_rows == 0


@pytest.mark.parametrize("count", [0, 1001])
def test_the_number_of_events_is_bounded(client: LocalClient, count: int) -> None:
    assert send(client, *[EVENT] * count).status_code == 422


def test_the_token_is_needed(client: LocalClient, tmp_path: Path) -> None:
    assert client.post("/v1/feedback", json={"events": [EVENT]}, headers={"authorization": ""}).status_code == 401
    assert stored(tmp_path / "events").num_rows == 0


def test_a_service_without_a_folder_says_so_and_does_not_describe_the_route(live: Live) -> None:
    client = LocalClient(web_app(live))
    answer = send(client, EVENT)
    assert (answer.status_code, "serve.feedback is not set" in answer.json()["error"]) == (404, True)
    assert "/v1/feedback" not in client.get("/openapi.json").json()["paths"]
    assert "/v1/feedback" not in client.get("/docs").text


def test_the_pages_describe_an_event(client: LocalClient) -> None:
    document = client.get("/openapi.json").json()
    body = document["paths"]["/v1/feedback"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["events"]["items"] == {"$ref": "#/components/schemas/Event"}
    assert document["components"]["schemas"]["Event"]["required"] == ["user_id", "item_id"]
    page = client.get("/docs").text
    assert 'href="#Event"' in page
    assert 'id="Event"' in page
    assert "at most 4102444799" in page


def test_a_full_disk_is_told_to_each_client_and_to_the_log_and_the_next_event_is_stored(
    client: LocalClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:

        def full(_: str) -> int:
            raise OSError(28, "No space left on device")

        patch.setattr(places.Folder, "_sync", lambda self, path: full(path))
        patch.setattr(feedback._log, "propagate", True)
        answer = send(client, EVENT)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "could not be stored" in answer.json()["error"]
    assert "No space left" in caplog.text
    assert "u1" not in caplog.text
    assert value(client, "hnlm_feedback_events_total", outcome="failed") == 1
    assert os.listdir(tmp_path / "events") == []
    assert send(client, EVENT).status_code == 200
    assert stored(tmp_path / "events").num_rows == 1


def test_a_bug_leaves_nobody_waiting(client: LocalClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(feedback, "append_events", lambda *_: 1 / 0)
        assert send(client, EVENT).status_code == 503
    assert send(client, EVENT).status_code == 200


def test_storage_that_hangs_is_not_waited_for_and_memory_is_bounded(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "MOST_WAITING", 3)
    goes_on, append = threading.Event(), feedback.append_events

    def hang(*arguments: Any) -> str:
        assert goes_on.wait(30)
        return append(*arguments)

    monkeypatch.setattr(feedback, "append_events", hang)
    with LocalClient(service(live, tmp_path / "events", timeout_s=0.3), headers=TOKEN) as client:
        slow = send(client, EVENT, EVENT)
        assert (slow.status_code, "takes too long" in slow.json()["error"]) == (503, True)
        full = send(client, EVENT, EVENT)
        assert (full.status_code, "Too many events wait" in full.json()["error"]) == (503, True)
        assert value(client, "hnlm_feedback_events_total", outcome="refused") == 2
        goes_on.set()
        until(lambda: value(client, "hnlm_feedback_events_total", outcome="stored") == 2)
        assert send(client, EVENT, EVENT, EVENT).status_code == 200
    assert stored(tmp_path / "events").num_rows == 5


def test_a_folder_that_cannot_be_written_stops_the_service_at_its_start(live: Live, tmp_path: Path) -> None:
    (tmp_path / "events").write_text("a file")
    with pytest.raises(StoreError, match="events"):
        service(live, tmp_path / "events")


def test_feedback_needs_a_token_and_time_to_wait(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs token_env"):
        ServiceOptions(feedback=str(tmp_path))
    with pytest.raises(ValueError, match="less than timeout_s, which is 1"):
        ServiceOptions(feedback=str(tmp_path), token_env="T", timeout_s=1.0)
