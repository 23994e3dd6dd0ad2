"""What Ray's errors say of a process that died, in a clause."""

from __future__ import annotations

import re
import sys

__all__ = ["did_not_start", "way_of_death"]

_DETAIL = re.compile(r"Worker exit detail: (.*?)(?:\. Some common causes|$)")


def way_of_death(error: BaseException) -> str | None:
    """How the process of a task or an actor ended, or what was lost with its machine; None for any other error."""
    exceptions = sys.modules.get("ray.exceptions")  # not imported for it: an error of Ray's comes from Ray
    if exceptions is None:
        return None
    if isinstance(error, exceptions.OutOfMemoryError):
        return "its machine ran low on memory"
    if isinstance(error, exceptions.ObjectLostError | exceptions.NodeDiedError):
        return "a machine was lost, and what it had computed"
    if not isinstance(error, exceptions.RayActorError | exceptions.WorkerCrashedError):
        return None
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    detail = _DETAIL.search(lines[-1])
    return (detail[1] if detail else lines[-1]).rstrip(".")


def did_not_start(error: BaseException) -> bool:
    """Whether an actor raised something while it was made, which another attempt would raise again."""
    return bool(getattr(error, "actor_init_failed", False))
