"""Classes of one's own in a configuration: ``sampler: {class: my.module.Sampler, candidates: 8}``.

A class may also come with an installed package under a name, through an entry point of the group that
:class:`Plugged` names; the name alone then chooses it.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from hnlm_ray.config.section import CUSTOM, Section
from hnlm_ray.errors import ConfigError

__all__ = ["CustomOptions", "Plugged", "load_object", "made"]


class CustomOptions(Section):
    """What is common to the sections of classes of one's own."""

    name: Literal["custom"] = "custom"
    path: str = Field(pattern=r"^[A-Za-z_]\w*([.:][A-Za-z_]\w*)+$")
    """Of the class or function, for example ``my.module.Sampler``; ``class`` in a configuration."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What it is made with, by name; in a configuration these stand beside ``class``."""
    source: str = ""
    """A hash of the module's file, so that what was made by other code is made again; found by itself."""

    @model_validator(mode="before")
    @classmethod
    def _source_is_known(cls, values: Any) -> Any:
        """Read anew where the module is at hand, as recorded where it is not."""
        if isinstance(values, Mapping) and (found := _digest(str(values.get("path", "")))):
            return {**values, "source": found}
        return values

    def __str__(self) -> str:
        """The path and the options."""
        shown = ", ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.path}({shown})" if shown else self.path


def Plugged(group: str, known: Callable[[], Mapping[str, Any]]) -> BeforeValidator:  # noqa: N802 - used like a type
    """Accepts a name alone, a class of one's own, and the name of an entry point.

    Args:
        group: of the entry points, for example ``hnlm_ray.samplers``.
        known: the sections of the union by name, which come before entry points; none where there are only classes of
            one's own.
    """

    def read(value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            return value
        options = {key: one for key, one in value.items() if key not in ("class", "name")}
        if "class" in value:
            return {"name": CUSTOM, "path": value["class"], "options": options}
        name = value.get("name")
        if isinstance(name, str) and name not in known():
            for found in entry_points(group=group, name=name):
                return {"name": CUSTOM, "path": found.value.replace(":", "."), "options": options}
            if name != CUSTOM and not known():
                raise ValueError(
                    f"no installed package gives {name!r} in the group {group}: name a class, {{class: my.module.Name}}"
                )
        return value

    return BeforeValidator(read)


def load_object(path: str, option: str) -> Any:
    """What a path names, from an installed package or from the folder in which the command runs.

    Args:
        path: see :class:`CustomOptions`.
        option: that named it, for messages.

    Raises:
        ConfigError: there is no such module or object.
    """
    _see_working_folder()
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{option}.class={path} cannot be loaded ({type(error).__name__}: {error})",
            "name a class of an installed package, or of a module in the folder in which you run the command",
        ) from error


def made(options: CustomOptions, option: str, *inputs: Any, page: str = "docs/training.md") -> Any:
    """What a class of one's own makes of its inputs and options.

    Args:
        options: its path and its options.
        option: that named it, for messages.
        inputs: its first arguments.
        page: that says what it is made with, for messages.

    Raises:
        ConfigError: it cannot be loaded, or does not take them.
    """
    kind = load_object(options.path, option)
    try:
        inspect.signature(kind).bind(*inputs, **options.options)
    except (TypeError, ValueError) as error:
        given = ", ".join(options.options) or "no options"
        raise ConfigError(
            f"{option}.class={options.path} does not take {len(inputs)} argument(s) and {given} ({error})",
            f"see `{page}` for what it is made with",
        ) from error
    return kind(*inputs, **options.options)


def _digest(path: str) -> str:
    """Eight hex digits of the file of a module, found without importing anything; "" where there is none."""
    _see_working_folder()
    parts = path.replace(":", ".").split(".")
    for length in range(len(parts) - 1, 0, -1):
        for folder in sys.path:
            place = Path(folder or ".", *parts[:length])
            for file in (place.with_suffix(".py"), place / "__init__.py"):
                if file.is_file():
                    return hashlib.blake2b(file.read_bytes(), digest_size=4).hexdigest()
    return ""


def _see_working_folder() -> None:
    """Let modules in the working folder be imported, as ``python -m`` does and Ray's workers do."""
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)
        importlib.invalidate_caches()
