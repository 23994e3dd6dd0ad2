"""Which models the variants need that the configuration does not name, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable

from hnlm_ray.config.defaults import VARIANTS_WITHOUT_MODEL
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError
from hnlm_ray.run.specs import with_inputs
from hnlm_ray.run.stage import first_fit

__all__ = ["missing_models", "without_model"]

_WAYS_TO_WRITE = (
    "llm.model=NAME_OR_FOLDER of Hugging Face, such as Qwen/Qwen3-8B, or an endpoint:"
    " llm.engine=http llm.http.url=URL llm.model=NAME"
)
_WAYS_TO_READ = "embed.model=NAME_OR_FOLDER of Hugging Face, such as BAAI/bge-small-en-v1.5"
_WAYS_TO_TUNE = "tune.model=NAME_OR_FOLDER of Hugging Face, such as Qwen/Qwen3-0.6B"


def missing_models(config: Config) -> ConfigError | None:
    """The error of a configuration whose variants need a model that it does not name; None if nothing is missing."""
    needs = {
        name: {key.kind for key in with_inputs(config, [first_fit(config.train, name)])}
        for name in config.train.variants
    }
    sections = (
        ("llm.model", config.llm.model or config.llm.engine == "scripted", "item_profiles", _WAYS_TO_WRITE),
        ("embed.model", config.embed.model or config.embed.engine == "scripted", "vectors", _WAYS_TO_READ),
        ("tune.model", config.tune.model, "tokens", _WAYS_TO_TUNE),
    )
    problems, wanting = [], dict[str, None]()
    for option, is_given, kind, ways in sections:
        users = [name for name, kinds in needs.items() if kind in kinds]
        if users and not is_given:
            problems.append(f"{option} names no model and {_variants(users)} it: give {ways}")
            wanting |= dict.fromkeys(users)
    if not problems:
        return None
    left_out = " ".join(f"train.variants.{name}=null" for name in wanting)
    return ConfigError(
        " | ".join(problems),
        f"or train without ({left_out}); the package's own small models know the demo's data alone and are used on"
        " other data only where they are named (=demo)",
    )


def without_model(config: Config) -> str | None:
    """A sentence where the variants with a language model were left out because none is configured."""
    if config.llm.model or config.llm.engine != "vllm" or set(config.train.variants) != set(VARIANTS_WITHOUT_MODEL):
        return None
    return (
        "no language model is configured, so hnlm, the variant with its hard negatives, is left out: to add it, give"
        f" {_WAYS_TO_WRITE}; and {_WAYS_TO_READ}"
    )


def _variants(names: Iterable[str]) -> str:
    listed = list(names)
    return f"the variant {listed[0]} needs" if len(listed) == 1 else f"the variants {', '.join(listed)} need"
