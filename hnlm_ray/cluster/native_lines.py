"""Lines that the native code of Ray writes to standard error although they mean nothing; every other line passes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

__all__ = ["harmless_lines_left_out", "has_descriptor"]

_HARMLESS = r"core_worker\.cc:[0-9]+: Actor with class name: .* has constructor arguments in the object store"
"""Ray Data makes each of its actors in this way; the arguments stay in the store as long as the actor."""

_FLUSH_S = 2.0


@contextlib.contextmanager
def harmless_lines_left_out() -> Iterator[None]:
    """Leave such lines out during the body.

    They bypass Python, so what is written to file descriptor 2 goes through a process of its own, which passes on the
    last words of a process that crashes, too. Python's own ``sys.stderr`` keeps writing where it wrote before, to a
    terminal for instance.
    """
    command = shutil.which("grep")
    if command is None or not has_descriptor():
        yield
        return
    sys.stderr.flush()
    direct = os.dup(2)
    filtering = subprocess.Popen(  # noqa: S603
        [command, "--text", "--line-buffered", "--invert-match", "--extended-regexp", _HARMLESS],
        stdin=subprocess.PIPE,
        stdout=direct,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C of a terminal is for the command, not for this
    )
    assert filtering.stdin is not None
    os.dup2(filtering.stdin.fileno(), 2)
    filtering.stdin.close()
    with open(direct, "w", buffering=1, errors="backslashreplace") as python, contextlib.redirect_stderr(python):
        try:
            yield
        finally:
            python.flush()
            os.dup2(direct, 2)
            with contextlib.suppress(subprocess.TimeoutExpired):
                filtering.wait(_FLUSH_S)


def has_descriptor() -> bool:
    """Whether ``sys.stderr`` is file descriptor 2: in a notebook or a test it may be something else."""
    try:
        return sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):
        return False
