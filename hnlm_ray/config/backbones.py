"""Options of the backbones; the models are in :mod:`hnlm_ray.models`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hnlm_ray.config.named import ByName, Named, Temperature, Weight
from hnlm_ray.config.section import Positive

__all__ = [
    "CLOSED_FORM",
    "ITEM_ITEM",
    "Backbone",
    "DirectAUOptions",
    "EASEOptions",
    "ItemKNNOptions",
    "LightGCNOptions",
    "MFOptions",
    "NGCFOptions",
    "PopularityOptions",
    "SGLOptions",
    "SimGCLOptions",
    "XSimGCLOptions",
]


class MFOptions(Named):
    """Matrix factorisation: an embedding per user and item."""

    name: Literal["mf"] = "mf"


class LightGCNOptions(Named):
    """Mean of the embeddings and their smoothings over the graph (He et al., SIGIR 2020)."""

    name: Literal["lightgcn"] = "lightgcn"
    layers: Positive = 3


class NGCFOptions(Named):
    """Smoothing with weights, interactions and a nonlinearity per layer (Wang et al., SIGIR 2019)."""

    name: Literal["ngcf"] = "ngcf"
    layers: Positive = 3
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the coordinates of a message that are dropped in training."""


class SGLOptions(Named):
    """LightGCN with contrast between two graphs that each lost some edges (Wu et al., SIGIR 2021, edge dropout)."""

    name: Literal["sgl"] = "sgl"
    layers: Positive = 3
    drop: float = Field(default=0.1, ge=0.0, lt=1.0)
    contrast_weight: Weight = 0.1
    contrast_temperature: Temperature = 0.2


class SimGCLOptions(Named):
    """LightGCN with contrast between two noisy passes (Yu et al., SIGIR 2022)."""

    name: Literal["simgcl"] = "simgcl"
    layers: Positive = 3
    noise: Weight = 0.1
    """Length of the noise added to each embedding after each layer."""
    contrast_weight: Weight = 0.5
    contrast_temperature: Temperature = 0.2


class XSimGCLOptions(Named):
    """One noisy pass, contrasted with one of its own layers (Yu et al., TKDE 2023)."""

    name: Literal["xsimgcl"] = "xsimgcl"
    layers: Positive = 3
    noise: Weight = 0.2
    contrast_layer: Positive = 1
    contrast_weight: Weight = 0.2
    contrast_temperature: Temperature = 0.15

    @model_validator(mode="after")
    def _layer_exists(self) -> XSimGCLOptions:
        if self.contrast_layer > self.layers:
            raise ValueError(f"contrast_layer is {self.contrast_layer}, there are {self.layers} layers")
        return self


class DirectAUOptions(Named):
    """Alignment and uniformity instead of a ranking loss (Wang et al., KDD 2022); takes no negatives."""

    name: Literal["directau"] = "directau"
    layers: int = Field(default=0, ge=0)
    """Of the LightGCN encoder; 0 is matrix factorisation."""
    uniformity_weight: Weight = 1.0


class PopularityOptions(Named):
    """Baseline: items by their number of train interactions."""

    name: Literal["popularity"] = "popularity"


class ItemKNNOptions(Named):
    """Baseline: the nearest neighbours of an item by cosine of who met it (Sarwar et al., WWW 2001)."""

    name: Literal["item_knn"] = "item_knn"
    neighbours: Positive = 100
    shrink: Weight = 10.0
    """Added to the denominator, so that few common users count for less."""


class EASEOptions(Named):
    """Baseline: a linear item-item model in closed form (Steck, WWW 2019)."""

    name: Literal["ease"] = "ease"
    ridge: float = Field(default=500.0, gt=0.0)
    """The ridge penalty, lambda of the paper."""


Backbone = Annotated[
    MFOptions
    | LightGCNOptions
    | NGCFOptions
    | SGLOptions
    | SimGCLOptions
    | XSimGCLOptions
    | DirectAUOptions
    | PopularityOptions
    | ItemKNNOptions
    | EASEOptions,
    Field(discriminator="name"),
    ByName,
]
"""Any of them."""

ITEM_ITEM = ("item_knn", "ease")
"""Backbones whose model is weights between items, without a vector per user."""

CLOSED_FORM = ("popularity", *ITEM_ITEM)
"""Backbones that are computed, not trained."""
