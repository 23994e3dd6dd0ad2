"""A model by its name is looked for in the cache, and asked for once."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub
import pytest

from hnlm_ray.language.checks import check_folder
from hnlm_ray.language.hub import check_hub


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def hub(monkeypatch: pytest.MonkeyPatch, status: int, headers: dict[str, str] | None = None) -> list[str]:
    """A hub that answers with a status; returns the paths that it is asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            body = b'{"id": "some/model", "modelId": "some/model", "tags": [], "siblings": []}'
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    point_at(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    return asked


def point_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    real = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: real(endpoint=url, token=False))


def test_a_model_that_the_hub_has_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, 200)
    assert check_hub("some/model") == []
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (404, {"X-Error-Code": "RepoNotFound"}, "the hub has no model some/model; check the name"),
        (401, {"X-Error-Code": "RepoNotFound"}, "the hub has no model some/model; check the name"),
        (403, {"X-Error-Code": "GatedRepo"}, "only to those who have been granted it"),
        (503, {}, "the hub cannot be reached"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(
    status: int, headers: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = hub(monkeypatch, status, headers)
    [sentence] = check_hub("some/model")
    assert expected in sentence
    assert "\n" not in sentence
    assert len(asked) == 1


def test_without_a_network_the_answer_comes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(monkeypatch, "http://127.0.0.1:9")
    started = time.monotonic()
    [sentence] = check_folder("some/model")
    assert "neither a folder nor in the cache of Hugging Face, and the hub cannot be reached" in sentence
    assert time.monotonic() - started < 10


def test_offline_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    [sentence] = check_hub("some/model")
    assert "HF_HUB_OFFLINE is set; unset it, or give a folder" in sentence


def test_a_model_in_the_cache_is_not_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", None)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda model, name: str(tmp_path / name))
    assert check_hub("some/model") == []


@pytest.mark.parametrize("name", ["a//b", "has space/x", "x/.."])
def test_what_cannot_be_a_name_is_one_sentence(name: str) -> None:
    [sentence] = check_folder(name)
    assert sentence.endswith(".")
