"""Read, write and list the options of a configuration by dotted path, in a tree of plain dicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hnlm_ray.errors import ConfigError

__all__ = ["assign", "lookup", "walk"]


def lookup(tree: Any, path: str) -> Any:
    """The value or section at ``path``, for example ``train.workers``.

    Raises:
        KeyError: there is none.
    """
    for part in path.split("."):
        tree = tree[part]
    return tree


def assign(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set the value or section at ``path``, in place.

    Sections on the way that are missing or null are created. A section that is given by its name alone, such as
    ``sampler: dns``, is written out first: ``sampler: {name: dns}``.

    Raises:
        ConfigError: a part on the way is a number or a list, which has no options.
    """
    *parents, leaf = path.split(".")
    for part in parents:
        section = tree.get(part)
        if section is None:
            section = {}
        elif isinstance(section, str):
            section = {"name": section}
        elif not isinstance(section, dict):
            raise ConfigError(f"{path}: {part!r} is a value, not a section", "give the path of an option")
        tree[part] = section
        tree = section
    tree[leaf] = value


def walk(tree: Mapping[str, Any]) -> Iterator[str]:
    """The paths of all sections and options, each section before what is in it."""
    for key, value in tree.items():
        yield key
        if isinstance(value, dict):
            yield from (f"{key}.{path}" for path in walk(value))
