"""Options of the backbones; the models are in :mod:`hnlm_ray.models`.

To add a backbone, write its model there, and here its options with the traits that hold for it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from hnlm_ray.config.blends import EnsembleMember, VariantFits
from hnlm_ray.config.plugins import CustomOptions, Plugged
from hnlm_ray.config.section import ByName, Named, Positive, Section, Temperature, Weight, kinds

__all__ = [
    "Backbone",
    "BackboneOptions",
    "Contrast",
    "CustomBackboneOptions",
    "DirectAUOptions",
    "EASEOptions",
    "EnsembleOptions",
    "ItemKNNOptions",
    "ItemListsOptions",
    "LightGCNOptions",
    "MFOptions",
    "NGCFOptions",
    "PopularityOptions",
    "SASRecOptions",
    "SGLOptions",
    "SimGCLOptions",
    "XSimGCLOptions",
]


class Contrast(NamedTuple):
    """The contrast between two views of the nodes of a batch."""

    weight: float
    temperature: float
    """Divides the scores or cosines before the softmax."""


class BackboneOptions(Named):
    """What is common to all backbones: by default trained with a ranking loss on negatives."""

    is_trained: ClassVar[bool] = True
    """Whether there is anything to train; a baseline in closed form is computed."""
    takes_negatives: ClassVar[bool] = True
    """Whether its objective contrasts positives with negatives, so that sampler and loss have an effect."""
    gives_layers: ClassVar[bool] = False
    """Whether its vectors are a mean of layers, which some samplers choose by."""
    has_user_vectors: ClassVar[bool] = True
    """Whether a user has a vector; otherwise the model is weights between items."""

    is_sequential: ClassVar[bool] = False
    """Whether it knows a user by the order of their items in time, and not by an embedding."""

    @property
    def window(self) -> int:
        """The latest items that a user is known by, of a sequential one; 0 of others."""
        return 0

    @property
    def contrast(self) -> Contrast | None:
        """The contrast between the two views that it gives in training; None where it gives none."""
        return None

    @property
    def uniformity(self) -> float | None:
        """The weight of uniformity, where alignment and uniformity are its objective."""
        return None

    @property
    def joins(self) -> tuple[VariantFits, ...]:
        """The fits of other variants whose vectors it joins; none where it has a model of its own."""
        return ()

    def final_dim(self, dim: int) -> int:
        """The dimension of the final vectors, from that of the embeddings."""
        return dim


class _ContrastsViews(BackboneOptions):
    contrast_weight: Weight
    """Weight of the contrast between two views."""
    contrast_temperature: Temperature = 0.2
    """Divides the cosines of the contrast between two views."""

    @property
    def contrast(self) -> Contrast:
        """See :class:`BackboneOptions`."""
        return Contrast(self.contrast_weight, self.contrast_temperature)


class _ClosedForm(BackboneOptions):
    is_trained: ClassVar[bool] = False
    takes_negatives: ClassVar[bool] = False


class MFOptions(BackboneOptions):
    """Matrix factorisation: an embedding per user and item."""

    implementation: ClassVar[str] = "hnlm_ray.models.mf:MatrixFactorisation"
    gives_layers: ClassVar[bool] = True
    name: Literal["mf"] = "mf"


class LightGCNOptions(BackboneOptions):
    """Mean of the embeddings and their smoothings over the graph (He et al., SIGIR 2020)."""

    implementation: ClassVar[str] = "hnlm_ray.models.lightgcn:LightGCN"
    gives_layers: ClassVar[bool] = True
    name: Literal["lightgcn"] = "lightgcn"
    layers: Positive = 3
    """Hops over the graph of interactions."""


class NGCFOptions(BackboneOptions):
    """Smoothing with weights, interactions and a nonlinearity per layer (Wang et al., SIGIR 2019)."""

    implementation: ClassVar[str] = "hnlm_ray.models.ngcf:NGCF"
    name: Literal["ngcf"] = "ngcf"
    layers: Positive = 3
    """Hops over the graph of interactions."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the coordinates of a message that are dropped in training."""

    def final_dim(self, dim: int) -> int:
        """See :class:`BackboneOptions`; the vectors of all layers are joined."""
        return dim * (self.layers + 1)


class SGLOptions(_ContrastsViews):
    """LightGCN with contrast between two graphs that each lost some edges (Wu et al., SIGIR 2021, edge dropout)."""

    implementation: ClassVar[str] = "hnlm_ray.models.sgl:SGL"
    name: Literal["sgl"] = "sgl"
    layers: Positive = 3
    """Hops over the graph of interactions."""
    drop: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the edges that a view leaves out."""
    contrast_weight: Weight = 0.1
    """Weight of the contrast between two views."""


class SimGCLOptions(_ContrastsViews):
    """LightGCN with contrast between two noisy passes (Yu et al., SIGIR 2022)."""

    implementation: ClassVar[str] = "hnlm_ray.models.simgcl:SimGCL"
    name: Literal["simgcl"] = "simgcl"
    layers: Positive = 3
    """Hops over the graph of interactions."""
    noise: Weight = 0.1
    """Length of the noise added to each embedding after each layer."""
    contrast_weight: Weight = 0.5
    """Weight of the contrast between two views."""


class XSimGCLOptions(_ContrastsViews):
    """One noisy pass, contrasted with one of its own layers (Yu et al., TKDE 2023)."""

    implementation: ClassVar[str] = "hnlm_ray.models.xsimgcl:XSimGCL"
    name: Literal["xsimgcl"] = "xsimgcl"
    layers: Positive = 3
    """Hops over the graph of interactions."""
    noise: Weight = 0.2
    """Length of the noise that is added to each layer."""
    contrast_layer: Positive = 1
    """Layer that the last one is contrasted with."""
    contrast_weight: Weight = 0.2
    """Weight of the contrast between two views."""
    contrast_temperature: Temperature = 0.15
    """Divides the cosines of the contrast between two views."""

    @model_validator(mode="after")
    def _layer_exists(self) -> XSimGCLOptions:
        if self.contrast_layer > self.layers:
            raise ValueError(f"contrast_layer is {self.contrast_layer}, there are {self.layers} layers")
        return self


class DirectAUOptions(BackboneOptions):
    """Alignment and uniformity instead of a ranking loss (Wang et al., KDD 2022); takes no negatives."""

    implementation: ClassVar[str] = "hnlm_ray.models.directau:DirectAU"
    takes_negatives: ClassVar[bool] = False
    name: Literal["directau"] = "directau"
    layers: int = Field(default=0, ge=0)
    """Of the LightGCN encoder; 0 is matrix factorisation."""
    uniformity_weight: Weight = 1.0
    """Weight of uniformity against alignment."""

    @property
    def uniformity(self) -> float:
        """See :class:`BackboneOptions`."""
        return self.uniformity_weight


class SASRecOptions(BackboneOptions):
    """A user is the last state of a transformer over the latest items in order (Kang and McAuley, ICDM 2018)."""

    implementation: ClassVar[str] = "hnlm_ray.models.sasrec:SASRec"
    is_sequential: ClassVar[bool] = True
    name: Literal["sasrec"] = "sasrec"
    length: Positive = 50
    """Latest items that are read."""
    blocks: Positive = 2
    """Blocks of the transformer."""
    heads: Positive = 1
    """Heads of the attention; they divide ``dim``."""
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Share of the coordinates that are dropped in training, of the rows that are read and of each part of a block."""

    @property
    def window(self) -> int:
        """See :class:`BackboneOptions`."""
        return self.length

    def final_dim(self, dim: int) -> int:
        """See :class:`BackboneOptions`.

        Raises:
            ValueError: the heads do not divide it.
        """
        if dim % self.heads:
            raise ValueError(f"{self.heads} heads do not divide dim={dim}")
        return dim


class PopularityOptions(_ClosedForm):
    """Baseline: items by their number of train interactions."""

    implementation: ClassVar[str] = "hnlm_ray.models.popularity:popularity"
    name: Literal["popularity"] = "popularity"


class ItemKNNOptions(_ClosedForm):
    """Baseline: the nearest neighbours of an item by cosine of their users (Sarwar et al., WWW 2001)."""

    implementation: ClassVar[str] = "hnlm_ray.models.item_knn:item_knn"
    has_user_vectors: ClassVar[bool] = False
    name: Literal["item_knn"] = "item_knn"
    neighbours: Positive = 100
    """Most similar items that each item keeps."""
    shrink: Weight = 10.0
    """Added to the denominator, so that few common users count for less."""


class EASEOptions(_ClosedForm):
    """Baseline: a linear item-item model in closed form (Steck, WWW 2019)."""

    implementation: ClassVar[str] = "hnlm_ray.models.ease:ease"
    has_user_vectors: ClassVar[bool] = False
    name: Literal["ease"] = "ease"
    ridge: float = Field(default=500.0, gt=0.0)
    """The ridge penalty, lambda of the paper."""


class ItemListsOptions(Section):
    """Lists between items beside the vectors of an ensemble: each item of a history votes for those of its list."""

    of: Annotated[ItemKNNOptions | EASEOptions, Field(discriminator="name"), ByName] = EASEOptions(ridge=100.0)
    """The model whose largest weights become the lists."""
    neighbours: Positive = 100
    """Items that an item votes for, at most."""
    weight: float = Field(default=0.25, gt=0.0)
    """Of the votes against the vectors, after the scores of both are brought to one scale for each user."""


class EnsembleOptions(_ClosedForm):
    """Fits of other variants as one model: their scores are brought to one scale for each user and added."""

    implementation: ClassVar[str] = "hnlm_ray.models.ensemble:ensemble"
    name: Literal["ensemble"] = "ensemble"
    members: tuple[EnsembleMember, ...] = Field(min_length=1)
    """Whose vectors are joined, for example ``[{variant: ours, seeds: [0, 1]}]``. Its vectors are as long as all of
    theirs together."""
    lists: ItemListsOptions | None = None
    """Lets the items of a user's history vote, too; null: they do not."""

    @property
    def joins(self) -> tuple[EnsembleMember, ...]:
        """See :class:`BackboneOptions`."""
        return self.members

    def __str__(self) -> str:
        """The name, and the fits."""
        fits = [
            f"{'' if member.weight == 1 else f'{member.weight:g} '}{member.variant}.s{seed}"
            for member in self.members
            for seed in member.seeds
        ]
        votes = [] if self.lists is None else [f"{self.lists.weight:g} lists of {self.lists.of.name}"]
        return f"{self.name}({' + '.join(fits + votes)})"


class CustomBackboneOptions(CustomOptions, BackboneOptions):
    """A backbone of your own: ``{class: my.module.Backbone, ...}``, made with graph, dimension, seed and the others."""


Backbone = Annotated[
    MFOptions
    | LightGCNOptions
    | NGCFOptions
    | SGLOptions
    | SimGCLOptions
    | XSimGCLOptions
    | DirectAUOptions
    | SASRecOptions
    | PopularityOptions
    | ItemKNNOptions
    | EASEOptions
    | EnsembleOptions
    | CustomBackboneOptions,
    Field(discriminator="name"),
    Plugged("hnlm_ray.backbones", lambda: kinds(Backbone)),
]
"""Any of them."""
