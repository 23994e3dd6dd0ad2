"""Options as the parameters of a tracker: flat, as text, without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hnlm_ray.config.section import without_credentials

__all__ = ["MASK", "parameters_of"]

MASK = "***"
_SECRET = re.compile(
    r"(^|[_-])(api[_-]?key|key|token|secret|password|passwd|passphrase|credentials?|auth)$", re.IGNORECASE
)
"""Names of options whose text is a secret. Names of environment variables, such as ``api_key_env``, are none."""


def parameters_of(options: Mapping[str, Any]) -> dict[str, str]:
    """Options by dotted path.

    Text under a name such as ``token`` or ``api_key`` is masked, wherever it stands, and so are credentials in an
    address. Lists of plain values are one parameter; empty sections are left out.

    Args:
        options: JSON values.
    """
    return dict(_flat(options, ""))


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _flat(_masked(str(key), one), f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(one, Mapping | list | tuple) for one in value):
        for number, one in enumerate(value):
            yield from _flat(one, f"{path}.{number}")
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        yield path, without_credentials(text)


def _masked(key: str, value: Any) -> Any:
    """The value of an option, without the texts in it where its name says that they are secret."""
    if not _SECRET.search(key):
        return value
    if isinstance(value, Mapping | list | tuple):
        return MASK
    return MASK if isinstance(value, str) and value else value
