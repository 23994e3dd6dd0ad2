"""A model folder's digest changes with every byte that decides what the model does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hnlm_ray.run import digests
from hnlm_ray.run.digests import model_digest


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    (folder / "model.safetensors").write_bytes(bytes(1 << 20))
    (folder / "vocab.txt").write_text("a\nb\n")
    return folder


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json", "model.safetensors", "vocab.txt"])
def test_the_last_byte_of_any_file_counts(model: Path, name: str) -> None:
    before = model_digest(str(model))
    content = (model / name).read_bytes()
    (model / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert model_digest(str(model)) != before


def test_files_that_decide_nothing_do_not_count(model: Path) -> None:
    before = model_digest(str(model))
    (model / "README.md").write_text("new words")
    (model / ".cache").mkdir()
    (model / ".cache" / "state.json").write_text("{}")
    assert model_digest(str(model)) == before


def test_a_name_of_a_hub_stands_for_itself() -> None:
    assert model_digest("Qwen/Qwen3-8B") == "Qwen/Qwen3-8B"


def test_large_files_are_read_once_until_they_change(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_REMEMBERED_FROM", 1 << 19)
    weights = model / "model.safetensors"
    before = model_digest(str(model))
    status = weights.stat()
    weights.write_bytes(bytes((1 << 20) - 1) + b"x")
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert model_digest(str(model)) == before, "same size and time: not read again"
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert model_digest(str(model)) != before
    (tmp_path / "cache" / "hnlm_ray" / "digests.json").write_text("damaged")
    assert model_digest(str(model)) != before
