"""The conditions of a machine with the core alone and unlike Linux: no fork, no shared memory, no package of an extra.

``pytest -p tests.plain_machine`` runs tests without fork and shared memory, as :func:`without_fork` does elsewhere.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from typing import Any, NoReturn

__all__ = ["CORE_ALONE", "without_extras", "without_fork"]

CORE_ALONE = "from tests.plain_machine import without_extras, without_fork; without_extras(); without_fork()\n"
"""First line of a script for a process of its own, whose working folder is the checkout."""


def pytest_configure(config: object) -> None:
    """Called by pytest, which has this module as a plugin."""
    without_fork()


def without_fork() -> None:
    """Refuse fork and shared memory in this process from now on, and let ``multiprocessing`` spawn."""
    import _posixshmem

    multiprocessing.set_start_method("spawn", force=True)
    _posixshmem.shm_open = _no_shared_memory  # type: ignore[assignment]  # no audit event tells of it
    sys.addaudithook(_refuse)


def without_extras() -> None:
    """Let every module that comes with an extra of the package be absent."""
    from hnlm_ray.errors import EXTRAS

    sys.modules.update(dict.fromkeys(module for names in EXTRAS.values() for module in names))  # type: ignore[arg-type]


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("os.fork", "os.forkpty"):
        raise OSError("this machine has no fork")
    if event == "open" and isinstance(arguments[0], str) and os.path.abspath(arguments[0]).startswith("/dev/shm/"):
        _no_shared_memory()


def _no_shared_memory(*arguments: object, **options: object) -> NoReturn:
    raise OSError("this machine has no shared memory")
