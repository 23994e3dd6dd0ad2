"""``--log-format json``: what happens in a command, as lines of JSON on standard error instead of sentences."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, TextIO, get_type_hints

import typer

from hnlm_ray.cli import json_lines
from hnlm_ray.errors import ConfigError

__all__ = ["asks_for_json", "log", "run_app", "with_log_format"]

OPTION = "--log-format"
LogFormat = Annotated[
    Literal["text", "json"],
    typer.Option(OPTION, help="How progress and problems are written to standard error: as text or as lines of JSON."),
]
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Typer's error of a command line that it cannot read; of its kinds this one alone has a public name."""
_FLUSH_S = 2.0


class Log:
    """Writes events as JSON while :meth:`as_json` lasts; before and after it, nobody should.

    Attributes:
        is_json: whether events are written.
    """

    def __init__(self) -> None:
        self.is_json = False
        self._stream: TextIO | None = None
        self._lock = threading.Lock()

    def event(self, event: str, level: Literal["info", "warning", "error"] = "info", **fields: Any) -> None:
        """Write an event and its fields on one line."""
        line = json_lines.json_line(event, level, fields)
        with self._lock:
            stream = self._stream or sys.stderr
            stream.write(line)
            stream.flush()

    @contextlib.contextmanager
    def as_json(self) -> Iterator[None]:
        """Write events during the body, and have whatever else is written to standard error be events, too."""
        self.is_json = True
        try:
            with _others_as_events() as self._stream:
                yield
        finally:
            self.is_json, self._stream = False, None


log = Log()
"""That of this process."""


@contextlib.contextmanager
def _others_as_events() -> Iterator[TextIO | None]:
    """Give the stream to write events to; None where ``sys.stderr`` is not that of the process, as in a test.

    Lines of others reach file descriptor 2, which leads to a process of its own: it passes on the last words of a
    process that crashes, too.
    """
    from hnlm_ray.cluster.native_lines import has_descriptor

    if not has_descriptor():
        yield None
        return
    sys.stderr.flush()
    direct = os.dup(2)
    command = [sys.executable, "-I", "-S", json_lines.__file__]
    # A session of its own: Ctrl-C of a terminal is for the command, not for this.
    writing = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=direct, start_new_session=True)  # noqa: S603
    assert writing.stdin is not None
    os.dup2(writing.stdin.fileno(), 2)
    writing.stdin.close()
    with open(direct, "w", buffering=1, encoding="utf-8") as own:
        try:
            yield own
        finally:
            sys.stderr.flush()
            os.dup2(direct, 2)
            with contextlib.suppress(subprocess.TimeoutExpired):
                writing.wait(_FLUSH_S)


def asks_for_json(words: Sequence[str]) -> bool:
    """Whether a command line asks for lines of JSON; looked at before it is read, since it may be wrong elsewhere."""
    given = [word.removeprefix(f"{OPTION}=") for word in words if word.startswith(f"{OPTION}=")]
    given += [value for word, value in itertools.pairwise(words) if word == OPTION]
    return "json" in given


def with_log_format(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the option ``--log-format``, which :func:`asks_for_json` has looked at before."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, log_format: str = "text", **options: Any) -> None:
        command(*arguments, **options)

    hints = get_type_hints(command, include_extras=True)
    own = inspect.signature(command).parameters.values()
    known = [one.replace(annotation=hints[one.name]) for one in own]
    option = inspect.Parameter("log_format", inspect.Parameter.KEYWORD_ONLY, default="text", annotation=LogFormat)
    wrapped.__signature__ = inspect.Signature([*known, option])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {**hints, "log_format": LogFormat}
    return wrapped


def run_app(app: typer.Typer) -> None:
    """Run a command line; where events are written, an error of the command line is an error like any other.

    Raises:
        ConfigError: the command line cannot be read.
    """
    if not log.is_json:
        app()
        return
    try:
        code = app(standalone_mode=False)
    except _UsageError as error:
        raise ConfigError(error.format_message(), "see `--help`") from error  # type: ignore[attr-defined]
    sys.exit(code if isinstance(code, int) else 0)
