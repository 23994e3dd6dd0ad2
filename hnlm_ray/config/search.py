"""The section ``search``: which options are tried, over which values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from hnlm_ray.config.section import Positive, Section

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Domain", "SearchConfig", "StoppingConfig", "domain_of"]


class Domain(Section):
    """The values that one option is drawn from: exactly one of the keys."""

    choice: tuple[Any, ...] | None = None
    """One of these, drawn uniformly; a value may be a whole section."""
    uniform: tuple[float, float] | None = None
    """Least and largest value, drawn uniformly."""
    log_uniform: tuple[float, float] | None = None
    """Uniform in the logarithm: every order of magnitude is equally likely."""
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
        """Draw one value; floats have four significant digits, so that what is printed is what was tried."""
        if self.choice is not None:
            return self.choice[int(rng.integers(len(self.choice)))]
        if self.integers is not None:
            return int(rng.integers(self.integers[0], self.integers[1], endpoint=True))
        if self.uniform is not None:
            return float(f"{rng.uniform(*self.uniform):.4g}")
        low, high = self.log_uniform or (1.0, 1.0)
        return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.4g}")


def domain_of(space: Mapping[str, Domain], path: str) -> Domain | None:
    """What a searched option of a trial is drawn from; None if the space does not have it.

    Args:
        space: as in :class:`SearchConfig`.
        path: full, with the variant's name; or a path outside the variants.
    """
    if path in space:
        return space[path]
    train, _, rest = path.partition(".variants.")
    return space.get(f"{train}.variants.*.{rest.partition('.')[2]}")


_SPACE: dict[str, Domain] = {
    "train.variants.*.learning_rate": Domain(log_uniform=(1e-4, 1e-1)),
    "train.variants.*.l2": Domain(log_uniform=(1e-6, 1e-2)),
}


class StoppingConfig(Section):
    """Early stopping of poor trials by asynchronous successive halving (ASHA; Li et al., MLSys 2020).

    A trial is judged when it has trained ``grace_period`` epochs, then ``reduction_factor`` times as many, and so on,
    each time at its next validation. It goes on if its best validation NDCG@20 so far is among the best
    ``1 / reduction_factor`` of the variant's trials that came as far before it; the first to come always goes on.
    """

    grace_period: Positive = 10
    """Epochs that every trial may train."""
    reduction_factor: float = Field(default=4.0, gt=1.0)
    """Of the trials that reach a rung, one in so many goes on."""


class SearchConfig(Section):
    """Hyper-parameter search: every variant gets the same budget of trials, the best is chosen on validation."""

    trials: Positive = 20
    """Per variant; the first is the variant as it is configured."""
    seed: int = 0
    """The seed of the draws and of every fit."""
    algorithm: Literal["random", "tpe"] = "random"
    """`random` draws every option by itself; `tpe` proposes what the trials of the variant so far make likely to be
    better (Optuna's tree-structured Parzen estimator; needs the extra `search`). A study always draws at random."""
    startup: Positive = 8
    """With `tpe`: trials of each variant that are drawn at random before the first proposal, as configured included."""
    epochs: Positive | None = None
    """An upper bound for the epochs of a trial; by default those of the variant."""
    epoch_budget: Positive | None = None
    """Epochs that all trials of one variant may train together, the same for every variant; by default no limit. Where
    it is used up, the variant's running trial is cut off and no other one begins."""
    stopping: StoppingConfig | None = None
    """By default every trial trains until its own end, which is its last epoch or its patience."""
    jobs: Positive | None = None
    """Trials at a time; by default as many as the cluster has room for, and a local Ray's machine has cores for."""
    variants: tuple[str, ...] = ()
    """By default every variant that is trained."""
    space: dict[str, Domain] = Field(default_factory=lambda: dict(_SPACE))
    """The searched options: path to values. A ``*`` for the variant's name stands for every searched variant."""
