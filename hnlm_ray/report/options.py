"""Shows the options of variants as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hnlm_ray.config.backbones import Backbone
from hnlm_ray.config.section import Named, Section, kinds
from hnlm_ray.config.semantic import SemanticOptions
from hnlm_ray.config.variants import VariantConfig

__all__ = ["differing_options", "shown_method", "shown_option", "shown_value"]


def differing_options(variants: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """The options of each method as text, without those that are the same for all trained ones, and with ``backbone``.

    Args:
        variants: options of a variant, as read from JSON, by the name of the method.
    """
    keys = list(dict.fromkeys(key for options in variants.values() for key in options))
    read = {name: _read_options(options) for name, options in variants.items()}
    shown = {name: {key: shown_option(options.get(key)) for key in keys} for name, options in read.items()}
    compared = [name for name, options in read.items() if len(options) > 1] or list(shown)
    kept = [key for key in keys if len({shown[name][key] for name in compared}) > 1 or key == "backbone"]
    return {name: {key: options[key] for key in kept} for name, options in shown.items()}


def _read_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options that have an effect: for a variant that is computed, its backbone alone."""
    backbone = kinds(Backbone).get(options.get("backbone", {}).get("name"))
    if backbone and not backbone.is_trained:
        return {"backbone": options["backbone"]}
    semantic = options.get("semantic")
    shown = str(SemanticOptions.model_validate(semantic)) if isinstance(semantic, dict) else semantic
    return {**options, "semantic": shown}


_FIT = {
    "dim", "epochs", "batch_size", "learning_rate", "learning_rate_mode", "init_std", "l2", "l2_on", "positives",
    "patience", "validate_every",
}  # fmt: skip
"""Options that say how long and how fast a variant is trained rather than what it is."""


def shown_method(variant: VariantConfig) -> str:
    """What a variant is: its backbone, its sampler, and each further part that it has."""
    if not variant.is_trained:
        return str(variant.backbone)
    usual, shown = VariantConfig(), [str(variant.backbone)]
    shown += [str(variant.sampler)] if variant.backbone.takes_negatives else []
    for name in VariantConfig.model_fields.keys() - {"backbone", "sampler", *_FIT}:
        value = getattr(variant, name)
        if value == getattr(usual, name):
            continue
        text = shown_value(value)
        shown.append(name if value is True else f"{name}{text}" if text.startswith("(") else f"{name}={text}")
    return ", ".join([*shown[:2], *sorted(shown[2:])])


def shown_value(value: object) -> str:
    """The value of an option of a variant as text: as it shows itself, or as :func:`shown_option` shows it."""
    if isinstance(value, Named | SemanticOptions):
        return str(value)
    return shown_option(value.model_dump(mode="json") if isinstance(value, Section) else value)


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
