"""A command that is stopped by a signal says one sentence and ends in time, with the exit code of the convention."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

SENTENCES = {
    signal.SIGINT: "hnlm: interrupted; the same command goes on where this one stopped",
    signal.SIGTERM: "hnlm: stopped by SIGTERM; the same command goes on where this one stopped",
}


def stopped(
    number: signal.Signals, body: str, patience_s: float = 30.0, *, again: bool = False
) -> tuple[int, str, float]:
    """Exit code, standard error, and seconds to the end of a process that gets a signal in a body."""
    script = (
        "import signal, sys, time\nfrom hnlm_ray.cli import endings\n"
        f"endings.PATIENCE_S = {patience_s}\nprint('there', flush=True)\n"
        "def busy():\n    print('busy', flush=True)\n    time.sleep(60)\n"
        f"with endings.errors_as_sentences():\n    {body}\n"
    )
    # A process that a shell starts in the background ignores SIGINT, and so do those that it starts.
    command = ["env", "--default-signal=INT", sys.executable, "-c", script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline() != "busy\n":
        assert process.poll() is None
    started = time.monotonic()
    process.send_signal(number)
    if again:
        time.sleep(0.3)
        process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said, time.monotonic() - started


@pytest.mark.parametrize("number", SENTENCES)
def test_a_signal_is_one_sentence(number: signal.Signals) -> None:
    code, said, _ = stopped(number, "busy()")
    assert (code, said) == (128 + number, f"\n{SENTENCES[number]}\n")


@pytest.mark.parametrize("number", SENTENCES)
@pytest.mark.parametrize(
    "raised", ["SystemExit(1)", "ValueError('while closing')", "endings.HnlmError('lost', 'wait')"]
)
def test_what_fails_while_closing_is_not_the_reason(number: signal.Signals, raised: str) -> None:
    code, said, _ = stopped(number, f"try: busy()\n    finally: raise {raised}")
    assert (code, said) == (128 + number, f"\n{SENTENCES[number]}\n")


@pytest.mark.parametrize("number", SENTENCES)
def test_what_does_not_close_is_not_waited_for(number: signal.Signals) -> None:
    code, said, seconds = stopped(number, "try: busy()\n    finally: time.sleep(50)", patience_s=1.0)
    assert (code, said) == (128 + number, f"\n{SENTENCES[number]}\n")
    assert seconds < 10


@pytest.mark.parametrize("number", SENTENCES)
def test_a_second_signal_lets_the_closing_go_on(number: signal.Signals) -> None:
    body = "try: busy()\n    finally: time.sleep(1); sys.stderr.write('closed')"
    code, said, _ = stopped(number, body, again=True)
    assert (code, said) == (128 + number, f"closed\n{SENTENCES[number]}\n")


def test_a_bug_keeps_its_traceback() -> None:
    script = "from hnlm_ray.cli.endings import errors_as_sentences\nwith errors_as_sentences(): 1 / 0"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, "ZeroDivisionError" in done.stderr) == (1, True)


def test_what_is_ignored_stays_ignored() -> None:
    script = (
        "import os, signal\nfrom hnlm_ray.cli.endings import errors_as_sentences\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "with errors_as_sentences():\n    os.kill(os.getpid(), signal.SIGINT)\n    print('went on')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "went on\n")
