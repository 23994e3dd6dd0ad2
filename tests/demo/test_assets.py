"""Which folder the name of a model stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hnlm_ray.demo import assets


def test_demo_is_shipped_and_a_tilde_is_the_home_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert assets.resolve("~/models/e5") == "/home/somebody/models/e5"
    assert assets.resolve("organisation/model") == "organisation/model"
    for task in ("generate", "embed"):
        assert Path(assets.resolve("demo", task), "model.safetensors").is_file()
