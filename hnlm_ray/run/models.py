"""Which models the variants need that the configuration does not name, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable

from hnlm_ray.config.defaults import VARIANTS_WITH_TEXT, VARIANTS_WITHOUT_MODEL
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError
from hnlm_ray.run.specs import planned_kinds, with_inputs
from hnlm_ray.run.stage import first_fit

__all__ = ["missing_models", "remarks"]

_READS = {"llm": "item_profiles", "embed": "vectors", "tune": "tokens"}
"""A kind of stage that runs wherever the model of a section is used."""
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
        ("llm", config.llm.model or config.llm.engine == "scripted", _WAYS_TO_WRITE),
        ("embed", config.embed.model or config.embed.engine == "scripted", _WAYS_TO_READ),
        ("tune", config.tune.model, _WAYS_TO_TUNE),
    )
    problems, wanting = [], dict[str, None]()
    for section, is_given, ways in sections:
        users = [name for name, kinds in needs.items() if _READS[section] in kinds]
        if users and not is_given:
            problems.append(f"{section}.model names no model and {_variants(users)} it: give {ways}")
            wanting |= dict.fromkeys(users)
    if not problems:
        return None
    left_out = " ".join(f"train.variants.{name}=null" for name in wanting)
    return ConfigError(
        " | ".join(problems),
        f"or train without ({left_out}); the package's own small models know the demo's data alone and are used on"
        " other data only where they are named (=demo)",
    )


def remarks(config: Config) -> list[str]:
    """What a user should know about the models before a run: what is left out, and where the demo's are used."""
    found = []
    names = set(config.train.variants)
    if names == set(VARIANTS_WITHOUT_MODEL):
        found.append(
            "no model of texts is configured, so ours does without the graph of similar items: to add it, give"
            f" {_WAYS_TO_READ}"
        )
    if names in (set(VARIANTS_WITH_TEXT), set(VARIANTS_WITHOUT_MODEL)):
        found.append(
            "no language model is configured, so hnlm, the variant with its hard negatives, is left out: to add it,"
            f" give {_WAYS_TO_WRITE}"
        )
    kinds = planned_kinds(config)
    given = {"llm": config.llm.model, "embed": config.embed.model, "tune": config.tune.model}
    used = [f"{name}.model" for (name, kind) in _READS.items() if kind in kinds and given[name] == "demo"]
    if used and config.data.format != "demo":
        found.append(
            f"{' and '.join(used)} {'is' if len(used) == 1 else 'are'} demo, which knows the generated data of the demo"
            " alone: what it writes of other data tries the machinery and is of no use"
        )
    return found


def _variants(names: Iterable[str]) -> str:
    listed = list(names)
    return f"the variant {listed[0]} needs" if len(listed) == 1 else f"the variants {', '.join(listed)} need"
