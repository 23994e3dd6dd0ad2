"""Reading a configuration: defaults, YAML files and ``key.path=value`` in, one checked tree out."""

from __future__ import annotations

import difflib
import os
import typing
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from types import UnionType
from typing import Any

from pydantic import BaseModel, ValidationError

from hnlm_ray.config.defaults import DEFAULT_VARIANTS, default_variants
from hnlm_ray.config.overlay import apply_override, lay_over, without_star
from hnlm_ray.config.section import without_credentials
from hnlm_ray.config.strict_yaml import parse_yaml
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError

__all__ = ["load_config", "shipped_configs"]


def load_config(
    paths: Sequence[Path] = (), overrides: Sequence[str] = (), under: Mapping[str, Any] | None = None
) -> Config:
    """Read a configuration: defaults, then each YAML file over the ones before, then the overrides.

    :mod:`hnlm_ray.config.overlay` has the rules.

    Args:
        paths: YAML files, later over earlier. A name such as ``demo`` or ``configs/demo.yaml`` that is no file here
            stands for the configuration shipped with the package.
        overrides: ``key.path=value`` with the value in YAML, for example ``train.seeds=[0,1]``.
        under: sections that the first file lies over.

    Raises:
        ConfigError: with every problem found, each with its path and where it was given.
    """
    files = [(str(path), _read(path)) for path in paths]
    base = dict(under or {})
    tree = _laid(files, overrides, DEFAULT_VARIANTS, base)
    if (defaults := default_variants(tree)) != DEFAULT_VARIANTS:
        tree = _laid(files, overrides, defaults, base)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        found: dict[str, list[str]] = {}
        for detail in error.errors():
            found.setdefault(_source(_place(detail["loc"])[0], files, overrides), []).append(_explain(detail))
        problems = " | ".join(f"{source}: {' | '.join(sentences)}" for source, sentences in found.items())
        raise ConfigError(problems, "correct it (docs/options.md and `hnlm config` describe every option)") from error


def _laid(
    files: Sequence[tuple[str, dict[str, Any]]],
    overrides: Sequence[str],
    defaults: Mapping[str, Any],
    under: dict[str, Any],
) -> dict[str, Any]:
    tree = deepcopy(under)
    for _, one in files:
        tree = lay_over(tree, one, defaults)
    without_star(tree)
    for index, override in enumerate(overrides):
        apply_override(tree, override, overrides[index + 1 :], defaults)
    return tree


def shipped_configs() -> dict[str, Path]:
    """The configurations that come with the package, by name: inside an installed package, next to it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "configs"
    folder = inside if inside.is_dir() else package.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _read(path: Path) -> dict[str, Any]:
    tree = parse_yaml(_text(path), str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}, expected sections", "see configs/demo.yaml")
    return tree


def _text(path: Path) -> str:
    try:
        return Path(os.path.expanduser(path)).read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        shipped = shipped_configs()
        if path.parent in (Path(), Path("configs")) and path.suffix in ("", ".yaml") and path.stem in shipped:
            return shipped[path.stem].read_text(encoding="utf-8")
        hint = f"give one of your own or one that is shipped: {', '.join(shipped)}"
        raise ConfigError(f"there is no configuration file {path}", hint) from error
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a null byte in the path
        raise ConfigError(f"{path} cannot be read ({error})", "give a readable YAML file") from error


def _source(parts: Sequence[str], files: Sequence[tuple[str, Any]], overrides: Sequence[str]) -> str:
    """Where the option at a path was given: an override that sets it, or else the files and overrides that touch it."""
    within = []
    for override in overrides:
        path = override.partition("=")[0]  # without the value, which may hold credentials
        key = path.split(".")
        if all(mine in (theirs, "*") for mine, theirs in zip(key, parts, strict=False)):
            within.append((len(key), f"override {path}"))
    if parts and (setting := [text for depth, text in within if depth <= len(parts)]):
        return setting[-1]
    given = {name: value for name, tree in files if (value := _given(tree, parts)) is not None}
    touching = list(given) or [name for name, _ in files]
    if given and not isinstance(given[touching[-1]], dict):
        touching = touching[-1:]  # a value is the last file's alone
    return " and ".join([*touching, *(text for _, text in within if parts)]) or "the configuration"


def _given(tree: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        if not isinstance(tree, dict):
            break
        tree = tree.get(part, tree.get("*"))
    return tree


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
    shown = f" (got {without_credentials(repr(given))})" if not isinstance(given, dict | BaseModel) else ""
    return f"{path}: {message}{shown}" if path else f"{message}{shown}"


def _place(location: Sequence[Any]) -> tuple[list[str], list[str]]:
    """The path that a user writes for an error's location, and the keys that stand beside its last part."""
    parts: list[str] = []
    section: Any = Config
    beside: list[str] = []
    for part in map(str, location):
        if isinstance(section, UnionType):
            members = [kind for kind in typing.get_args(section) if _is_section(kind)]
            chosen = [kind for kind in members if _name_of(kind) == part]
            if chosen:  # pydantic names the member of a union, which a user does not write
                section = chosen[0]
                continue
            if len(members) == 1:  # a section or null
                section = members[0]
        parts.append(part)
        beside = list(section.model_fields) if _is_section(section) else []
        if _is_section(section):
            field = section.model_fields.get(part)
            section = field.annotation if field else None
        else:  # a dict or a list of sections, such as train.variants: the key is free, the value has a type
            kinds = [kind for kind in typing.get_args(section) if kind is not Ellipsis]
            section = (kinds or [None])[-1]
    return parts, beside


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _name_of(kind: Any) -> Any:
    return kind.model_fields["name"].default if _is_section(kind) and "name" in kind.model_fields else None
