"""One way to train a CF model: backbone, sampler, loss, what the language model's negatives add, and the optimizer.

Backbone, sampler and loss are sections chosen by ``name``; where the defaults suit, the name alone will do::

    dns: {backbone: lightgcn, sampler: {name: dns, candidates: 32}, loss: bpr}

Defaults are those of the publications named in ``hnlm_ray.models`` and ``hnlm_ray.samplers``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from hnlm_ray.config.backbones import CLOSED_FORM, Backbone, LightGCNOptions
from hnlm_ray.config.losses import BPROptions, Loss
from hnlm_ray.config.named import Temperature, Weight
from hnlm_ray.config.samplers import InBatchOptions, Sampler, UniformOptions
from hnlm_ray.config.section import Fraction, Positive, Section

__all__ = ["VariantConfig"]


class VariantConfig(Section):
    """One way to train; every variant is trained, evaluated and compared."""

    backbone: Backbone = LightGCNOptions()
    dim: Positive = 64
    sampler: Sampler = UniformOptions()
    loss: Loss = BPROptions()
    item_text: bool = False
    """Add the text vector of each item, through a trained linear map, to its first-layer embedding."""
    semantic: bool = False
    """Use the language model's hard negatives, beside whatever the sampler gives."""
    semantic_source: Literal["text", "item", "tuned", "retrieved"] = "text"
    """``text``: the text vector of the matched item, aligned by a trained module. ``item``: the CF vector of the
    matched item itself. ``tuned``: the vector that the tuned encoder gives to the pair, aligned by a trained module.
    ``retrieved``: the items nearest to that vector, by their CF vectors."""
    semantic_use: Literal["mix", "candidates"] = "mix"
    """``mix``: as ``alpha`` says. ``candidates``: the items join those of the sampler ``dns`` or ``mixgcf``, which
    chooses; for the sources ``item`` and ``retrieved``."""
    semantic_control: Literal["none", "shuffled", "random"] = "none"
    """What to compare with: ``shuffled``, the vectors of other pairs; ``random``, vectors that say nothing."""
    alignment: Literal["trained", "frozen"] = "trained"
    """``frozen``: the module that aligns vectors stays as it starts; to compare with."""
    alpha: Fraction = 0.0
    """Share of the semantic vector. Losses over pairs: in the mixed negative (HNLMRec, joint objective). Softmax
    losses: the semantic vector is one more negative, which weighs ``alpha`` times all sampled ones together."""
    alpha_mode: Literal["fixed", "rising", "learned"] = "fixed"
    """``rising``: from 0 to ``alpha`` over the first half of the epochs. ``learned``: trained, and starts there."""
    contrastive_weight: Weight = 0.0
    contrastive_temperature: Temperature = 0.2
    epochs: Positive = 100
    batch_size: Positive = 2048
    learning_rate: float = Field(default=1e-3, gt=0.0)
    learning_rate_mode: Literal["fixed", "cosine"] = "fixed"
    """``cosine``: falls along a half cosine from ``learning_rate`` in the first epoch towards 0 after the last of
    ``epochs`` (Loshchilov and Hutter, ICLR 2017): fast at first and without noise in the end."""
    init_std: float = Field(default=0.1, gt=0.0)
    """Standard deviation of the first embeddings: 0.1 in the code of LightGCN's authors; Xavier's rule, which other
    libraries use, gives about 0.01 to 0.04."""
    l2: Weight = 1e-4
    """Weight of the penalty on first-layer embeddings, see ``l2_on``."""
    l2_on: Literal["batch", "norm", "all"] = "batch"
    """Libraries differ in silence, so it is said: ``batch``: half the squares of the rows of the batch, over its size
    (LightGCN's authors). ``norm``: the plain norms of those rows, over its size (RecBole). ``all``: half the squares of
    all rows, in every batch (weight decay)."""
    positives: Literal["interaction", "user"] = "interaction"
    """``interaction``: an epoch takes each train pair once. ``user``: it takes as many users, each alike, and one of
    their pairs (LightGCN's authors)."""
    patience: Positive = 10
    """Validations without a better NDCG@20 before training stops."""
    validate_every: Positive = 5
    """Epochs between validations."""

    @property
    def is_trained(self) -> bool:
        """Whether there is anything to train; baselines in closed form are computed."""
        return self.backbone.name not in CLOSED_FORM

    @property
    def is_tuned(self) -> bool:
        """Whether its hard negatives come from a tuned encoder."""
        return self.semantic and self.semantic_source in ("tuned", "retrieved")

    @model_validator(mode="after")
    def _semantic_options(self) -> VariantConfig:
        if not self.semantic and (self.alpha > 0.0 or self.contrastive_weight > 0.0):
            raise ValueError("alpha and contrastive_weight have no effect without semantic: true")
        if not self.semantic and (self.semantic_use, self.semantic_control) != ("mix", "none"):
            raise ValueError("semantic_use and semantic_control have no effect without semantic: true")
        if self.alpha_mode == "learned" and not 0.0 < self.alpha < 1.0:
            raise ValueError(f"a learned alpha must start between 0 and 1, alpha is {self.alpha:g}")
        return self

    @model_validator(mode="after")
    def _candidates_are_items(self) -> VariantConfig:
        if self.semantic_use == "mix":
            return self
        if self.semantic_source not in ("item", "retrieved"):
            raise ValueError("semantic_use: candidates needs items: set semantic_source: item or retrieved")
        if self.sampler.name not in ("dns", "mixgcf"):
            raise ValueError(f"the sampler {self.sampler.name} takes no candidates: use dns or mixgcf")
        if self.alpha > 0.0:
            raise ValueError("alpha has no effect with semantic_use: candidates")
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> VariantConfig:
        if self.semantic and (not self.is_trained or self.backbone.name == "directau"):
            raise ValueError(f"the backbone {self.backbone.name} takes no negatives, so semantic: true has no effect")
        if self.sampler.name in _PER_LAYER and self.backbone.name not in ("mf", "lightgcn"):
            raise ValueError(f"the sampler {self.sampler.name} goes with the backbones mf and lightgcn")
        if self.sampler.name in _PER_LAYER and self.loss.name not in ("bpr", "hinge"):
            raise ValueError(f"the sampler {self.sampler.name} makes one negative per pair: use the loss bpr or hinge")
        return self

    @model_validator(mode="after")
    def _text_is_used(self) -> VariantConfig:
        if self.item_text and not self.is_trained:
            raise ValueError(f"the backbone {self.backbone.name} has no item embeddings, so item_text has no effect")
        return self

    @model_validator(mode="after")
    def _batch_fits(self) -> VariantConfig:
        if self.batch_size == 1 and self.backbone.name == "directau":
            raise ValueError("directau compares the pairs of a batch, so batch_size must be at least 2")
        if not isinstance(self.sampler, InBatchOptions):
            return self
        if self.batch_size == 1:
            raise ValueError("in_batch takes the other pairs of the batch, so batch_size must be at least 2")
        if self.loss.name not in _SOFTMAX:
            raise ValueError(f"the sampler in_batch goes with a softmax loss ({', '.join(_SOFTMAX)})")
        if self.sampler.correct and self.positives == "user":
            raise ValueError(
                "in_batch corrects for interactions drawn alike: set positives: interaction or correct: false"
            )
        return self


_SOFTMAX = ("softmax", "bsl", "sl_at_k")
_PER_LAYER = ("mixgcf", "dens")
