"""From defaults, YAML and ``key.path=value`` to a configuration, and every problem as a sentence with its path."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from hnlm_ray.config.paths import assign
from hnlm_ray.config.tree import DEFAULT_VARIANTS, Config
from hnlm_ray.errors import ConfigError

__all__ = ["load_config"]


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration: defaults, then the YAML file, then the overrides.

    Args:
        path: a YAML file, or None for the defaults.
        overrides: ``key.path=value`` with the value in YAML, for example ``train.seeds=[0,1]``.

    Raises:
        ConfigError: with every problem found, each with its path.
    """
    tree: dict[str, Any] = {} if path is None else _read_yaml(Path(path))
    for override in overrides:
        _apply(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        source = "the configuration" if path is None else str(path)
        problems = " | ".join(_explain(detail) for detail in error.errors())
        raise ConfigError(f"{source}: {problems}", "mend it or see `hnlm run --help`") from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}", "see configs/ for those that exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error})", "give a readable YAML file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}", "mend that line") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}, expected sections", "see configs/demo.yaml")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r} is not key.path=value", "write for example train.workers=2")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value in {override!r} is not YAML", "quote it") from error
    train = tree.get("train") or {}
    if key.startswith("train.variants.") and isinstance(train, dict) and not train.get("variants"):
        # An override of one default variant adds to the defaults, it does not replace them.
        assign(tree, "train.variants", {name: dict(options) for name, options in DEFAULT_VARIANTS.items()})
    assign(tree, key, value)


def _explain(detail: Any) -> str:
    parts, beside = _place(detail["loc"])
    path = ".".join(parts)
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(parts[-1], beside, n=1)
        hint = f", did you mean {near[0]!r}?" if near else f", there are {', '.join(beside)}"
        return f"unknown key {path!r}{hint}"
    if detail["type"] == "union_tag_invalid":
        return f"{path}: there is no {detail['ctx']['tag']!r}, there are {detail['ctx']['expected_tags']}"
    if detail["type"] == "union_tag_not_found":
        return f"{path}: has no name, expected for example {{name: ...}}"
    message = detail["msg"].removeprefix("Value error, ")
    given = detail["input"]
    shown = f" (got {given!r})" if not isinstance(given, dict | BaseModel) else ""
    return f"{path}: {message}{shown}" if path else f"{message}{shown}"


def _place(location: Sequence[Any]) -> tuple[list[str], list[str]]:
    """The path that a user writes for an error's location, and the keys that stand beside its last part."""
    parts: list[str] = []
    section: Any = Config
    beside: list[str] = []
    for part in map(str, location):
        if isinstance(section, UnionType):
            chosen = [kind for kind in typing.get_args(section) if _name_of(kind) == part]
            if chosen:  # pydantic names the member of a union, which a user does not write
                section = chosen[0]
                continue
        parts.append(part)
        beside = list(section.model_fields) if _is_section(section) else []
        if _is_section(section):
            field = section.model_fields.get(part)
            section = field.annotation if field else None
        else:  # a dict of sections, such as train.variants: the key is free, the value has a type
            section = (typing.get_args(section) or [None])[-1]
    return parts, beside


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _name_of(kind: Any) -> Any:
    return kind.model_fields["name"].default if _is_section(kind) and "name" in kind.model_fields else None
