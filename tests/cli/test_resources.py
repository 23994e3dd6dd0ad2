"""What a configuration asks of the machine, against what there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from hnlm_ray.cli import main as cli
from hnlm_ray.cli import resources
from hnlm_ray.cli.resources import shortages
from hnlm_ray.cluster import connect
from hnlm_ray.config.load import load_config
from hnlm_ray.errors import HnlmError
from hnlm_ray.run.specs import planned_kinds


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster of others, and no GPU."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(connect, "local_gpus", lambda: 0)


def found(*overrides: str) -> list[str]:
    config = load_config([], overrides)
    return list(shortages(config, planned_kinds(config)))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["llm.accelerator=gpu", "llm.tensor_parallel=2"], "llm.accelerator=gpu needs 2 GPUs, this machine has 0"),
        (["embed.accelerator=gpu"], "embed.accelerator=gpu needs 1 GPUs"),
        (["train.accelerator=gpu", "train.workers=3"], "train.accelerator=gpu needs 3 GPUs"),
        (["tune.accelerator=gpu"], "tune.accelerator=gpu needs 1 GPUs"),
        (["encode.accelerator=gpu", "encode.replicas=2"], "encode.accelerator=gpu needs 2 GPUs"),
    ],
)
def test_gpus_that_are_not_there_are_named(overrides: list[str], expected: str) -> None:
    tuned = "train.variants={uniform: {}, text: {semantic: {}}, tuned: {semantic: {source: tuned}}}"
    [sentence] = found(tuned, *overrides)
    assert expected in sentence
    assert "cluster.address" in sentence
    assert not found(tuned, *overrides, "cluster.address=ray-head:6379")


def test_gpus_that_no_stage_uses_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("train.variants={mf: {backbone: mf}}", "llm.accelerator=gpu", "tune.accelerator=gpu") == []
    monkeypatch.setattr(connect, "local_gpus", lambda: 4)
    assert found("llm.accelerator=gpu", "llm.replicas=2", "llm.tensor_parallel=2", "cluster.num_cpus=16") == []


@pytest.mark.parametrize(("chosen", "expected"), [(None, 2), ("", 0), ("-1", 0), ("1", 1), ("0,1,2", 2)])
def test_the_gpus_of_this_process_are_counted(chosen: str | None, expected: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.undo()
        patch.setattr(connect.glob, "glob", lambda pattern: ["/dev/nvidia0", "/dev/nvidia1"])
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if chosen is not None:
            patch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        assert COUNT() == expected


COUNT = connect.local_gpus


def test_a_model_larger_than_the_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"w": np.zeros((1024, 1024), np.float16)}, tmp_path / "model.safetensors")
    model = f"llm.model={tmp_path}"
    assert found(model) == []
    monkeypatch.setattr(resources, "_GIB", 2**20)  # as if the model and the machine were a thousand times as large
    monkeypatch.setattr(resources.os, "sysconf", lambda name: 2**20 if name == "SC_PHYS_PAGES" else 19)
    assert found(model) == []
    [sentence] = [one for one in found(model, "llm.dtype=float32", "llm.replicas=4") if "GiB" in one]
    assert f"llm.model={tmp_path} needs 20.0 GiB for its weights and cache, this machine has 19.0" in sentence
    assert sentence.endswith("take a smaller model, or lower llm.replicas.")


def test_a_model_by_its_name_is_too_large_for_a_small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources.os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 2**21)  # 8 GiB
    [sentence] = found("llm.model=Qwen/Qwen3-8B")
    assert "llm.model=Qwen/Qwen3-8B needs 15.9 GiB for its weights and cache, this machine has 8.0" in sentence


@pytest.mark.parametrize("command", ["run", "validate", "doctor"])
def test_commands_say_so_before_anything_starts(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connect, "connected", None)
    done = CliRunner().invoke(cli.app, [command, f"run={tmp_path}", "train.accelerator=gpu"])
    said = done.output + (str(done.exception) if isinstance(done.exception, HnlmError) else "")
    assert "train.accelerator=gpu needs 1 GPUs, this machine has 0" in said
    assert done.exit_code != 0
