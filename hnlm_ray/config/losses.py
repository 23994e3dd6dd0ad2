"""Options of the ranking losses; the formulas are in :mod:`hnlm_ray.models.losses`.

To add a loss, write its formula there, and here its options with the traits that hold for it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from hnlm_ray.config.plugins import CustomOptions, Plugged
from hnlm_ray.config.section import Fraction, Named, Positive, Temperature, kinds

__all__ = [
    "BPROptions",
    "BSLOptions",
    "CustomLossOptions",
    "GBCEOptions",
    "HingeOptions",
    "Loss",
    "LossOptions",
    "PairwiseContrastiveOptions",
    "SLAtKOptions",
    "SampledSoftmaxOptions",
]


class LossOptions(Named):
    """What is common to all losses.

    The implementation of a loss over pairs takes gaps (B, K) or, where it takes scores, those of positives (B, 1) and
    of negatives (B, K) and the number of items. That of a softmax loss takes the scores of positives (B,) and of
    negatives (B, K), and the log weights of the negatives. All take :attr:`arguments` by name.
    """

    is_cosine: ClassVar[bool] = False
    """Whether scores are cosines, which a temperature needs."""
    is_softmax: ClassVar[bool] = False
    """Whether it sums over all negatives of a pair, so that a semantic negative can be one more of them."""

    takes_scores: ClassVar[bool] = False
    """Whether a loss over pairs takes the scores of positives and negatives, not the gaps between them."""

    @property
    def arguments(self) -> dict[str, float]:
        """The options that the implementation takes by name."""
        return self.model_dump(exclude={"name"})

    @property
    def threshold(self) -> tuple[int, int] | None:
        """K, and the epochs between computations, where the loss reads each user's K-th best score."""
        return None


class BPROptions(LossOptions):
    """``-log sigmoid(s_ui - s_uj)``; with several negatives their weighted mean (Rendle et al., UAI 2009)."""

    implementation: ClassVar[str] = "hnlm_ray.models.losses:bpr"
    name: Literal["bpr"] = "bpr"


class HingeOptions(LossOptions):
    """``max(0, s_uj - s_ui + margin)``, as in the authors' code of HNLMRec."""

    implementation: ClassVar[str] = "hnlm_ray.models.losses:hinge"
    name: Literal["hinge"] = "hinge"
    margin: float = Field(default=0.3, gt=0.0)
    """By how much a positive must be above a negative."""


class GBCEOptions(LossOptions):
    """Binary cross-entropy whose positives count less, the fewer of the items are drawn as negatives.

    ``-(beta log sigmoid(s_ui) + sum of log(1 - sigmoid(s_uj))) / (K + 1)`` (Petrov and Macdonald, RecSys 2023).
    """

    implementation: ClassVar[str] = "hnlm_ray.models.losses:generalised_cross_entropy"
    takes_scores: ClassVar[bool] = True
    name: Literal["gbce"] = "gbce"
    calibration: Fraction = 0.75
    """t of the paper. 0: binary cross-entropy, the loss of SASRec. 1: sigmoids of scores become probabilities."""


class PairwiseContrastiveOptions(LossOptions):
    """``-log(exp(s_ui / t) / (exp(s_ui / t) + exp(s_uj / t)))`` of cosines."""

    implementation: ClassVar[str] = "hnlm_ray.models.losses:pairwise_contrastive"
    is_cosine: ClassVar[bool] = True
    name: Literal["pairwise_contrastive"] = "pairwise_contrastive"
    temperature: Temperature = 0.2
    """Divides the scores or cosines before the softmax."""


class SampledSoftmaxOptions(LossOptions):
    """``-s_ui / t + log of the sum of exp(s_uj / t)`` over the negatives, of cosines (Wu et al., TOIS 2024)."""

    implementation: ClassVar[str] = "hnlm_ray.models.losses:softmax"
    is_cosine: ClassVar[bool] = True
    is_softmax: ClassVar[bool] = True
    name: Literal["softmax"] = "softmax"
    temperature: Temperature = 0.2
    """Divides the scores or cosines before the softmax."""


class BSLOptions(LossOptions):
    """The softmax loss with a power on its sum: ``-s_ui / t + power * log of the sum`` (Wu et al., ICDE 2024)."""

    implementation: ClassVar[str] = "hnlm_ray.models.losses:softmax"
    is_cosine: ClassVar[bool] = True
    is_softmax: ClassVar[bool] = True
    name: Literal["bsl"] = "bsl"
    temperature: Temperature = 0.2
    """Divides the scores or cosines before the softmax."""
    power: float = Field(default=1.1, gt=0.0)
    """The ratio of the temperatures of negatives and positives; 1 is the softmax loss."""


class SLAtKOptions(LossOptions):
    """The softmax loss weighted by how near the positive is to the user's top K (Yang et al., KDD 2025)."""

    implementation: ClassVar[str] = "hnlm_ray.models.losses:softmax_at_k"
    is_cosine: ClassVar[bool] = True
    is_softmax: ClassVar[bool] = True
    name: Literal["sl_at_k"] = "sl_at_k"
    temperature: Temperature = 0.2
    """Divides the scores or cosines before the softmax."""
    weight_temperature: Temperature = 1.0
    """Divides the distance from the rank ``k`` in the weight of a positive."""
    k: Positive = 20
    """The rank that matters."""
    refresh: Positive = 5
    """Epochs between computations of each user's K-th best score."""

    @property
    def arguments(self) -> dict[str, float]:
        """See :class:`LossOptions`; the threshold comes with the scores."""
        return self.model_dump(exclude={"name", "k", "refresh"})

    @property
    def threshold(self) -> tuple[int, int]:
        """See :class:`LossOptions`."""
        return self.k, self.refresh


class CustomLossOptions(CustomOptions, LossOptions):
    """A loss of your own: ``{class: my.module.loss, ...}``, a function of gaps (B, K) and of the other options."""

    @property
    def arguments(self) -> dict[str, Any]:
        """See :class:`LossOptions`."""
        return self.options


Loss = Annotated[
    BPROptions
    | HingeOptions
    | SampledSoftmaxOptions
    | BSLOptions
    | SLAtKOptions
    | PairwiseContrastiveOptions
    | GBCEOptions
    | CustomLossOptions,
    Field(discriminator="name"),
    Plugged("hnlm_ray.losses", lambda: kinds(Loss)),
]
"""Any of them."""
