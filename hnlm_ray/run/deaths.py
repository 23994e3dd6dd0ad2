"""What Ray's errors say of a process that died, in a clause."""

from __future__ import annotations

import re
import sys

__all__ = ["did_not_start", "way_of_death"]

_DETAIL = re.compile(r"Worker exit detail: (.*?)(?:\. Some common causes|$)")


def way_of_death(error: BaseException) -> str | None:
    """How the process of a task or an actor ended that this error of Ray is about; None for any other error."""
    exceptions = sys.modules.get("ray.exceptions")  # not imported for it: an error of Ray's comes from Ray
    if exceptions is None or not isinstance(error, exceptions.RayActorError | exceptions.WorkerCrashedError):
        return None
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    detail = _DETAIL.search(lines[-1])
    return (detail[1] if detail else lines[-1]).rstrip(".")


def did_not_start(error: BaseException) -> bool:
    """Whether an actor raised something while it was made, which another attempt would raise again."""
    return bool(getattr(error, "actor_init_failed", False))
