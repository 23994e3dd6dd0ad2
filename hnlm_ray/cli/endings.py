"""How a command ends: with a sentence and an exit code on a user's error and on a signal, never with a traceback.

Ray's own handlers end a process with a dump of its native stack, or without a word. Here a signal becomes a
``KeyboardInterrupt``, so that everything is closed on the way out, and the process ends after :data:`PATIENCE_S` at the
latest.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType

from hnlm_ray.cli import console
from hnlm_ray.cli.log import log
from hnlm_ray.cli.packages import this_command
from hnlm_ray.cluster import ingress
from hnlm_ray.errors import HnlmError, PackageError

__all__ = ["PATIENCE_S", "errors_as_sentences"]

USER_ERROR = 2
PATIENCE_S = 8.0
"""Seconds from a signal to the end of the process, whatever has not been closed by then."""

_SENTENCES = {
    signal.SIGINT: "interrupted; the same command goes on where this one stopped",
    signal.SIGTERM: "stopped by SIGTERM; the same command goes on where this one stopped",
}


class _Stop:
    """The first signal to stop; those that follow change nothing, since the process is closing already."""

    def __init__(self) -> None:
        self.by: signal.Signals | None = None
        self._said = threading.Lock()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Called by the interpreter, in the main thread."""
        if self.by is None:
            self.by = signal.Signals(number)
            timer = threading.Timer(PATIENCE_S, self._end_now)
            timer.daemon = True
            timer.start()
            raise KeyboardInterrupt

    def end(self) -> int:
        """Print the sentence, once, and return the exit code."""
        by = self.by or signal.SIGINT
        if self._said.acquire(blocking=False):
            problem, _, remedy = _SENTENCES[by].partition("; ")
            if log.is_json:
                log.event("stopped", "error", signal=by.name, problem=problem, remedy=remedy, exit_code=128 + by)
            else:
                sys.stderr.write(f"\nhnlm: {_SENTENCES[by]}\n")
                sys.stderr.flush()
        return 128 + by

    def _end_now(self) -> None:
        """End without waiting for what does not stop; the processes of a local Ray end with this one."""
        code = self.end()
        if console.errors.is_terminal:
            console.errors.show_cursor()  # bars that are still there hide it
        ingress.remove()
        os._exit(code)


@contextlib.contextmanager
def errors_as_sentences(as_json: bool = False) -> Iterator[None]:
    """Exit with one sentence: with code 2 on a user's error, 130 on Ctrl-C, 143 on SIGTERM.

    Args:
        as_json: write lines of JSON instead, here and wherever the body has something to say. An exception that is a
            bug is then one of them, with its traceback, and the exit code is 1 as it is otherwise.
    """
    with log.as_json() if as_json else contextlib.nullcontext(), _ending():
        yield


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    stop = _Stop()
    try:
        with _handling(stop):
            yield
    except (HnlmError, ModuleNotFoundError) as error:
        if stop.by is not None:
            sys.exit(stop.end())
        said = error if isinstance(error, HnlmError) else PackageError.behind(this_command(), error)
        if said is None:
            raise
        if log.is_json:
            fields = {"problem": said.problem, "remedy": said.action, "exit_code": USER_ERROR}
            log.event("error", "error", kind=type(said).__name__, **fields)
        else:
            console.errors.print(f"hnlm: {said}", style="red")
        sys.exit(USER_ERROR)
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer turns an interrupt into an exit with 130, and Ray one with 0 or 1, without a word.
        if isinstance(end, SystemExit) and stop.by is None and end.code != 128 + signal.SIGINT:
            raise
        sys.exit(stop.end())
    except Exception as error:
        if stop.by is not None:
            sys.exit(stop.end())  # something that was being closed failed
        if not log.is_json:
            raise
        fields = {"problem": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc(), "exit_code": 1}
        log.event("bug", "error", **fields)
        sys.exit(1)


@contextlib.contextmanager
def _handling(stop: _Stop) -> Iterator[None]:
    """Let a signal call ``stop``; one that the caller has this process ignore, as ``nohup`` does, stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SENTENCES}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    finally:
        if stop.by is None:
            for number, handler in before.items():
                signal.signal(number, handler)
