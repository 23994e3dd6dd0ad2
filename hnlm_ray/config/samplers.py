"""Options of the negative samplers; the samplers are in :mod:`hnlm_ray.samplers`.

To add a sampler, write it there, and here its options with the traits that hold for it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from hnlm_ray.config.plugins import CustomOptions, Plugged
from hnlm_ray.config.section import Named, Positive, Weight, kinds

__all__ = [
    "AHNSOptions",
    "CustomSamplerOptions",
    "DENSOptions",
    "DNSOptions",
    "InBatchOptions",
    "MixGCFOptions",
    "PopularitySamplerOptions",
    "Sampler",
    "SamplerOptions",
    "SoftmaxImportanceOptions",
    "UniformOptions",
]


class SamplerOptions(Named):
    """What is common to all samplers."""

    needs_layers: ClassVar[bool] = False
    """Whether it chooses by the layers of a backbone, and mixes one negative per pair from them."""
    needs_batch: ClassVar[bool] = False
    """Whether it reads the items of the whole batch."""
    needs_softmax: ClassVar[bool] = False
    """Whether it goes with softmax losses alone, which sum over all negatives of a pair."""
    takes_candidates: ClassVar[bool] = False
    """Whether items from elsewhere can join the candidates that it chooses from."""

    @property
    def assumes_interactions(self) -> bool:
        """Whether it corrects for positives that are drawn uniformly from the interactions."""
        return False


class UniformOptions(SamplerOptions):
    """Uniformly from the items that the user has not seen."""

    implementation: ClassVar[str] = "hnlm_ray.samplers.uniform:UniformSampler"
    name: Literal["uniform"] = "uniform"
    negatives: Positive = 1
    """Negatives of a positive."""
    rejection: Literal["exact", "skip", "none"] = "exact"
    """What happens to a draw that the user has seen. ``exact``: there is none. ``skip``: it counts for nothing, as in
    implicit and cornac. ``none``: it is used, as in spotlight."""
    shared: bool = False
    """One draw for the whole batch, which makes hundreds of negatives cheap; what a user has seen is masked."""


class PopularitySamplerOptions(SamplerOptions):
    """Items that the user has not seen, in proportion to a power of their train interactions."""

    implementation: ClassVar[str] = "hnlm_ray.samplers.popularity:PopularitySampler"
    name: Literal["popularity"] = "popularity"
    negatives: Positive = 1
    """Negatives of a positive."""
    exponent: float = Field(default=0.75, ge=0.0)
    """An item is drawn in proportion to its popularity to this power."""


class InBatchOptions(SamplerOptions):
    """The positives of the other pairs of the batch."""

    implementation: ClassVar[str] = "hnlm_ray.samplers.in_batch:InBatchSampler"
    needs_batch: ClassVar[bool] = True
    needs_softmax: ClassVar[bool] = True
    name: Literal["in_batch"] = "in_batch"
    correct: bool = True
    """Subtract from each score the log of the probability that the item is in a batch (Yi et al., RecSys 2019)."""

    @property
    def assumes_interactions(self) -> bool:
        """See :class:`SamplerOptions`."""
        return self.correct


class DNSOptions(SamplerOptions):
    """One of the best-scored of uniform candidates (Zhang et al., SIGIR 2013; DNS(M, N): Shi et al., WWW 2023)."""

    implementation: ClassVar[str] = "hnlm_ray.samplers.dns:DNSSampler"
    takes_candidates: ClassVar[bool] = True
    name: Literal["dns"] = "dns"
    candidates: Positive = 8
    """N: how many are drawn uniformly."""
    top: Positive = 1
    """M: one of the M best, drawn uniformly."""

    @model_validator(mode="after")
    def _enough(self) -> DNSOptions:
        if self.top > self.candidates:
            raise ValueError(f"top is {self.top}, there are {self.candidates} candidates")
        return self


class SoftmaxImportanceOptions(SamplerOptions):
    """All candidates, weighted by a softmax of their losses: Softmax(rho, N) (Shi et al., WWW 2023)."""

    implementation: ClassVar[str] = "hnlm_ray.samplers.softmax_importance:SoftmaxImportanceSampler"
    name: Literal["softmax_importance"] = "softmax_importance"
    candidates: Positive = 64
    """Items drawn uniformly, of which one is drawn by its score."""
    rho: float = Field(default=1.0, gt=0.0)
    """Temperature of the softmax over the candidates."""


class MixGCFOptions(SamplerOptions):
    """Candidates mixed with the positive, the hardest chosen per layer (Huang et al., KDD 2021)."""

    implementation: ClassVar[str] = "hnlm_ray.samplers.mixgcf:MixGCFSampler"
    needs_layers: ClassVar[bool] = True
    takes_candidates: ClassVar[bool] = True
    name: Literal["mixgcf"] = "mixgcf"
    candidates: Positive = 16
    """Items drawn uniformly, of which the hardest is taken in each layer."""


class DENSOptions(SamplerOptions):
    """Candidates chosen by disentangled factors (Lai et al., WSDM 2023)."""

    implementation: ClassVar[str] = "hnlm_ray.samplers.dens:DENSSampler"
    needs_layers: ClassVar[bool] = True
    name: Literal["dens"] = "dens"
    candidates: Positive = 6
    """Items drawn uniformly, of which one is taken."""
    gamma: Weight = 0.3
    """Weight of the contrast between relevant and irrelevant factors."""
    warmup: Positive = 100
    """Epochs until the choice rests on irrelevant factors alone."""


class AHNSOptions(SamplerOptions):
    """The candidate whose score suits that of the positive (Lai et al., AAAI 2024)."""

    implementation: ClassVar[str] = "hnlm_ray.samplers.ahns:AHNSSampler"
    name: Literal["ahns"] = "ahns"
    candidates: Positive = 16
    """Items drawn uniformly, of which one is taken."""
    alpha: float = Field(default=0.1, gt=0.0)
    """The constant in the hardness that is aimed at."""
    beta: float = Field(default=0.4, gt=0.0)
    """The factor in the hardness that is aimed at."""
    p: float = Field(default=-2.0, lt=-1.0)
    """The power in the hardness that is aimed at."""


class CustomSamplerOptions(CustomOptions, SamplerOptions):
    """A sampler of your own: ``{class: my.module.Sampler, ...}``, made with a setting and the other options."""


Sampler = Annotated[
    UniformOptions
    | PopularitySamplerOptions
    | InBatchOptions
    | DNSOptions
    | SoftmaxImportanceOptions
    | MixGCFOptions
    | DENSOptions
    | AHNSOptions
    | CustomSamplerOptions,
    Field(discriminator="name"),
    Plugged("hnlm_ray.samplers", lambda: kinds(Sampler)),
]
"""Any of them."""
