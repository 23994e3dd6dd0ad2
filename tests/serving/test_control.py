"""The service as a user meets it: Ray Serve, HTTP, one start for the whole module."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hnlm_ray.cluster.ingress import free_port
from hnlm_ray.config.serving import BundleSource, ServeConfig
from hnlm_ray.errors import BundleError, ResourceError
from hnlm_ray.serving import control
from hnlm_ray.serving.http.types import BundlesAnswer, ErrorAnswer, HealthAnswer, RecommendAnswer
from hnlm_ray.serving.recommend.recommender import Recommender

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def service(ray_session: None, bundle_path: Path) -> Iterator[str]:
    port = free_port()
    # A relative path, as a user types it; the replica's working folder is another one.
    other = {"second": BundleSource(path=os.path.relpath(bundle_path))}
    url = control.start({"first": os.path.relpath(bundle_path)}, ServeConfig(port=port, max_k=50, bundles=other))
    assert url == f"http://127.0.0.1:{port}"
    try:
        yield url
    finally:
        control.stop()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))  # stop() gave it back


@pytest.fixture(scope="module")
def client(service: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service, trust_env=False, timeout=30) as client:
        yield client


def test_known_and_unknown_users_are_answered(client: httpx.Client, bundle_path: Path) -> None:
    recommender = Recommender.load(str(bundle_path))
    for user_id, source in (("u9", "personal"), ("nobody", "popular")):
        response = client.post("/v1/recommend", json={"user_id": user_id, "k": 7})
        answer = RecommendAnswer.model_validate_json(response.content)
        expected = recommender.recommend(user_id, 7)
        assert answer.source == expected.source == source
        assert [item.item_id for item in answer.items] == [item.item_id for item in expected.items]
        assert answer.bundle_version == recommender.info.version


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"user_id": "u9", "k": 0}', 422),
        ('{"user_id": "u9", "k": -1}', 422),
        ('{"user_id": "u9", "k": 1000000000}', 422),
        ('{"k": 3}', 422),
        ('{"user_id": "u9", "kk": 3}', 422),
        ('{"user_id": 9}', 422),
        ('{"user_id": "' + "x" * 300_000 + '"}', 422),
        ('{"user_id": "' + "x" * 5_000_000 + '"}', 413),
        ("{", 400),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_bad_requests_get_a_sentence_through_the_proxy(service: str, body: str, status: int) -> None:
    # On a connection of its own: after a body that was not read to its end it is closed.
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{service}/v1/recommend", content=body, headers=headers, trust_env=False, timeout=30)
    assert answer.status_code == status
    assert ErrorAnswer.model_validate_json(answer.content).error.endswith(".")


def test_health_bundles_page_and_openapi(client: httpx.Client) -> None:
    assert HealthAnswer.model_validate_json(client.get("/health").content).status == "ok"
    bundles = BundlesAnswer.model_validate_json(client.get("/v1/bundles").content).bundles
    assert [(one.name, one.share, one.users) for one in bundles] == [("first", 1.0, 40), ("second", 0.0, 40)]
    assert client.post("/v1/recommend?bundle=second", json={"user_id": "u9"}).json()["bundle"] == "second"
    assert client.get("/docs").status_code == 200
    assert "<!doctype html>" in client.get("/").text.lower()
    assert "/v1/recommend" in client.get("/openapi.json").json()["paths"]


def test_one_request_id_reaches_the_client(client: httpx.Client) -> None:
    answer = client.get("/health", headers={"x-request-id": "mine-1"})
    assert answer.headers.get_list("x-request-id") == ["mine-1"]


@pytest.mark.parametrize(
    "name", [b"a b", b"x" * 65, b"\x1b[31mred", b"\xff\xfe", b"<script>", b"a,b", b"%0d%0a"], ids=ascii
)
def test_a_request_id_that_is_no_plain_word_is_replaced(service: str, name: bytes) -> None:
    host, port = service.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as wire:
        wire.sendall(
            b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-request-id: " + name + b"\r\n\r\n"
        )
        answer = b""
        while received := wire.recv(1 << 16):
            answer += received
    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))  # the proxy itself refuses some
    assert name not in answer


def test_the_head_of_a_request_must_arrive_in_time(service: str) -> None:
    host, port = service.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=1.0) as wire:
        started, answer = time.monotonic(), b""
        wire.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\nx-slow: ")
        while not answer and time.monotonic() < started + 30:
            with contextlib.suppress(TimeoutError):
                answer = wire.recv(1 << 16)
            with contextlib.suppress(OSError):
                wire.sendall(b"a")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - started < 15


def test_the_proxy_sends_no_paths_anywhere(service: str) -> None:
    (written,) = Path(os.environ["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"]).parent.rglob("*.cfg")
    configuration = written.read_text()
    targets = [line.split() for line in configuration.splitlines() if line.strip().startswith("log ")]
    assert ["log", "127.0.0.1:514", "local0", "err", "#", "local0", "info"] in targets
    others = [words for words in targets if words[1] not in ("global", "127.0.0.1:514")]
    assert all(words[1].endswith("metrics.sock") for words in others), others


def test_a_strange_host_is_refused_through_the_proxy(client: httpx.Client) -> None:
    assert client.get("/v1/bundles", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 200


def _processes(name: bytes) -> list[int]:
    """Those whose command begins with a name; Ray's workers carry the class of their actor."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().split(b"\0")[0].rpartition(b"/")[2].startswith(name):
                found.append(int(path.parent.name))
    return found


def test_requests_go_through_haproxy_where_it_is_installed(service: str) -> None:
    assert _processes(b"haproxy")


def test_a_dead_replica_is_replaced_and_a_client_that_retries_sees_no_failure(
    service: str, client: httpx.Client
) -> None:
    (before,) = _processes(b"ray::ServeReplica")
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if client.post("/v1/recommend", json={"user_id": "u9"}).status_code == 200:
                break
        time.sleep(0.1)
    (after,) = _processes(b"ray::ServeReplica")
    assert after != before


def test_it_listens_on_the_configured_host_alone(service: str) -> None:
    port = int(service.rsplit(":", 1)[1])
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert [
        address for address in listening if address.endswith(f":{port:04X}") and address.startswith("00000000")
    ] == []


def test_a_second_service_on_the_same_cluster_is_refused(service: str, bundle_path: Path) -> None:
    with pytest.raises(ResourceError, match="runs already"):
        control.start({"main": str(bundle_path)}, ServeConfig(port=free_port()))
    assert httpx.get(f"{service}/health", trust_env=False).status_code == 200


def test_waiting_ends_when_the_service_is_gone(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "APPLICATION", "another")
    with pytest.raises(ResourceError, match="stopped from outside"):
        control.wait()


def test_waiting_goes_on_while_the_service_is_up(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(control.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        control.wait(look_every_s=0.5)
    assert looks == [0.5, 0.5, 0.5]


def test_a_damaged_bundle_is_refused_before_anything_starts(bundle_path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle_path, tmp_path / "copy"))
    (copy / "items.parquet").write_bytes(b"")
    with pytest.raises(BundleError, match=r"items\.parquet is damaged"):
        control.start({"main": str(copy)}, ServeConfig(port=free_port()))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_one_sentence(host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match=f"port {port} on {host} is in use"):
            control.require_free(host, port)


def test_a_host_of_another_machine_is_one_sentence() -> None:
    with pytest.raises(ResourceError, match=r"cannot listen on 192\.0\.2\.1:8000"):
        control.require_free("192.0.2.1", 8000)


def test_a_host_that_is_no_address_is_one_sentence() -> None:
    with pytest.raises(ResourceError, match="cannot listen on no such host"):
        control.require_free("no such host", 8000)
