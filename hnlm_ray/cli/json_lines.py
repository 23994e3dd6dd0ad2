"""Lines of JSON: how one is written, and a process that writes one for every line that it reads.

The second is started by its path (``python json_lines.py``), for lines that libraries and native code write to standard
error, so this module needs nothing but the standard library.
"""

from __future__ import annotations

import json
import math
import sys
from datetime import UTC, datetime
from typing import Any

__all__ = ["json_line", "strict"]


def json_line(event: str, level: str, fields: dict[str, Any]) -> str:
    """One object with the time, the level, the event and its fields, on one line.

    Args:
        event: what happened.
        level: ``info``, ``warning`` or ``error``.
        fields: what there is to know of it.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps(strict({"time": now, "level": level, "event": event, **fields}), allow_nan=False) + "\n"


def strict(value: Any) -> Any:
    """The same with null for numbers that JSON does not have: NaN and the infinities."""
    if isinstance(value, dict):
        return {name: strict(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [strict(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> None:
    """Write every line of standard input as an event ``output``."""
    for line in sys.stdin.buffer:
        if said := line.decode(errors="backslashreplace").rstrip():
            sys.stdout.write(json_line("output", "warning", {"message": said}))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
