"""Defaults that depend on the data: models that come with the package, variants and their guard, the name of an item.

The package's own models know the generated catalogue and nothing else. They are the default on the demo's data; on any
other, only models that the configuration names are used, and the default variants need no more than those.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from pydantic import BaseModel

__all__ = ["DEFAULT_VARIANTS", "VARIANTS_WITHOUT_MODEL", "VARIANTS_WITH_TEXT", "completed", "default_variants"]

_GUARD = "likely"
_USUAL: dict[str, Any] = {"sampler": {"name": "dns", "candidates": 8}}
_OURS: dict[str, Any] = {"sampler": {"name": "dns", "candidates": 16}, "guard": {"table": _GUARD}}
_GRAPH: dict[str, Any] = {"item_graph": {"source": "text"}}

VARIANTS_WITHOUT_MODEL: dict[str, dict[str, Any]] = {"uniform": {}, "dns": _USUAL, "ours": _OURS}
"""What is trained where the configuration names neither variants nor a model: ``ours`` guards hard negatives."""

VARIANTS_WITH_TEXT: dict[str, dict[str, Any]] = {
    **VARIANTS_WITHOUT_MODEL,
    "graph": {**_GRAPH, **_USUAL},
    "ours": {**_GRAPH, **_OURS},
}
"""What is trained where the configuration names no variants, and a model of texts: a graph of similar items too."""

DEFAULT_VARIANTS: dict[str, dict[str, Any]] = {
    **VARIANTS_WITH_TEXT,
    "hnlm": {"semantic": {"mixing": {"share": 0.1}, "contrast": {"weight": 0.001}}},
}
"""What is trained where the configuration names no variants and there is a language model: its negatives too."""

_MODELS = ("llm", "embed", "tune")
_NOUNS = {"movielens": "film", "yelp": "place", "checkins": "place", "lastfm": "artist", "steam": "game"}
"""What the items of a format are; products where nothing is said."""


def default_variants(tree: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A copy of the variants that a configuration stands for where it names none.

    Args:
        tree: the sections that are given, each as a mapping or as its model.
    """
    if _has_model(tree, "llm"):
        return deepcopy(DEFAULT_VARIANTS)
    return deepcopy(VARIANTS_WITH_TEXT if _has_model(tree, "embed") else VARIANTS_WITHOUT_MODEL)


def completed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that are given, with the default models, variants and guard written into them.

    Args:
        tree: as for :func:`default_variants`; it is not changed.
    """
    found = dict(tree)
    for section in _MODELS:
        _set_default(found, section, "model", _shipped(tree))
    if noun := _NOUNS.get(_option(tree, "data", "format", "demo")):
        _set_default(found, "data", "noun", noun)
    _set_default(found, "train", "variants", default_variants(tree))
    variants = _given(found, "train") or {}
    if guard := _default_guard(variants.get("variants")):
        _set_default(found, "guards", _GUARD, guard)
    return found


def _default_guard(variants: Any) -> dict[str, Any] | None:
    """The guard that the default variants name; None where no variant does, or none of its teachers is left."""
    if not isinstance(variants, Mapping):
        return None
    tables = [_table(options.get("guard")) for options in variants.values() if isinstance(options, Mapping)]
    teacher = next((name for name in ("graph", "dns") if name in variants), None)
    return {"sources": [{"variant": teacher, "seeds": [0, 1]}]} if teacher and _GUARD in tables else None


def _table(guard: Any) -> Any:
    return guard.get("table") if isinstance(guard, Mapping) else None


def _has_model(tree: Mapping[str, Any], section: str) -> bool:
    return bool(_option(tree, section, "model", _shipped(tree))) or _option(tree, section, "engine", "vllm") != "vllm"


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
