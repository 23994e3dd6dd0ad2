"""A variant, one way to train a CF model: backbone, sampler, loss, semantic negatives and the optimizer.

Backbone, sampler and loss are sections chosen by ``name``; the name alone stands for the section with its defaults::

    dns: {backbone: lightgcn, sampler: {name: dns, candidates: 32}, loss: bpr}

Defaults are those of the publications named in ``hnlm_ray.models`` and ``hnlm_ray.samplers``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, Literal

from pydantic import Field, model_validator

from hnlm_ray.config.backbones import Backbone, LightGCNOptions
from hnlm_ray.config.graphs import ItemGraphOptions
from hnlm_ray.config.guards import GuardOptions
from hnlm_ray.config.losses import BPROptions, Loss
from hnlm_ray.config.samplers import Sampler, UniformOptions
from hnlm_ray.config.section import Positive, Section, Temperature, Weight, kinds
from hnlm_ray.config.semantic import ExtraOptions, MixingOptions, Semantic

__all__ = ["TextContrastOptions", "VariantConfig"]


class TextContrastOptions(Section):
    """A contrast between items and their texts, as in RLMRec-Con (Ren et al., WWW 2024) for items.

    For the items of a batch, each once: ``-log(exp(cos(v_i, f(t_i)) / t) / sum over j of exp(cos(v_i, f(t_j)) / t))``,
    with the final vector ``v``, the text vector ``t`` and two trained layers ``f``.
    """

    weight: Weight = 0.1
    """Of the contrast in the loss."""
    temperature: Temperature = 0.2
    """Divides the cosines before the softmax."""


class VariantConfig(Section):
    """One way to train; every variant is trained, evaluated and compared."""

    backbone: Backbone = LightGCNOptions()
    """The model that gives users and items their vectors."""
    dim: Positive = 64
    """Length of the vectors."""
    sampler: Sampler = UniformOptions()
    """How negatives are drawn for a positive."""
    loss: Loss = BPROptions()
    """What is minimised."""
    item_text: bool = False
    """Add the text vector of each item, through a trained linear map, to its first-layer embedding."""
    item_features: bool = False
    """Add the features of each item, which ``data.features.items`` names, through a trained linear map, to its
    first-layer embedding."""
    user_features: bool = False
    """The same of users, by ``data.features.users``."""
    text_contrast: TextContrastOptions | None = None
    """Pull the final vector of each item towards its text vector after two trained layers, away from other items'."""
    item_graph: ItemGraphOptions | None = None
    """Smooth the embeddings of items over the graph of their nearest items, for example ``{source: text}``."""
    guard: GuardOptions | None = None
    """Weaken or leave out negatives that the user would probably like, for example ``{table: behaviour}``."""
    semantic: Semantic = None
    """The language model's hard negatives, in addition to the sampler's; null: none."""
    epochs: Positive = 100
    """Epochs at most."""
    batch_size: Positive = 2048
    """Positives of one step, over all workers."""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    """Of Adam."""
    learning_rate_mode: Literal["fixed", "cosine"] = "fixed"
    """``cosine``: falls along a half cosine from ``learning_rate`` in the first epoch towards 0 after the last of
    ``epochs`` (Loshchilov and Hutter, ICLR 2017)."""
    init_std: float = Field(default=0.1, gt=0.0)
    """Standard deviation of the initial embeddings: 0.1 in the code of LightGCN's authors; Xavier initialisation, which
    other libraries use, gives about 0.01 to 0.04."""
    l2: Weight = 1e-4
    """Weight of the penalty on first-layer embeddings, see ``l2_on``."""
    l2_on: Literal["batch", "norm", "all"] = "batch"
    """What is penalised, on which libraries differ. ``batch``: half the squared norm of the rows of the batch, over
    its size (LightGCN's authors). ``norm``: the norms of those rows, over its size (RecBole). ``all``: half the squared
    norm of all rows, in every batch (weight decay)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """``bfloat16``: products of matrices in training round their factors to it, which saves time on GPUs that have it;
    parameters, sums, losses, Adam, the graph of interactions and what ranks stay in float32."""
    positives: Literal["interaction", "user"] = "interaction"
    """``interaction``: an epoch takes each train pair once. ``user``: it draws as many users uniformly, and one pair of
    each (LightGCN's authors)."""
    patience: Positive = 10
    """Validations without a better NDCG@20 before training stops."""
    validate_every: Positive = 5
    """Epochs between validations."""

    @property
    def is_trained(self) -> bool:
        """Whether there is anything to train; baselines in closed form are computed."""
        return self.backbone.is_trained

    @property
    def is_tuned(self) -> bool:
        """Whether its hard negatives come from a tuned encoder."""
        return self.semantic is not None and self.semantic.is_tuned

    @property
    def can_teach(self) -> bool:
        """Whether an encoder can be tuned on its vectors: it is trained, and without anything that a teacher makes."""
        return self.is_trained and self.semantic is None and self.guard is None and not self.reads_tuned_items

    @property
    def reads_text_vectors(self) -> bool:
        """Whether it reads the text vectors of the items themselves."""
        return self.item_text or self.text_contrast is not None

    @property
    def reads_tuned_items(self) -> bool:
        """Whether its graph of items comes from the tuned encoder."""
        return self.item_graph is not None and self.item_graph.source == "tuned"

    @model_validator(mode="after")
    def _parts_fit(self) -> VariantConfig:
        for problem in chain(self._semantic_problems(), self._side_problems(), self._problems()):
            raise ValueError(problem)
        return self

    def _semantic_problems(self) -> Iterator[str]:
        """What keeps ``semantic`` from having an effect."""
        semantic, sampler, loss = self.semantic, self.sampler, self.loss
        if semantic is None:
            return
        if not self.backbone.takes_negatives:
            yield f"the backbone {self.backbone.name} takes no negatives, so semantic has no effect"
        if semantic.use == "candidates" and not sampler.takes_candidates:
            able = _names(Sampler, "takes_candidates", " or ")
            yield f"the sampler {sampler.name} takes no candidates: use {able}"
        if loss.is_softmax and semantic.mixing != MixingOptions():
            yield f"semantic.mixing has no effect with the softmax loss {loss.name}: use semantic.extra"
        if not loss.is_softmax and semantic.extra != ExtraOptions():
            yield f"semantic.extra has no effect with {loss.name}, a loss over pairs: use semantic.mixing"

    def _side_problems(self) -> Iterator[str]:
        """What keeps texts, features, ``item_graph`` and ``guard`` from having an effect."""
        backbone, sampler, graph = self.backbone, self.sampler, self.item_graph
        for option in ("item_text", "item_features", "user_features", "text_contrast", "item_graph"):
            if getattr(self, option) and not self.is_trained:
                yield f"the backbone {backbone.name} has no item embeddings, so {option} has no effect"
        if self.user_features and backbone.is_sequential:
            yield f"the backbone {backbone.name} has no embeddings of users, so user_features has no effect"
        if graph and graph.place != "before" and (sampler.needs_layers or backbone.contrast):
            part = sampler if sampler.needs_layers else backbone
            yield f"{part.name} works on layers, which item_graph.place={graph.place} is not part of: use before"
        if self.guard and not backbone.takes_negatives:
            yield f"the backbone {backbone.name} takes no negatives, so guard has no effect"

    def _problems(self) -> Iterator[str]:
        """What else keeps the parts from going together."""
        backbone, sampler, loss = self.backbone, self.sampler, self.loss
        if sampler.needs_layers and not backbone.gives_layers:
            able = _names(Backbone, "gives_layers", " and ")
            yield f"the sampler {sampler.name} goes with the backbones {able}"
        if sampler.needs_layers and loss.is_cosine:
            able = _names(Loss, "is_cosine", " or ", wanted=False)
            yield f"the sampler {sampler.name} mixes layers, whose lengths cosines lose: use the loss {able}"
        if sampler.needs_softmax and not loss.is_softmax:
            able = _names(Loss, "is_softmax", ", ")
            yield f"the sampler {sampler.name} goes with a softmax loss ({able})"
        backbone.final_dim(self.dim)
        if backbone.is_sequential and self.positives == "user":
            yield f"{backbone.name} is trained on whole histories, so positives: user has no effect"
        if sampler.assumes_interactions and self.positives == "user":
            yield f"{sampler.name} corrects for uniform interactions: set positives: interaction or correct: false"
        for part, compares in ((sampler, sampler.needs_batch), (backbone, backbone.uniformity is not None)):
            if compares and self.batch_size == 1:
                yield f"{part.name} compares the pairs of a batch, so batch_size must be at least 2"


def _names(union: Any, trait: str, joint: str, *, wanted: bool = True) -> str:
    """Names of the sections of a union that have a trait, or have it not."""
    return joint.join(name for name, kind in kinds(union).items() if getattr(kind, trait) == wanted)
