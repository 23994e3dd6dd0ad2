"""Options of the ranking losses; the formulas are in :mod:`hnlm_ray.models.losses`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hnlm_ray.config.named import ByName, Named, Temperature
from hnlm_ray.config.section import Positive

__all__ = [
    "BPROptions",
    "BSLOptions",
    "HingeOptions",
    "Loss",
    "PairwiseContrastiveOptions",
    "SLAtKOptions",
    "SampledSoftmaxOptions",
]


class BPROptions(Named):
    """``-log sigmoid(s_ui - s_uj)``; with several negatives their weighted mean (Rendle et al., UAI 2009)."""

    name: Literal["bpr"] = "bpr"


class HingeOptions(Named):
    """``max(0, s_uj - s_ui + margin)``, as in the authors' code of HNLMRec."""

    name: Literal["hinge"] = "hinge"
    margin: float = Field(default=0.3, gt=0.0)


class SampledSoftmaxOptions(Named):
    """``-s_ui / t + log of the sum of exp(s_uj / t)`` over the negatives, of cosines (Wu et al., TOIS 2024)."""

    name: Literal["softmax"] = "softmax"
    temperature: Temperature = 0.2


class BSLOptions(Named):
    """The softmax loss with a power on its sum: ``-s_ui / t + power * log of the sum`` (Wu et al., ICDE 2024)."""

    name: Literal["bsl"] = "bsl"
    temperature: Temperature = 0.2
    power: float = Field(default=1.1, gt=0.0)
    """The ratio of the temperatures of negatives and positives; 1 is the softmax loss."""


class SLAtKOptions(Named):
    """The softmax loss weighted by how near the positive is to the user's top K (Yang et al., KDD 2025)."""

    name: Literal["sl_at_k"] = "sl_at_k"
    temperature: Temperature = 0.2
    weight_temperature: Temperature = 1.0
    k: Positive = 20
    refresh: Positive = 5
    """Epochs between computations of each user's K-th best score."""


class PairwiseContrastiveOptions(Named):
    """``-log(exp(s_ui / t) / (exp(s_ui / t) + exp(s_uj / t)))`` of cosines."""

    name: Literal["pairwise_contrastive"] = "pairwise_contrastive"
    temperature: Temperature = 0.2


Loss = Annotated[
    BPROptions | HingeOptions | SampledSoftmaxOptions | BSLOptions | SLAtKOptions | PairwiseContrastiveOptions,
    Field(discriminator="name"),
    ByName,
]
"""Any of them."""
