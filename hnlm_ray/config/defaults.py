"""Defaults that depend on the data: models that come with the package, variants, and what an item is called.

The package's own models know the generated catalogue and nothing else. They are the default on the demo's data; on any
other, only models that the configuration names are used, and without a language model the default variants need none.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from pydantic import BaseModel

__all__ = ["DEFAULT_VARIANTS", "VARIANTS_WITHOUT_MODEL", "completed", "default_variants"]

DEFAULT_VARIANTS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "hnlm": {"semantic": {"mixing": {"share": 0.1}, "contrast": {"weight": 0.001}}},
}
"""What is trained where the configuration names no variants and there is a language model."""

VARIANTS_WITHOUT_MODEL: dict[str, dict[str, Any]] = {
    "uniform": {},
    "dns": {"sampler": {"name": "dns", "candidates": 8}},
}
"""What is trained where the configuration names neither variants nor a language model."""

_MODELS = ("llm", "embed", "tune")
_NOUNS = {"movielens": "film", "yelp": "place"}
"""What the items of a format are; products where nothing is said."""


def default_variants(tree: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A copy of the variants that a configuration stands for where it names none.

    Args:
        tree: the sections that are given, each as a mapping or as its model.
    """
    has_model = _option(tree, "llm", "model", _shipped(tree)) or _option(tree, "llm", "engine", "vllm") != "vllm"
    return deepcopy(DEFAULT_VARIANTS if has_model else VARIANTS_WITHOUT_MODEL)


def completed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that are given, with the default models and variants written into them.

    Args:
        tree: as for :func:`default_variants`; it is not changed.
    """
    found = dict(tree)
    for section in _MODELS:
        _set_default(found, section, "model", _shipped(tree))
    if noun := _NOUNS.get(_option(tree, "data", "format", "demo")):
        _set_default(found, "data", "noun", noun)
    _set_default(found, "train", "variants", default_variants(tree))
    return found


def _shipped(tree: Mapping[str, Any]) -> str:
    return "demo" if _option(tree, "data", "format", "demo") == "demo" else ""


def _given(tree: Mapping[str, Any], section: str) -> Mapping[str, Any] | None:
    """What a section sets; None where it is no section, which validation refuses."""
    given = tree.get(section, {})
    if isinstance(given, BaseModel):
        return {name: getattr(given, name) for name in given.model_fields_set}
    return given if isinstance(given, Mapping) else None


def _option(tree: Mapping[str, Any], section: str, name: str, default: Any) -> Any:
    return (_given(tree, section) or {}).get(name, default)


def _set_default(tree: dict[str, Any], section: str, name: str, value: Any) -> None:
    given = _given(tree, section)
    if given is not None and name not in given:
        tree[section] = {name: value, **given}
