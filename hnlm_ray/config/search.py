"""The section ``search``: which options are tried, over which values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from hnlm_ray.config.section import Positive, Section

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Domain", "SearchConfig", "StoppingConfig"]


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
    """Hyper-parameter search: every variant gets the same number of trials, the best is chosen on validation."""

    trials: Positive = 20
    """Per variant; the first is the variant as it is configured."""
    seed: int = 0
    """The seed of the draws and of every fit."""
    epochs: Positive | None = None
    """An upper bound for the epochs of a trial; by default those of the variant."""
    stopping: StoppingConfig | None = None
    """By default every trial trains until its own end, which is its last epoch or its patience."""
    variants: tuple[str, ...] = ()
    """By default every variant that is trained."""
    space: dict[str, Domain] = Field(default_factory=lambda: dict(_SPACE))
    """The searched options: path to values. A ``*`` for the variant's name stands for every searched variant."""
