"""The search section: which options of which variants are tried, over which values, and the draws themselves.

Every variant gets as many trials as any other. The first trial of a variant is what is configured; the others are drawn
at random, each option on its own (Bergstra and Bengio, JMLR 2012). A draw depends on the seed, the variant, the number
of the trial and the option's path, and on nothing else: more trials or another variant change none of the others.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field, ValidationError, model_validator

from hnlm_ray.errors import ConfigError
from hnlm_ray.section import Positive, Section
from hnlm_ray.seeds import generator
from hnlm_ray.variants import VariantConfig

__all__ = ["Domain", "SearchConfig", "Trial", "draw_trials", "searched"]

_ROOT = "train.variants."
_EVERY = "*"


class Domain(Section):
    """The values of one option; exactly one of the keys."""

    choice: tuple[Any, ...] | None = None
    """One of these, each alike; a value may be a whole section."""
    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = None
    """Alike in every order of magnitude."""
    integers: tuple[int, int] | None = None
    """Both ends included."""

    @model_validator(mode="after")
    def _one_kind(self) -> Domain:
        given = self.model_dump(exclude_none=True)
        if len(given) != 1:
            raise ValueError("give exactly one of choice, uniform, log_uniform, integers")
        [(kind, values)] = given.items()
        if not values:
            raise ValueError("choice is empty")
        if kind != "choice" and values[0] > values[1]:
            raise ValueError(f"{kind} goes from {values[0]} down to {values[1]}")
        if kind == "log_uniform" and values[0] <= 0:
            raise ValueError(f"log_uniform starts at {values[0]}, expected more than 0")
        return self

    def draw(self, rng: np.random.Generator) -> Any:
        """One value; floats have four significant digits, so that what is printed is what was tried."""
        if self.choice is not None:
            return self.choice[int(rng.integers(len(self.choice)))]
        if self.integers is not None:
            return int(rng.integers(self.integers[0], self.integers[1], endpoint=True))
        if self.uniform is not None:
            return float(f"{rng.uniform(*self.uniform):.4g}")
        low, high = self.log_uniform or (1.0, 1.0)
        return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.4g}")


_SPACE: dict[str, Domain] = {
    "train.variants.*.learning_rate": Domain(log_uniform=(1e-4, 1e-1)),
    "train.variants.*.l2": Domain(log_uniform=(1e-6, 1e-2)),
}


class SearchConfig(Section):
    """Hyper-parameter search: every variant gets the same number of trials, the best is chosen on validation."""

    trials: Positive = 20
    """Per variant; the first is the variant as it is configured."""
    seed: int = 0
    """Of the draws, and of every fit."""
    epochs: Positive | None = None
    """At most so many in a trial; by default those of the variant."""
    variants: tuple[str, ...] = ()
    """By default every variant that is trained."""
    space: dict[str, Domain] = Field(default_factory=lambda: dict(_SPACE))
    """Path to values. A ``*`` for the variant's name stands for every searched variant."""


@dataclass(frozen=True)
class Trial:
    """One fit of the search.

    Attributes:
        variant: a key of ``train.variants``.
        number: 0 for the variant as it is configured.
        parameters: the searched options by full path: what was drawn, or for number 0 what is configured.
        options: the variant with these.
    """

    variant: str
    number: int
    parameters: dict[str, Any]
    options: VariantConfig


def searched(search: SearchConfig, variants: Mapping[str, VariantConfig]) -> tuple[str, ...]:
    """The names of the variants that are searched.

    Raises:
        ConfigError: one does not exist or is not trained, or there is none.
    """
    for name in search.variants:
        if name not in variants:
            raise ConfigError(
                f"search.variants has {name!r}{_near(name, list(variants))}", "name one of train.variants"
            )
        if not variants[name].is_trained:
            raise ConfigError(f"search.variants has {name!r}, which is computed, not trained", "leave it out")
    names = search.variants or tuple(name for name, options in variants.items() if options.is_trained)
    if not names:
        raise ConfigError("no variant of train.variants is trained", "add one that is")
    return names


def draw_trials(search: SearchConfig, variants: Mapping[str, VariantConfig]) -> list[Trial]:
    """All trials, the first of every variant first.

    Args:
        search: what to try.
        variants: ``train.variants``.

    Raises:
        ConfigError: a path does not exist, a variant has nothing to search, or a draw is no valid variant.
    """
    names = searched(search, variants)
    spaces = {name: _space_of(name, search.space, variants[name]) for name in names}
    for key in search.space:
        _check_key(key, variants)
    for name, space in spaces.items():
        if not space:
            what = f"search.space has no option of the variant {name}, so all its trials would be alike"
            raise ConfigError(what, f"add one, for example {_ROOT}{name}.learning_rate, or set search.variants")
    return [
        _draw(search, name, number, spaces[name], variants[name]) for number in range(search.trials) for name in names
    ]


def _check_key(key: str, variants: Mapping[str, VariantConfig]) -> None:
    """A path of a variant that is trained but not searched is fine: ``search.variants`` may be narrowed for a while."""
    name = key.removeprefix(_ROOT).partition(".")[0]
    if not key.startswith(_ROOT):
        near = difflib.get_close_matches(key, [_ROOT + "*." + path for path in _paths(VariantConfig().model_dump())], 1)
        hint = f", did you mean {near[0]!r}" if near else ""
        raise ConfigError(f"search.space has {key!r}{hint}", f"only options below {_ROOT}<name>. can be searched")
    if name != _EVERY and name not in variants:
        what = f"search.space has {key!r}{_near(name, [*variants, _EVERY])}"
        raise ConfigError(what, "name one of train.variants, or *")
    if name != _EVERY and not variants[name].is_trained:
        raise ConfigError(f"search.space has {key!r}, but {name} is computed, not trained", "leave it out")


def _space_of(variant: str, space: Mapping[str, Domain], options: VariantConfig) -> dict[str, Domain]:
    """Paths inside the variant and their values, sections before the options in them."""
    paths = list(_paths(options.model_dump()))
    found = {}
    for key, domain in sorted(space.items(), key=lambda entry: not _is_of_every(entry[0])):
        name, _, path = key.removeprefix(_ROOT).partition(".")
        if not key.startswith(_ROOT) or name not in (variant, _EVERY):
            continue
        if path not in paths:
            what = f"search.space has {key!r}, but {variant} has no {path!r}{_near(path, paths)}"
            raise ConfigError(what, "mend the path, or name the variants that have it instead of *")
        found[path] = domain
    return dict(sorted(found.items(), key=lambda entry: entry[0].count(".")))


def _is_of_every(key: str) -> bool:
    return key.startswith(f"{_ROOT}{_EVERY}.")


def _paths(tree: Mapping[str, Any]) -> Iterator[str]:
    """Every path of an option or section; a section's own name cannot be set without the section."""
    for key, value in tree.items():
        if key != "name":
            yield key
        if isinstance(value, dict):
            yield from (f"{key}.{path}" for path in _paths(value))


def _draw(
    search: SearchConfig, variant: str, number: int, space: Mapping[str, Domain], configured: VariantConfig
) -> Trial:
    tree = configured.model_dump(mode="json")
    if number == 0:
        return Trial(variant, 0, {f"{_ROOT}{variant}.{path}": _get(tree, path) for path in space}, configured)
    parameters = {}
    for path, domain in space.items():
        value = domain.draw(generator(search.seed, "search", variant, number, path))
        _set(tree, path, value)
        parameters[f"{_ROOT}{variant}.{path}"] = value
    try:
        return Trial(variant, number, parameters, VariantConfig.model_validate(tree))
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        shown = ", ".join(f"{path.removeprefix(_ROOT)}={value}" for path, value in parameters.items())
        what = f"search.space draws a variant that cannot be trained ({shown}): {reason}"
        raise ConfigError(what, "narrow the values") from error


def _get(tree: Any, path: str) -> Any:
    for part in path.split("."):
        tree = tree[part]
    return tree


def _set(tree: dict[str, Any], path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    for part in parents:
        if isinstance(tree[part], str):  # a section that was drawn by its name alone
            tree[part] = {"name": tree[part]}
        tree = tree[part]
    tree[leaf] = value


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {near[0]!r}" if near else f", there are {', '.join(known)}"
