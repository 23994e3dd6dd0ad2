"""The trials of a hyper-parameter search: which options apply to which variant, and the draws themselves.

Every variant gets the same number of trials. The first trial of a variant is the variant as configured; the others draw
each option at random (Bergstra and Bengio, JMLR 2012). A draw depends on the seed, the variant, the number of the trial
and the path of the option alone: more trials, or another variant, change none of the others. With
``search.algorithm: tpe``, a later trial gets a proposal in place of its draw, but for its options outside the variant.

Options outside the variants decide what semantic variants read. They are drawn once per number of a trial, so that the
trials of that number share the stages that have to run again for them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from pydantic import ValidationError

from hnlm_ray.config.paths import assign, lookup, walk
from hnlm_ray.config.search import Domain, domain_of
from hnlm_ray.config.tree import Config
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.errors import ConfigError
from hnlm_ray.run.proposals import Told, propose, require_optuna
from hnlm_ray.seeds import derive, generator

__all__ = [
    "Trial",
    "draw_trials",
    "is_proposed",
    "proposed",
    "searched",
    "studied",
    "study_trials",
    "with_parameters",
    "with_upstream",
]

_ROOT = "train.variants."
_EVERY = "*"
_DRAWS_PER_TRIAL = 20
"""Draws after which a study has found that a variant has no more different trials."""
_SECTIONS_OF: Mapping[str, Sequence[str]] = {
    "text": ("embed",),
    "described": ("embed",),
    "profiled": ("embed", "llm", "profiles"),
    "tuned": ("llm", "embed", "profiles", "negatives", "ground", "tune", "encode"),
}
"""Sections that decide the neighbours of a source."""
_UPSTREAM = ("llm", "embed", "profiles", "negatives", "ground", "neighbours", "tune", "encode")
"""Sections that decide what variants read. Options of others change by what a trial is judged, or change nothing."""


@dataclass(frozen=True)
class Trial:
    """One fit of the search.

    Attributes:
        variant: a key of ``train.variants``.
        number: 0 for the variant as configured.
        parameters: the value of each searched option by full path: drawn, or configured for number 0.
        options: the variant with these values.
    """

    variant: str
    number: int
    parameters: dict[str, Any]
    options: VariantConfig

    @property
    def outside(self) -> dict[str, Any]:
        """The entries of ``parameters`` that are outside the variants."""
        return {path: value for path, value in self.parameters.items() if _is_upstream(path)}

    @property
    def upstream(self) -> dict[str, Any]:
        """The same if they were drawn; empty for number 0."""
        return self.outside if self.number else {}


def searched(config: Config) -> tuple[str, ...]:
    """Names of the variants that are searched.

    Raises:
        ConfigError: one does not exist or is not trained, or there is none.
    """
    search, variants = config.search, config.train.variants
    for name in search.variants:
        if name not in variants:
            what = f"search.variants has {name!r}{_near(name, list(variants))}"
            raise ConfigError(what, "name one of train.variants")
        if not variants[name].is_trained:
            raise ConfigError(f"search.variants has {name!r}, which is computed, not trained", "leave it out")
    names = search.variants or tuple(name for name, options in variants.items() if options.is_trained)
    if not names:
        raise ConfigError("no variant of train.variants is trained", "add one that is")
    return names


def studied(config: Config) -> tuple[str, ...]:
    """Names of the variants of the study.

    Raises:
        ConfigError: one does not exist, or there is none but the one that the others are compared with.
    """
    study, variants = config.study, config.train.variants
    named = [("study.variants has", name) for name in study.variants]
    named += [("study.against is", study.against)] if study.against else []
    for what, name in named:
        if name not in variants:
            raise ConfigError(f"{what} {name!r}{_near(name, list(variants))}", "name one of train.variants")
    names = dict.fromkeys(study.variants or variants)
    if study.against and study.against not in names:
        names = {study.against: None, **names}
    if len(names) < 2:
        raise ConfigError(f"the study has {len(names)} variant(s), so nothing to compare", "add variants to it")
    return tuple(names)


def draw_trials(config: Config) -> list[Trial]:
    """Draw all trials of ``config.search``: those of number 0, one per variant, then those of number 1, and so on.

    Raises:
        ConfigError: a path does not exist, a variant has nothing to search, or a draw is no valid configuration.
        ResourceError: the algorithm needs a package that is not installed.
    """
    search, variants = config.search, config.train.variants
    if search.algorithm == "tpe":
        require_optuna()
    names = searched(config)
    spaces = _spaces(config, names)
    for name, space in spaces.items():
        if not space and not any(_reads(variants[name], key) for key in search.space):
            what = f"search.space has no option of the variant {name}, so all its trials would be the same"
            raise ConfigError(what, f"add one, for example {_ROOT}{name}.learning_rate, or set search.variants")
    found = []
    for number in range(search.trials):
        upstream = _draw_upstream(config, number)
        found += [_draw(config, name, number, spaces[name], upstream) for name in names]
    return found


def study_trials(config: Config) -> list[Trial]:
    """Draw all trials of ``config.study``: those as configured, one per variant, then the second of each, and so on.

    They are the trials of a search by their numbers, without those that repeat an earlier one of their variant; a
    variant of which the space has fewer different options than ``study.trials`` has fewer trials.

    Raises:
        ConfigError: as :func:`draw_trials`, but a variant may have nothing to search.
    """
    names, numbers = studied(config), range(_DRAWS_PER_TRIAL * config.study.trials)
    spaces = _spaces(config, names)
    upstream = [_draw_upstream(config, number) for number in numbers]
    found: dict[str, list[Trial]] = {}
    for name in names:
        different: dict[str, Trial] = {}
        for number in numbers:
            if len(different) < config.study.trials:
                trial = _draw(config, name, number, spaces[name], upstream[number])
                different.setdefault(f"{trial.options.model_dump_json()} {trial.outside}", trial)
        found[name] = list(different.values())
    rounds = zip_longest(*found.values())
    return [trial for one in rounds for trial in one if trial is not None]


def is_proposed(config: Config, trial: Trial) -> bool:
    """Whether :func:`proposed` replaces what :func:`draw_trials` drew for a trial."""
    is_late = config.search.algorithm == "tpe" and trial.number >= max(1, config.search.startup)
    return is_late and any(not _is_upstream(path) for path in trial.parameters)


def proposed(config: Config, trial: Trial, told: Sequence[Told]) -> Trial:
    """A trial with the options that Optuna's sampler proposes; those outside the variant stay as they were drawn.

    Args:
        config: what is searched.
        trial: drawn.
        told: the variant's trials that have ended or run, in the order of their numbers.

    Raises:
        ConfigError: the proposal is no valid configuration.
    """
    domains = {path: domain_of(config.search.space, path) for path in trial.parameters if not _is_upstream(path)}
    space = {path: domain for path, domain in domains.items() if domain is not None}
    seed = derive(config.search.seed, "search", "tpe", trial.variant, trial.number)
    return with_parameters(config, trial, trial.parameters | propose(space, told, seed))


def with_parameters(config: Config, trial: Trial, parameters: Mapping[str, Any]) -> Trial:
    """A trial with other values of its searched options, sections before the options in them.

    Raises:
        ConfigError: the values are no valid configuration.
    """
    if trial.number == 0:
        return trial
    own, root = config.train.variants[trial.variant], f"{_ROOT}{trial.variant}."
    tree = own.model_dump(mode="json")
    for path, value in parameters.items():
        if path.startswith(root):
            assign(tree, path.removeprefix(root), value)
    try:
        options = VariantConfig.model_validate(tree)
    except ValidationError as error:
        inside = {path: value for path, value in parameters.items() if path.startswith(root)}
        raise _no_valid_draw("variant", inside, error) from error
    return Trial(trial.variant, trial.number, dict(parameters), options)


def with_upstream(config: Config, upstream: Mapping[str, Any]) -> Config:
    """Set options outside the variants in a configuration.

    Args:
        config: stays as it is.
        upstream: value by path.

    Raises:
        ConfigError: the new configuration is not valid.
    """
    tree = config.model_dump(mode="json")
    for path, value in upstream.items():
        assign(tree, path, value)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise _no_valid_draw("configuration", upstream, error) from error


def _spaces(config: Config, names: Sequence[str]) -> dict[str, dict[str, Domain]]:
    """What the options of each variant are drawn from; refuses a space that does not suit them."""
    space, variants = config.search.space, config.train.variants
    for key in space:
        if key.startswith(_ROOT):
            _check_key(key, variants)
        else:
            _check_upstream(key, config, [variants[name] for name in names])
    return {name: _space_of(name, space, variants[name]) for name in names}


def _check_upstream(key: str, config: Config, variants: Sequence[VariantConfig]) -> None:
    paths = _paths(config.model_dump())
    if key not in paths or not _is_upstream(key):
        known = [path for path in paths if _is_upstream(path)]
        known += [f"{_ROOT}{_EVERY}.{path}" for path in _paths(VariantConfig().model_dump())]
        near = difflib.get_close_matches(key, known, 1)
        hint = f", did you mean {near[0]!r}" if near else ""
        what = f"options below {_ROOT}<name>. and of {', '.join(_UPSTREAM)} can be searched"
        raise ConfigError(f"search.space has {key!r}{hint}", what)
    if not any(_reads(options, key) for options in variants):
        raise ConfigError(f"search.space has {key!r}, but no searched variant depends on it", "leave it out")


def _is_upstream(path: str) -> bool:
    return path.partition(".")[0] in _UPSTREAM


def _reads(options: VariantConfig, key: str) -> bool:
    """Whether a variant's result depends on an option outside the variants."""
    section = key.partition(".")[0]
    if section not in _UPSTREAM:
        return False
    if options.guard or options.backbone.joins:  # teachers and members may read anything
        return True
    if options.semantic:
        return options.is_tuned or section not in ("tune", "encode", "neighbours")
    sections = {"embed"} if options.reads_text_vectors else set()
    if options.item_graph:
        source = options.item_graph.source
        sections |= {"neighbours", *_SECTIONS_OF.get(source, ())}
    return section in sections


def _draw_upstream(config: Config, number: int) -> dict[str, Any]:
    """Values of all searched options outside the variants, sections before the options in them."""
    tree, keys = config.model_dump(mode="json"), [key for key in config.search.space if _is_upstream(key)]
    keys.sort(key=lambda key: key.count("."))
    if number == 0:
        return {key: lookup(tree, key) for key in keys}
    rngs = {key: generator(config.search.seed, "search", _EVERY, number, key) for key in keys}
    return {key: config.search.space[key].draw(rngs[key]) for key in keys}


def _check_key(key: str, variants: Mapping[str, VariantConfig]) -> None:
    """Refuse the path of a variant that does not exist, or one that has no effect since the variant is computed.

    A variant that is not searched is fine, so that ``search.variants`` can be narrowed for a while.
    """
    name, _, path = key.removeprefix(_ROOT).partition(".")
    if name != _EVERY and name not in variants:
        what = f"search.space has {key!r}{_near(name, [*variants, _EVERY])}"
        raise ConfigError(what, "name one of train.variants, or *")
    if name != _EVERY and not variants[name].is_trained and path.partition(".")[0] != "backbone":
        what = f"search.space has {key!r}, but {name} is computed, not trained"
        raise ConfigError(what, "leave it out, or name an option of its backbone")


def _space_of(variant: str, space: Mapping[str, Domain], options: VariantConfig) -> dict[str, Domain]:
    """What a variant's options are drawn from, by path inside the variant, sections before the options in them."""
    paths = _paths(options.model_dump())
    found = {}
    for key, domain in sorted(space.items(), key=lambda entry: not entry[0].startswith(f"{_ROOT}{_EVERY}.")):
        name, _, path = key.removeprefix(_ROOT).partition(".")
        if not key.startswith(_ROOT) or name not in (variant, _EVERY):
            continue
        if name == _EVERY and not options.is_trained:
            continue
        if path not in paths:
            what = f"search.space has {key!r}, but {variant} has no {path!r}{_near(path, paths)}"
            raise ConfigError(what, "correct the path, or name the variants that have it instead of *")
        found[path] = domain
    return dict(sorted(found.items(), key=lambda entry: entry[0].count(".")))


def _paths(tree: Mapping[str, Any]) -> list[str]:
    """Every path that can be searched: a section's ``name`` can only be set with its section."""
    return [path for path in walk(tree) if path.rpartition(".")[2] != "name"]


def _draw(config: Config, variant: str, number: int, space: Mapping[str, Domain], upstream: Mapping[str, Any]) -> Trial:
    configured = config.train.variants[variant]
    tree = configured.model_dump(mode="json")
    read = {key: value for key, value in upstream.items() if _reads(configured, key)}
    if number == 0:
        parameters = {f"{_ROOT}{variant}.{path}": lookup(tree, path) for path in space}
        return Trial(variant, 0, parameters | read, configured)
    rngs = {path: generator(config.search.seed, "search", variant, number, path) for path in space}
    drawn = {f"{_ROOT}{variant}.{path}": domain.draw(rngs[path]) for path, domain in space.items()}
    return with_parameters(config, Trial(variant, number, {}, configured), drawn | read)


def _no_valid_draw(kind: str, drawn: Mapping[str, Any], error: ValidationError) -> ConfigError:
    reason = error.errors()[0]["msg"].removeprefix("Value error, ")
    shown = ", ".join(f"{path.removeprefix(_ROOT)}={value}" for path, value in drawn.items())
    return ConfigError(f"search.space draws a {kind} that is not valid ({shown}): {reason}", "narrow the values")


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {near[0]!r}" if near else f", there are {', '.join(known)}"
