"""The one configuration tree: every section and its defaults.

Every section is frozen and refuses unknown keys, naming the nearest valid one. A string under a field is its help.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hnlm_ray.config.callbacks import CallbackSection
from hnlm_ray.config.data import DataConfig
from hnlm_ray.config.defaults import completed
from hnlm_ray.config.graphs import NeighboursConfig
from hnlm_ray.config.guards import GuardConfig
from hnlm_ray.config.language import EmbedConfig, GroundConfig, LLMConfig, NegativesConfig, ProfilesConfig
from hnlm_ray.config.resources import WorkerOptions
from hnlm_ray.config.search import SearchConfig
from hnlm_ray.config.section import Positive, Section
from hnlm_ray.config.serving import BEST, ServeConfig
from hnlm_ray.config.study import StudyConfig
from hnlm_ray.config.tracking import TrackingConfig
from hnlm_ray.config.tuning import EncodeConfig, TuneConfig
from hnlm_ray.config.variants import VariantConfig

__all__ = [
    "REFERENCE_RANKERS",
    "SELECTION_CUTOFF",
    "ClusterConfig",
    "Config",
    "EvaluateConfig",
    "TrainConfig",
]

REFERENCE_RANKERS = ("popularity", "random")
"""Rankers without training, by which every evaluation shows what the figures of the variants mean."""

_VARIANT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class TrainConfig(WorkerOptions):
    """The CF models to train; users are divided over the workers."""

    workers: Annotated[Positive | None, BeforeValidator(lambda value: None if value == "auto" else value)] = None
    """Workers that one fit is divided over: with one, a process that uses all cores of its machine, with more, those of
    Ray Train. ``auto``, null: one for every 5 million interactions, at most one per machine or, with GPUs, per GPU."""
    seeds: tuple[int, ...] = (0,)
    """Every variant is fitted once with each."""
    variants: dict[str, VariantConfig] = Field(default_factory=dict)
    """By name. Without any, ``ours`` and what it is compared with, of which none needs a model that is not
    configured: see :mod:`hnlm_ray.config.defaults`."""
    callbacks: tuple[CallbackSection, ...] = ()
    """Classes of your own that are told of every epoch and validation, such as ``[{class: my.module.Callback}]``. They
    decide nothing that is computed, so no fit is made again for them."""

    @field_validator("variants", mode="after")
    @classmethod
    def _names_can_be_used(cls, variants: dict[str, VariantConfig]) -> dict[str, VariantConfig]:
        # A name is part of the names of stages, which are folders, and of options' paths.
        taken = set(REFERENCE_RANKERS)
        for name in variants:
            if not _VARIANT_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} cannot name a variant: use up to 64 letters, digits, _ and -, a letter or digit first"
                )
            if name in REFERENCE_RANKERS:
                raise ValueError(f"{name!r} is the name of a reference ranker of the evaluation: rename the variant")
            if name == BEST:
                raise ValueError(f"{name!r} stands for whichever variant is best on validation: rename the variant")
            if name.lower() in taken:
                raise ValueError(f"{name!r} differs from another name in upper and lower case only: rename it")
            taken.add(name.lower())
        return variants

    def seeds_of(self, variant: str) -> tuple[int, ...]:
        """The seeds that a variant is fitted with: one is enough where nothing is drawn."""
        return self.seeds if self.variants[variant].is_trained else self.seeds[:1]


SELECTION_CUTOFF = 20
"""Models are chosen by validation NDCG at this cut-off, whatever else is reported."""


class EvaluateConfig(Section):
    """Full ranking on held-out interactions."""

    cutoffs: tuple[Positive, ...] = (10, 20)
    """Lengths of the lists that are measured; 20, by which models are chosen, is always added."""
    user_block: Positive = 1024
    """Users of one piece of work. Fewer are scored at a time where the catalogue is large, so memory stays bounded."""
    trec: bool = True
    """Write the test rankings of every fit, and the held-out items, in TREC format."""


class ClusterConfig(Section):
    """The Ray cluster to run on."""

    address: str | None = None
    """``null``: a new local Ray (or the cluster of the job it runs in); ``auto`` or an address: that cluster."""
    num_cpus: Positive | None = None
    """Logical CPUs of a new local Ray; by default the machine's, and at least 4."""
    object_store_gib: float = Field(default=1.0, gt=0)
    """Memory of a new local Ray for what its processes share."""


class Config(Section):
    """Everything a run depends on."""

    run: str = "runs/demo"
    """The run folder: a path or ``s3://``."""
    seed: int = 0
    """Of everything that is drawn; the fits have seeds of their own, ``train.seeds``."""
    data: DataConfig = DataConfig()
    llm: LLMConfig = LLMConfig()
    embed: EmbedConfig = EmbedConfig()
    profiles: ProfilesConfig = ProfilesConfig()
    negatives: NegativesConfig = NegativesConfig()
    ground: GroundConfig = GroundConfig()
    neighbours: NeighboursConfig = NeighboursConfig()
    guards: dict[str, GuardConfig] = Field(default_factory=dict)
    """Which unseen items users would probably like, by name; a variant uses one with ``guard: {table: NAME}``.
    ``likely``, which the default variant ``ours`` uses, comes from two fits of ``graph``, or of ``dns`` without it."""
    train: TrainConfig = TrainConfig()
    tune: TuneConfig = TuneConfig()
    encode: EncodeConfig = EncodeConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    search: SearchConfig = SearchConfig()
    study: StudyConfig = StudyConfig()
    serve: ServeConfig = ServeConfig()
    tracking: TrackingConfig = TrackingConfig()
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="before")
    @classmethod
    def _depends_on_the_data(cls, tree: Any) -> Any:
        return completed(tree) if isinstance(tree, Mapping) else tree

    @property
    def teacher(self) -> str | None:
        """The variant whose first fit supervises the encoder; None where no variant can."""
        able = (name for name, one in self.train.variants.items() if one.can_teach)
        return self.tune.teacher or next(able, None)

    @property
    def servable(self) -> tuple[str, ...]:
        """The variants that can become bundles: those whose users have vectors."""
        return tuple(name for name, one in self.train.variants.items() if one.backbone.has_user_vectors)

    @property
    def served(self) -> tuple[str, ...]:
        """What becomes bundles, the main one first: names of variants, and ``best`` where one can be served."""
        return tuple(name for name in (self.serve.variant, *self.serve.also) if name != BEST or self.servable)

    @model_validator(mode="after")
    def _served_variants_exist(self) -> Config:
        served = [("serve.variant", self.serve.variant), *(("serve.also", name) for name in self.serve.also)]
        for option, name in served:
            if name == BEST:
                continue
            if name not in self.train.variants:
                known = ", ".join(sorted(self.train.variants))
                raise ValueError(f"{option} is {name!r}, train.variants has {known}")
            backbone = self.train.variants[name].backbone
            if not backbone.has_user_vectors:
                raise ValueError(
                    f"{option}={name} is an item-item baseline ({backbone.name}), which the service cannot load yet:"
                    " serve another variant"
                )
        return self

    @model_validator(mode="after")
    def _features_are_named(self) -> Config:
        for name, variant in self.train.variants.items():
            for option, columns in (
                ("item_features", self.data.features.items),
                ("user_features", self.data.features.users),
            ):
                if getattr(variant, option) and not columns.columns:
                    where = f"data.features.{option.split('_')[0]}s"
                    raise ValueError(f"train.variants.{name}.{option} is set, and {where} names no columns")
        return self

    @model_validator(mode="after")
    def _guards_and_graphs_exist(self) -> Config:
        for name, variant in self.train.variants.items():
            where = f"train.variants.{name}"
            if variant.guard and variant.guard.table not in self.guards:
                known = ", ".join(self.guards) or "none"
                raise ValueError(f"{where}.guard.table is {variant.guard.table!r}, guards has {known}")
            if variant.guard and variant.guard.exclude > (kept := self.guards[variant.guard.table].items):
                raise ValueError(
                    f"{where}.guard.exclude is {variant.guard.exclude}, the guard has {kept} items per user"
                )
            if variant.item_graph and variant.item_graph.neighbours > self.neighbours.keep:
                wanted = variant.item_graph.neighbours
                raise ValueError(
                    f"{where}.item_graph.neighbours is {wanted}, above neighbours.keep={self.neighbours.keep}"
                )
        for name, guard in self.guards.items():
            if not _VARIANT_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} cannot name a guard: use up to 64 letters, digits, _ and -, a letter or digit first"
                )
            self._check_teachers(name, guard)
        return self

    def _check_teachers(self, name: str, guard: GuardConfig) -> None:
        for number, source in enumerate(guard.sources):
            where = f"guards.{name}.sources.{number}.variant"
            if source.variant is None:
                continue
            variant = self._named(where, source.variant)
            if variant.guard is not None:
                raise ValueError(f"{where}={source.variant} is itself guarded: name a variant without a guard")
            if variant.backbone.joins:
                raise ValueError(f"{where}={source.variant} is an ensemble: name its members as sources instead")

    def _named(self, where: str, name: str) -> VariantConfig:
        if name not in self.train.variants:
            known = ", ".join(self.train.variants)
            raise ValueError(f"{where} is {name!r}, train.variants has {known}")
        return self.train.variants[name]

    @model_validator(mode="after")
    def _members_are_trained(self) -> Config:
        for name, variant in self.train.variants.items():
            for number, member in enumerate(variant.backbone.joins):
                where = f"train.variants.{name}.backbone.members.{number}.variant"
                backbone = self._named(where, str(member.variant)).backbone
                if backbone.joins:
                    raise ValueError(f"{where}={member.variant} is itself an ensemble: name its members instead")
                if not backbone.is_trained:
                    raise ValueError(
                        f"{where}={member.variant} is computed ({backbone.name}), an ensemble joins the vectors of"
                        " trained variants: name one of those"
                    )
        return self

    @model_validator(mode="after")
    def _teacher_is_trained(self) -> Config:
        teacher = self.tune.teacher
        able = [name for name, one in self.train.variants.items() if one.can_teach]
        if teacher is not None and teacher not in able:
            known = ", ".join(able) or "none"
            raise ValueError(f"tune.teacher is {teacher!r}, variants trained without the language model: {known}")
        tuned = [f"train.variants.{name}" for name, one in self.train.variants.items() if one.is_tuned]
        if (tuned := tuned + self._readers_of_tuned_items()) and not able:
            raise ValueError(
                f"{tuned[0]} uses a tuned encoder, which needs a teacher: add a variant that is trained without the"
                " language model"
            )
        return self

    @model_validator(mode="after")
    def _tuned_vectors_are_negatives(self) -> Config:
        tuned = [name for name, one in self.train.variants.items() if one.is_tuned]
        if tuned and self.tune.supervision.strategy == "history":
            raise ValueError(
                f"tune.supervision.strategy=history tunes the encoder on items that users like, and"
                f" train.variants.{tuned[0]} takes what it emits for negatives: choose another strategy"
            )
        return self

    @model_validator(mode="after")
    def _tuned_items_have_vectors(self) -> Config:
        is_known = self.tune.keep is None  # a kept encoder has the form that it has
        if is_known and self.tune.form == "pair" and (readers := self._readers_of_tuned_items()):
            raise ValueError(
                f"{readers[0]} is tuned, but tune.form=pair gives items no vectors: set tune.form=factorised"
            )
        return self

    def _readers_of_tuned_items(self) -> list[str]:
        """The options that ask for the item vectors of the tuned encoder."""
        variants = self.train.variants.items()
        found = [f"train.variants.{name}.item_graph.source" for name, one in variants if one.reads_tuned_items]
        for name, guard in self.guards.items():
            sources = enumerate(guard.sources)
            found += [f"guards.{name}.sources.{n}.neighbours" for n, one in sources if one.neighbours == "tuned"]
        return found
