"""What an engine may write per second: from the size of the model and the device, or not known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hnlm_ray.language.speed import Device, device_here, expected_speed, size_of
from tests.language.tiny_model import write_tiny_model

H100 = Device("1 x H100", 3350e9, 989e12, 0)
TWO_THREADS = Device("2 threads of a CPU", 0.0, 0.0, 2)


def test_the_size_is_that_of_the_weights(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "tiny-70B")
    size = size_of(str(folder))
    assert size is not None
    assert 0 < size.parameters < 1e6
    assert "in its weights" in size.source
    demo = size_of("demo")
    assert demo is not None
    assert demo.parameters == pytest.approx(1.0e6, rel=0.1)


@pytest.mark.parametrize(
    ("model", "millions"),
    [
        ("Qwen/Qwen3-8B", 8000),
        ("Qwen/Qwen3-0.6B", 600),
        ("some/SmolLM2-135M-Instruct", 135),
        ("meta/Llama-3.1-70b-it", 70_000),
        ("some/model", None),
        ("BAAI/bge-small-en-v1.5", None),
        ("some/Model-2Bit", None),
        ("7B/model", None),
        ("", None),
    ],
)
def test_a_model_that_is_not_here_may_have_its_size_in_its_name(model: str, millions: int | None) -> None:
    size = size_of(model)
    assert (None if size is None else size.parameters / 1e6) == millions
    assert size is None or "by its name" in size.source


def test_damaged_weights_have_no_size(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    assert size_of(str(tmp_path)) is None


@pytest.mark.parametrize(("model", "measured"), [("demo", 2722), ("some/model-42M", 439)])
def test_a_cpu_is_as_fast_as_was_measured(model: str, measured: float) -> None:
    speed = expected_speed(model, "float32", 128, TWO_THREADS)
    assert speed.tokens_per_s == pytest.approx(measured, rel=0.1)
    assert "2 threads of a CPU" in speed.basis


def test_a_gpu_is_bound_by_memory_with_few_rows_and_by_arithmetic_with_many() -> None:
    few, many, most = (expected_speed("some/m-8B", "bfloat16", rows, H100).tokens_per_s for rows in (1, 100, 100_000))
    assert few == pytest.approx(0.5 * 3350e9 / 16e9 * 0.997, rel=0.05)  # half a token per reading of the weights
    assert 50 * few < many < 100 * few
    assert most == pytest.approx(0.5 * 989e12 / 16e9, rel=0.05)
    wider = expected_speed("some/m-8B", "float32", 1, H100).tokens_per_s
    assert wider == pytest.approx(few / 2, rel=0.05)


def test_the_gpu_here_is_known_by_its_name_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_here("gpu", 2) == "this machine has no GPU to tell the speed from"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, bandwidth in (("NVIDIA H100 80GB HBM3", 3350e9), ("NVIDIA H100 PCIe", 2000e9), ("NVIDIA L40S", 864e9)):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _, name=name: name)
        device = device_here("gpu", 2, gpus=2)
        assert isinstance(device, Device)
        assert (device.bandwidth, name in device.name) == (2 * bandwidth, True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some Card")
    assert device_here("gpu", 2) == "the speed of the GPU Some Card is not known"
    assert expected_speed("some/m-8B", "auto", 8, "the speed of the GPU Some Card is not known").tokens_per_s is None
