"""Shows the options of variants as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hnlm_ray.config.backbones import Backbone
from hnlm_ray.config.section import kinds
from hnlm_ray.config.semantic import SemanticOptions

__all__ = ["differing_options", "shown_option"]


def differing_options(variants: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """The options of each method as text, without those that are the same for all; ``backbone`` is always there.

    Args:
        variants: options of a variant, as read from JSON, by the name of the method.
    """
    keys = list(dict.fromkeys(key for options in variants.values() for key in options))
    read = {name: _read_options(options) for name, options in variants.items()}
    shown = {name: {key: shown_option(options.get(key)) for key in keys} for name, options in read.items()}
    kept = [key for key in keys if len({options[key] for options in shown.values()}) > 1 or key == "backbone"]
    return {name: {key: options[key] for key in kept} for name, options in shown.items()}


def _read_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options that have an effect: for a baseline in closed form, its backbone alone."""
    backbone = kinds(Backbone).get(options.get("backbone", {}).get("name"))
    if backbone and not backbone.is_trained:
        return {"backbone": options["backbone"]}
    semantic = options.get("semantic")
    shown = str(SemanticOptions.model_validate(semantic)) if isinstance(semantic, dict) else semantic
    return {**options, "semantic": shown}


def shown_option(option: Any) -> str:
    """An option as text: a section as ``name(key=value, ...)``, a truth value as yes or no, null as a dash."""
    if isinstance(option, Mapping):
        inner = ", ".join(f"{key}={shown_option(value)}" for key, value in option.items() if key != "name")
        return f"{option.get('name', '')}({inner})" if inner else str(option.get("name", ""))
    if isinstance(option, list | tuple):
        return f"[{', '.join(map(shown_option, option))}]"
    if isinstance(option, bool):
        return "yes" if option else "no"
    return "\N{EN DASH}" if option is None else str(option)
