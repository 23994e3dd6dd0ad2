"""Optuna's view of the trials of one variant: what its sampler proposes next, and what each option mattered.

An Optuna study is made anew from the trials whenever one is needed, and the sampler's seed derives from the trial that
it is asked for. So a proposal depends on the seed, the variant, the number of the trial and the trials that are told
alone: a search that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hnlm_ray.config.search import Domain
from hnlm_ray.errors import PackageError

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

__all__ = ["Told", "has_optuna", "optuna_study", "propose", "require_optuna"]


@dataclass(frozen=True)
class Told:
    """A trial as a sampler hears of it.

    Attributes:
        values: of the searched options, by path.
        state: ``complete`` if it trained to its own end, ``pruned`` if it was ended early, ``running``.
        figure: its best validation NDCG@20 so far; None while it runs.
        epochs: that it was trained.
    """

    values: Mapping[str, Any]
    state: Literal["complete", "pruned", "running"]
    figure: float | None = None
    epochs: int = 0


def has_optuna() -> bool:
    """Whether Optuna is installed."""
    return importlib.util.find_spec("optuna") is not None


def require_optuna() -> None:
    """Refuse a search that needs Optuna where it is not installed.

    Raises:
        PackageError: it is not installed.
    """
    if (error := PackageError.about("search.algorithm=tpe", ["search"])) is not None:
        raise PackageError(error.problem, f"{error.action}, or set search.algorithm=random")


def propose(space: Mapping[str, Domain], told: Sequence[Told], seed: int) -> dict[str, Any]:
    """Ask Optuna's tree-structured Parzen estimator for the options of one trial.

    Args:
        space: what each option is drawn from, by path.
        told: the variant's other trials, in the order of their numbers.
        seed: of this one proposal.

    Returns:
        A value per path; floats have four significant digits, as drawn ones do.
    """
    from optuna.samplers import TPESampler

    # The draws before the first proposal are the caller's; what runs beside this trial counts as poor (constant liar).
    sampler = TPESampler(n_startup_trials=1, constant_liar=True, seed=seed % 2**32)
    study = optuna_study(space, told, sampler)
    asked = study.ask({path: _distribution(domain) for path, domain in space.items()})
    return {path: _value(domain, asked.params[path]) for path, domain in space.items()}


def optuna_study(
    space: Mapping[str, Domain], told: Sequence[Told], sampler: optuna.samplers.BaseSampler | None = None
) -> optuna.Study:
    """A study in memory that knows of some trials; those with a value outside the space are left out.

    Args:
        space: what each option is drawn from, by path; choices are told by their place.
        told: trials in the order of their numbers.
        sampler: proposes the next trial; by default Optuna's own choice.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # else every study says on the console that it was made
    states = {name: optuna.trial.TrialState[name.upper()] for name in ("complete", "pruned", "running")}
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for one in told:
        values = {path: _parameter(domain, one.values.get(path)) for path, domain in space.items()}
        if None in values.values():
            continue
        trial = optuna.trial.create_trial(
            state=states[one.state],
            value=one.figure,
            params=values,
            distributions={path: _distribution(domain) for path, domain in space.items()},
            intermediate_values={} if one.figure is None else {one.epochs: one.figure},
        )
        study.add_trial(trial)
    return study


def _distribution(domain: Domain) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if domain.choice is not None:
        return CategoricalDistribution(range(len(domain.choice)))
    if domain.integers is not None:
        return IntDistribution(*domain.integers)
    if domain.uniform is not None:
        return FloatDistribution(*domain.uniform)
    return FloatDistribution(*_bounds(domain), log=True)


def _value(domain: Domain, parameter: Any) -> Any:
    """The value of an option that Optuna's parameter stands for."""
    if domain.choice is not None:
        return domain.choice[parameter]
    return parameter if domain.integers is not None else float(f"{parameter:.4g}")


def _parameter(domain: Domain, value: Any) -> Any:
    """Optuna's parameter for the value of an option; None if the option is not drawn from there."""
    if domain.choice is not None:
        return next((place for place, choice in enumerate(domain.choice) if choice == value), None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    low, high = _bounds(domain)
    within = min(max(value, low), high)
    if domain.integers is not None:
        return int(value) if within == value == int(value) else None
    return float(within) if abs(within - value) <= 1e-3 * abs(value) else None  # rounding may have left the bounds


def _bounds(domain: Domain) -> tuple[float, float]:
    return domain.integers or domain.uniform or domain.log_uniform or (1.0, 1.0)
