from __future__ import annotations

from collections.abc import Iterator

import pytest

from hnlm_ray.exchange import fetch
from tests.exchange.file_server import FileServer, serving


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server without files; nothing waits between attempts."""
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    with serving({}) as server:
        yield server


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with serving({}) as server:
        pass
    return server.address
