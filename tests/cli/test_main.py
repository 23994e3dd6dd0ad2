"""How a command ends: 0, 2 with a user's error, 130 when interrupted; and never with a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hnlm_ray.cli import main as cli
from hnlm_ray.cli import runs
from hnlm_ray.cluster.ingress import free_port
from hnlm_ray.errors import StoreError
from tests.cli.small_run import write_small_run


def ending(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """The exit code of a command."""
    monkeypatch.setattr("sys.argv", ["hnlm", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def raising(error: BaseException) -> object:
    def raise_it(*arguments: object, **options: object) -> None:
        raise error

    return raise_it


def test_a_command_that_is_done_ends_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ending(monkeypatch, "--version") == 0


def test_an_error_of_the_user_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "run_stages", raising(StoreError("runs/[a] is read-only", "give another run=")))
    assert ending(monkeypatch, "run") == 2
    assert capsys.readouterr().err == "hnlm: runs/[a] is read-only; give another run=.\n"


def test_an_interrupt_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(runs, "run_stages", raising(KeyboardInterrupt()))
    assert ending(monkeypatch, "run") == 130
    assert capsys.readouterr().err == "\nhnlm: interrupted; the same command goes on where this one stopped\n"


def test_an_unknown_option_is_an_error_of_the_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(monkeypatch, "run", "--worker=2") == 2
    assert "--worker" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--train.workers", "2"), ("--train.workers=2", "seed=1")])
def test_an_option_of_the_configuration_with_dashes_is_shown_without(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(monkeypatch, "run", *words) == 2
    assert capsys.readouterr().err == f"hnlm: there is no option {words[0]}; write train.workers=2.\n"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "run_stages", raising(ZeroDivisionError()))
    monkeypatch.setattr("sys.argv", ["hnlm", "run"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


LONG = "train.variants={mf: {backbone: mf, epochs: 100000, patience: 100000}}"
SMALL = "data.demo={users: 60, items: 48, interactions: 900}"


def check_a_signal(
    words: list[str], ready: str, number: signal.Signals, whom: Callable[[int, int], None], said: str
) -> None:
    """Send a signal to a command one second after it prints ``ready``, and check how it ends."""
    # A Ray of its own in a short path, since sockets lie in it; not that of the session.
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    places = [tempfile.mkdtemp(prefix="hnlm", dir="/tmp") for _ in range(2)]
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": places[0], "TMPDIR": places[1]}
    process = subprocess.Popen(
        [sys.executable, "-m", "hnlm_ray.cli.main", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines: list[str] = []

    def listen() -> None:
        assert process.stdout is not None
        lines.extend(iter(process.stdout.readline, ""))

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    try:
        while process.poll() is None and not any(ready in line for line in lines):
            time.sleep(0.05)
        time.sleep(1.0)
        started = time.monotonic()
        whom(process.pid, number)
        code = process.wait(90)
        seconds = time.monotonic() - started
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    reader.join(10)
    assert code == 128 + number, "".join(lines)
    assert lines[-1] == f"hnlm: {said}; the same command goes on where this one stopped\n"
    assert not [word for word in ("Traceback", "***", "core_worker.cc") if word in "".join(lines)]
    assert seconds < 12
    assert [path for path in Path(places[1]).iterdir() if path.name.startswith("hnlm")] == []


@pytest.mark.ray
@pytest.mark.parametrize(
    ("stage", "more", "number", "whom", "said"),
    [
        # A terminal sends the signal to the whole process group, workers included; a supervisor to the process.
        ("item_profiles", "llm.engine=scripted", signal.SIGINT, os.killpg, "interrupted"),
        ("train.mf.s0", LONG, signal.SIGINT, os.killpg, "interrupted"),
        ("train.mf.s0", LONG, signal.SIGTERM, os.kill, "stopped by SIGTERM"),
    ],
)
def test_a_signal_in_a_stage_ends_the_run_with_the_sentence(
    stage: str, more: str, number: signal.Signals, whom: Callable[[int, int], None], said: str, tmp_path: Path
) -> None:
    check_a_signal(["run", f"run={tmp_path / 'run'}", SMALL, more], f"▸ {stage}\n", number, whom, said)


@pytest.mark.ray
@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "stopped by SIGTERM")])
def test_a_signal_ends_the_service_with_the_sentence(number: signal.Signals, said: str, tmp_path: Path) -> None:
    write_small_run(tmp_path / "run")
    words = ["serve", str(tmp_path / "run"), f"serve.port={free_port()}"]
    check_a_signal(words, "The web page is at", number, os.kill, said)


@pytest.mark.parametrize(
    "command", ["run", "search", "validate", "estimate", "status", "doctor", "config", "serve", "report", "demo"]
)
def test_every_command_shows_the_form_without_dashes(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(monkeypatch, command, "--train.workers", "2") == 2
    assert capsys.readouterr().err == "hnlm: there is no option --train.workers; write train.workers=2.\n"
