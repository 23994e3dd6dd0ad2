"""One way to train a CF model: backbone, sampler, loss, what the language model's negatives add, and the optimizer.

Backbone, sampler and loss are sections chosen by ``name``; where the defaults suit, the name alone will do::

    dns: {backbone: lightgcn, sampler: {name: dns, candidates: 32}, loss: bpr}

Defaults are those of the publications named in ``hnlm_ray.models`` and ``hnlm_ray.samplers``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from hnlm_ray.section import Fraction, Positive, Section

__all__ = [
    "AHNS",
    "BPR",
    "BSL",
    "CLOSED_FORM",
    "DENS",
    "DNS",
    "EASE",
    "ITEM_ITEM",
    "MF",
    "NGCF",
    "SGL",
    "Backbone",
    "DirectAU",
    "Hinge",
    "InBatch",
    "ItemKNN",
    "LightGCN",
    "Loss",
    "MixGCF",
    "PairwiseContrastive",
    "Popularity",
    "PopularitySampler",
    "SLAtK",
    "SampledSoftmax",
    "Sampler",
    "SimGCL",
    "SoftmaxImportance",
    "Uniform",
    "VariantConfig",
    "XSimGCL",
]

Weight = Annotated[float, Field(ge=0.0)]
Temperature = Annotated[float, Field(gt=0.0)]


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class _Named(Section):
    """A section that is chosen by its name."""

    def __str__(self) -> str:
        """The name, and the options that differ from their defaults."""
        options = self.model_dump(exclude_defaults=True, exclude={"name"})
        shown = ", ".join(f"{key}={value}" for key, value in options.items())
        name: str = type(self).model_fields["name"].default
        return f"{name}({shown})" if shown else name


class MF(_Named):
    """Matrix factorisation: an embedding per user and item."""

    name: Literal["mf"] = "mf"


class LightGCN(_Named):
    """Mean of the embeddings and their smoothings over the graph (He et al., SIGIR 2020)."""

    name: Literal["lightgcn"] = "lightgcn"
    layers: Positive = 3


class NGCF(_Named):
    """Smoothing with weights, interactions and a nonlinearity per layer (Wang et al., SIGIR 2019)."""

    name: Literal["ngcf"] = "ngcf"
    layers: Positive = 3
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the coordinates of a message that are dropped in training."""


class SGL(_Named):
    """LightGCN with contrast between two graphs that each lost some edges (Wu et al., SIGIR 2021, edge dropout)."""

    name: Literal["sgl"] = "sgl"
    layers: Positive = 3
    drop: float = Field(default=0.1, ge=0.0, lt=1.0)
    contrast_weight: Weight = 0.1
    contrast_temperature: Temperature = 0.2


class SimGCL(_Named):
    """LightGCN with contrast between two noisy passes (Yu et al., SIGIR 2022)."""

    name: Literal["simgcl"] = "simgcl"
    layers: Positive = 3
    noise: Weight = 0.1
    """Length of the noise added to each embedding after each layer."""
    contrast_weight: Weight = 0.5
    contrast_temperature: Temperature = 0.2


class XSimGCL(_Named):
    """One noisy pass, contrasted with one of its own layers (Yu et al., TKDE 2023)."""

    name: Literal["xsimgcl"] = "xsimgcl"
    layers: Positive = 3
    noise: Weight = 0.2
    contrast_layer: Positive = 1
    contrast_weight: Weight = 0.2
    contrast_temperature: Temperature = 0.15

    @model_validator(mode="after")
    def _layer_exists(self) -> XSimGCL:
        if self.contrast_layer > self.layers:
            raise ValueError(f"contrast_layer is {self.contrast_layer}, there are {self.layers} layers")
        return self


class DirectAU(_Named):
    """Alignment and uniformity instead of a ranking loss (Wang et al., KDD 2022); takes no negatives."""

    name: Literal["directau"] = "directau"
    layers: int = Field(default=0, ge=0)
    """Of the LightGCN encoder; 0 is matrix factorisation."""
    uniformity_weight: Weight = 1.0


class Popularity(_Named):
    """Baseline: items by their number of train interactions."""

    name: Literal["popularity"] = "popularity"


class ItemKNN(_Named):
    """Baseline: the nearest neighbours of an item by cosine of who met it (Sarwar et al., WWW 2001)."""

    name: Literal["item_knn"] = "item_knn"
    neighbours: Positive = 100
    shrink: Weight = 10.0
    """Added to the denominator, so that few common users count for less."""


class EASE(_Named):
    """Baseline: a linear item-item model in closed form (Steck, WWW 2019)."""

    name: Literal["ease"] = "ease"
    ridge: float = Field(default=500.0, gt=0.0)
    """The ridge penalty, lambda of the paper."""


Backbone = Annotated[
    MF | LightGCN | NGCF | SGL | SimGCL | XSimGCL | DirectAU | Popularity | ItemKNN | EASE,
    Field(discriminator="name"),
    BeforeValidator(_by_name),
]

ITEM_ITEM = ("item_knn", "ease")
"""Backbones whose model is weights between items, without a vector per user."""

CLOSED_FORM = ("popularity", *ITEM_ITEM)
"""Backbones that are computed, not trained."""


class Uniform(_Named):
    """Every item that the user has not met, alike."""

    name: Literal["uniform"] = "uniform"
    negatives: Positive = 1
    rejection: Literal["exact", "skip", "none"] = "exact"
    """What happens to a draw that the user has met. ``exact``: it cannot happen. ``skip``: it counts for nothing, as in
    implicit and cornac. ``none``: it is used, as in spotlight."""
    shared: bool = False
    """One draw for the whole batch, which makes hundreds of negatives cheap; draws that a user has met are masked."""


class PopularitySampler(_Named):
    """Items in proportion to a power of their train interactions; met ones are drawn again."""

    name: Literal["popularity"] = "popularity"
    negatives: Positive = 1
    exponent: float = Field(default=0.75, ge=0.0)


class InBatch(_Named):
    """The positives of the other pairs of the batch."""

    name: Literal["in_batch"] = "in_batch"
    correct: bool = True
    """Subtract the log of the probability with which an item comes into a batch (Yi et al., RecSys 2019)."""


class DNS(_Named):
    """One of the best-scored of uniform candidates (Zhang et al., SIGIR 2013; DNS(M, N): Shi et al., WWW 2023)."""

    name: Literal["dns"] = "dns"
    candidates: Positive = 8
    """N."""
    top: Positive = 1
    """M: one of the M best, each alike."""

    @model_validator(mode="after")
    def _enough(self) -> DNS:
        if self.top > self.candidates:
            raise ValueError(f"top is {self.top}, there are {self.candidates} candidates")
        return self


class SoftmaxImportance(_Named):
    """All candidates, weighted by a softmax of their losses: Softmax(rho, N) (Shi et al., WWW 2023)."""

    name: Literal["softmax_importance"] = "softmax_importance"
    candidates: Positive = 64
    rho: float = Field(default=1.0, gt=0.0)


class MixGCF(_Named):
    """Candidates mixed with the positive, the best chosen per layer (Huang et al., KDD 2021)."""

    name: Literal["mixgcf"] = "mixgcf"
    candidates: Positive = 16


class DENS(_Named):
    """Candidates chosen by disentangled factors (Lai et al., WSDM 2023)."""

    name: Literal["dens"] = "dens"
    candidates: Positive = 6
    gamma: Weight = 0.3
    """Weight of the contrast between relevant and irrelevant factors."""
    warmup: Positive = 100
    """Epochs until the choice rests on irrelevant factors alone."""


class AHNS(_Named):
    """The candidate whose score suits that of the positive (Lai et al., AAAI 2024)."""

    name: Literal["ahns"] = "ahns"
    candidates: Positive = 16
    alpha: float = Field(default=0.1, gt=0.0)
    beta: float = Field(default=0.4, gt=0.0)
    p: float = Field(default=-2.0, lt=-1.0)


Sampler = Annotated[
    Uniform | PopularitySampler | InBatch | DNS | SoftmaxImportance | MixGCF | DENS | AHNS,
    Field(discriminator="name"),
    BeforeValidator(_by_name),
]


class BPR(_Named):
    """``-log sigmoid(s_ui - s_uj)``; with several negatives their weighted mean (Rendle et al., UAI 2009)."""

    name: Literal["bpr"] = "bpr"


class Hinge(_Named):
    """``max(0, s_uj - s_ui + margin)``, as in the authors' code of HNLMRec."""

    name: Literal["hinge"] = "hinge"
    margin: float = Field(default=0.3, gt=0.0)


class SampledSoftmax(_Named):
    """``-s_ui / t + log of the sum of exp(s_uj / t)`` over the negatives, of cosines (Wu et al., TOIS 2024)."""

    name: Literal["softmax"] = "softmax"
    temperature: Temperature = 0.2


class BSL(_Named):
    """The softmax loss with a power on its sum: ``-s_ui / t + power * log of the sum`` (Wu et al., ICDE 2024)."""

    name: Literal["bsl"] = "bsl"
    temperature: Temperature = 0.2
    power: float = Field(default=1.1, gt=0.0)
    """The ratio of the temperatures of negatives and positives; 1 is the softmax loss."""


class SLAtK(_Named):
    """The softmax loss weighted by how near the positive is to the user's top K (Yang et al., KDD 2025)."""

    name: Literal["sl_at_k"] = "sl_at_k"
    temperature: Temperature = 0.2
    weight_temperature: Temperature = 1.0
    k: Positive = 20
    refresh: Positive = 5
    """Epochs between computations of each user's K-th best score."""


class PairwiseContrastive(_Named):
    """``-log(exp(s_ui / t) / (exp(s_ui / t) + exp(s_uj / t)))`` of cosines."""

    name: Literal["pairwise_contrastive"] = "pairwise_contrastive"
    temperature: Temperature = 0.2


Loss = Annotated[
    BPR | Hinge | SampledSoftmax | BSL | SLAtK | PairwiseContrastive,
    Field(discriminator="name"),
    BeforeValidator(_by_name),
]


class VariantConfig(Section):
    """One way to train; every variant is trained, evaluated and compared."""

    backbone: Backbone = LightGCN()
    dim: Positive = 64
    sampler: Sampler = Uniform()
    loss: Loss = BPR()
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
        if not isinstance(self.sampler, InBatch):
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
