"""Options of the negative samplers; the samplers are in :mod:`hnlm_ray.samplers`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hnlm_ray.config.named import ByName, Named, Weight
from hnlm_ray.config.section import Positive

__all__ = [
    "AHNSOptions",
    "DENSOptions",
    "DNSOptions",
    "InBatchOptions",
    "MixGCFOptions",
    "PopularitySamplerOptions",
    "Sampler",
    "SoftmaxImportanceOptions",
    "UniformOptions",
]


class UniformOptions(Named):
    """Every item that the user has not met, alike."""

    name: Literal["uniform"] = "uniform"
    negatives: Positive = 1
    rejection: Literal["exact", "skip", "none"] = "exact"
    """What happens to a draw that the user has met. ``exact``: it cannot happen. ``skip``: it counts for nothing, as in
    implicit and cornac. ``none``: it is used, as in spotlight."""
    shared: bool = False
    """One draw for the whole batch, which makes hundreds of negatives cheap; draws that a user has met are masked."""


class PopularitySamplerOptions(Named):
    """Items in proportion to a power of their train interactions; met ones are drawn again."""

    name: Literal["popularity"] = "popularity"
    negatives: Positive = 1
    exponent: float = Field(default=0.75, ge=0.0)


class InBatchOptions(Named):
    """The positives of the other pairs of the batch."""

    name: Literal["in_batch"] = "in_batch"
    correct: bool = True
    """Subtract the log of the probability with which an item comes into a batch (Yi et al., RecSys 2019)."""


class DNSOptions(Named):
    """One of the best-scored of uniform candidates (Zhang et al., SIGIR 2013; DNS(M, N): Shi et al., WWW 2023)."""

    name: Literal["dns"] = "dns"
    candidates: Positive = 8
    """N."""
    top: Positive = 1
    """M: one of the M best, each alike."""

    @model_validator(mode="after")
    def _enough(self) -> DNSOptions:
        if self.top > self.candidates:
            raise ValueError(f"top is {self.top}, there are {self.candidates} candidates")
        return self


class SoftmaxImportanceOptions(Named):
    """All candidates, weighted by a softmax of their losses: Softmax(rho, N) (Shi et al., WWW 2023)."""

    name: Literal["softmax_importance"] = "softmax_importance"
    candidates: Positive = 64
    rho: float = Field(default=1.0, gt=0.0)


class MixGCFOptions(Named):
    """Candidates mixed with the positive, the best chosen per layer (Huang et al., KDD 2021)."""

    name: Literal["mixgcf"] = "mixgcf"
    candidates: Positive = 16


class DENSOptions(Named):
    """Candidates chosen by disentangled factors (Lai et al., WSDM 2023)."""

    name: Literal["dens"] = "dens"
    candidates: Positive = 6
    gamma: Weight = 0.3
    """Weight of the contrast between relevant and irrelevant factors."""
    warmup: Positive = 100
    """Epochs until the choice rests on irrelevant factors alone."""


class AHNSOptions(Named):
    """The candidate whose score suits that of the positive (Lai et al., AAAI 2024)."""

    name: Literal["ahns"] = "ahns"
    candidates: Positive = 16
    alpha: float = Field(default=0.1, gt=0.0)
    beta: float = Field(default=0.4, gt=0.0)
    p: float = Field(default=-2.0, lt=-1.0)


Sampler = Annotated[
    UniformOptions
    | PopularitySamplerOptions
    | InBatchOptions
    | DNSOptions
    | SoftmaxImportanceOptions
    | MixGCFOptions
    | DENSOptions
    | AHNSOptions,
    Field(discriminator="name"),
    ByName,
]
"""Any of them."""
