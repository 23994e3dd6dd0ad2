"""How configurations are laid over each other: files over files, and ``key.path=value`` over all of them.

Sections of a later file merge with those of an earlier one key by key. Every other value, a list included, replaces the
earlier value, and so does a section with another ``name``. ``train.variants`` merges as well: a later file changes a
variant or adds one, ``null`` leaves one out, and the name ``*`` stands for every variant, those that later files add
included. The default variants are there only until a file names its own; which they are depends on the data and the
models, see :mod:`hnlm_ray.config.defaults`.

An override replaces what is at its path, sections included; in ``train.variants``, ``*`` and ``null`` mean the same as
in a file.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from hnlm_ray.config.defaults import DEFAULT_VARIANTS, VARIANTS_WITH_TEXT
from hnlm_ray.config.paths import assign
from hnlm_ray.config.strict_yaml import parse_yaml
from hnlm_ray.errors import ConfigError

__all__ = ["apply_override", "as_override", "check_form", "lay_over", "without_star"]

_VARIANTS = ("train", "variants")


def lay_over(
    tree: dict[str, Any], over: dict[str, Any], defaults: Mapping[str, Any] = DEFAULT_VARIANTS
) -> dict[str, Any]:
    """Lay a file over the files before it; returns a new tree.

    Args:
        tree: the files so far.
        over: the file.
        defaults: the variants that ``*`` stands for where no file names any.
    """
    laid: dict[str, Any] = _merged(tree, over)
    changes = _variants(over)
    if changes:
        current = _variants(tree) or (deepcopy(dict(defaults)) if set(changes) == {"*"} else {})
        laid["train"]["variants"] = _changed(current, changes)
    return laid


def _merged(under: Any, over: Any) -> Any:
    if not isinstance(over, dict):
        return over
    under = {"name": under} if isinstance(under, str) else under or {}
    another = not isinstance(under, dict) or ("name" in over and over["name"] != under.get("name"))
    base = {} if another else under
    return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}


def _variants(tree: Mapping[str, Any]) -> dict[str, Any]:
    train = tree.get("train")
    variants = train.get("variants") if isinstance(train, dict) else None
    return variants if isinstance(variants, dict) else {}


def _changed(variants: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The variants after a file's ``train.variants``: first what it says of ``*``, then what it says of each.

    What all files said of ``*`` stays under that name, see :func:`without_star`.
    """
    changed = {name: _merged(options, changes.get("*", {})) for name, options in ({"*": {}} | variants).items()}
    for name, options in changes.items():
        if options is None:
            _leave_out(changed, name)
        elif name != "*":
            changed[name] = _merged(changed.get(name, changed["*"]), options)
    return changed


def without_star(tree: dict[str, Any]) -> None:
    """Take away, in place, what :func:`lay_over` kept for the variants of later files."""
    _variants(tree).pop("*", None)


def _leave_out(variants: dict[str, Any], name: str) -> None:
    if name not in variants:
        known = [other for other in variants if other != "*"]
        hint = f"write `{name}: {{}}` for one with the defaults; there are {', '.join(known) or 'none'}"
        raise ConfigError(f"train.variants.{name} is null and there is no such variant to leave out", hint)
    del variants[name]


def apply_override(
    tree: dict[str, Any],
    override: str,
    following: Sequence[str] = (),
    defaults: Mapping[str, Any] = DEFAULT_VARIANTS,
) -> None:
    """Apply ``key.path=value``, in place.

    Args:
        tree: the files so far.
        override: its value is YAML.
        following: the words after it on the command line, for the hint of an error.
        defaults: the variants that it changes where no file names any.

    Raises:
        ConfigError: the override has another form, its value is not YAML, its path leads through a plain value, or it
            sets an option of a variant that there is not and whose name is nearly that of another.
    """
    check_form(override, following)
    key, _, text = override.partition("=")
    value, parts = parse_yaml(text, f"the value of override {key}"), key.split(".")
    if (*parts[:2],) != _VARIANTS or len(parts) == 2:
        assign(tree, key, value)
        return
    train = tree.get("train") or {}
    if isinstance(train, dict) and not train.get("variants"):
        # Changing one variant keeps the others; naming one that needs a model asks for the variants with one.
        larger = (defaults, VARIANTS_WITH_TEXT, DEFAULT_VARIANTS)
        changed = next((known for known in larger if parts[2] in known), defaults)
        assign(tree, "train.variants", deepcopy(dict(changed)))
    variants = _variants(tree)
    if len(parts) > 3 and parts[2] not in (*variants, "*"):
        _refuse_typo(key, parts[2], variants)
    for name in list(variants) if parts[2] == "*" else [parts[2]]:
        if value is None and len(parts) == 3:
            _leave_out(variants, name)
        else:
            assign(tree, ".".join([*_VARIANTS, name, *parts[3:]]), deepcopy(value))


def _refuse_typo(key: str, name: str, variants: Mapping[str, Any]) -> None:
    """Refuse an option of a variant that there is not, where its name is nearly that of another."""
    if near := difflib.get_close_matches(name, variants, n=1):
        what = f"override {key}: there is no variant {name!r}, did you mean {near[0]!r}"
        raise ConfigError(what, f"write train.variants.{name}={{...}} for a new one")


def check_form(override: str, following: Sequence[str] = ()) -> None:
    """Refuse what is no ``key.path=value``, with the right form of it; the value is not looked at.

    Args:
        override: as for :func:`apply_override`.
        following: as for :func:`apply_override`.

    Raises:
        ConfigError: it has another form.
    """
    key, equals, _ = override.partition("=")
    if not equals or not key or key.startswith("-"):
        raise ConfigError(f"override {override!r} is not key.path=value", f"write {as_override(override, following)}")


def as_override(override: str, following: Sequence[str]) -> str:
    """The right form of ``--train.workers 2``, ``train.workers 2`` and the like."""
    key, equals, value = override.lstrip("-").partition("=")
    if not key or not (equals or "." in key):
        return "for example train.workers=2"
    apart = following[0] if following and "=" not in following[0] else "VALUE"
    return f"{key}={value if equals else apart}"
