"""Reads what a fit needs from earlier stages besides the pairs of users and items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.histories import Histories
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.vectors import read_item_vectors
from hnlm_ray.models.features import feature_rows
from hnlm_ray.models.fitted import read_vectors
from hnlm_ray.models.item_graph import normalised_neighbours
from hnlm_ray.models.joined import JoinedVectors
from hnlm_ray.run.stage import StageKey, fits_of
from hnlm_ray.run.store import Artifact
from hnlm_ray.samplers.guard import Guard
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.training.side_information import SideInformation

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["FitInputs"]


@dataclass(frozen=True)
class FitInputs:
    """Where the side information of variants comes from.

    Attributes:
        artifacts: of the stages that variants read, by the name of their folder, for example ``prepare``, ``encode``
            or ``neighbours.text``.
    """

    artifacts: Mapping[str, Artifact] = field(default_factory=dict)

    @classmethod
    def of_stage(cls, inputs: Mapping[str, Artifact], trial: int | None = None) -> FitInputs:
        """Those among the inputs of a stage; of a search, those that are made again for one trial.

        Args:
            inputs: artifacts by the name of the stage.
            trial: its number; None for the stages of the run itself.
        """
        marks = {name: name.partition("@") for name in inputs}
        wanted = "" if trial is None else str(trial)
        chosen = {folder: inputs[name] for name, (folder, _, number) in marks.items() if number == wanted}
        return cls({name: one for name, one in inputs.items() if name == "prepare"} | chosen)

    def of_variant(self, variant: VariantConfig, train: Interactions) -> SideInformation:
        """What a variant needs, for the users and items of the train interactions."""
        reads_texts = variant.reads_text_vectors
        return SideInformation(
            vectors=self._pair_vectors(variant, train),
            item_texts=read_item_vectors(self.artifacts["vectors"], train.n_items) if reads_texts else None,
            item_features=self._features("item_features", train.n_items) if variant.item_features else None,
            user_features=self._features("user_features", train.n_users) if variant.user_features else None,
            item_graph=self._item_graph(variant, train),
            guard=self._guard(variant, train),
            histories=self._histories(variant, train, ("train",)),
            seen_histories=self._histories(variant, train, ("train", "valid")),
        )

    def members(self, variant: VariantConfig, train: Interactions) -> JoinedVectors | None:
        """The fits that an ensemble joins, of the users and items of the train interactions; None for other variants.

        Raises:
            StoreError: the model of one is damaged or belongs to other users and items.
        """
        parts = [(key, part.weight) for part in variant.backbone.joins for key in fits_of(part)]
        read = [
            (read_vectors(self.artifacts[key.folder], train.n_users, train.n_items), weight) for key, weight in parts
        ]
        return JoinedVectors(read) if read else None

    def _pair_vectors(self, variant: VariantConfig, train: Interactions) -> PairVectors | None:
        options = variant.semantic
        if options is None:
            return None
        if options.is_tuned:
            own = PairVectors.from_encoded(
                self.artifacts["encode"].read("encoded"), train.n_items, nearest=options.has_items
            )
        else:
            tables = self.artifacts["ground"].read("grounded"), self.artifacts["vectors"].read("item_vectors")
            own = PairVectors.from_tables(*tables, train.n_items)
        match options.control:
            case "shuffled":
                return own.shuffled(train, 0)
            case "random":
                return own.random(train, 0)
        return own

    def _item_graph(self, variant: VariantConfig, train: Interactions) -> csr_array[np.float32, tuple[int, int]] | None:
        options = variant.item_graph
        if options is None:
            return None
        table = self.artifacts[StageKey("neighbours", options.source).folder].read("neighbours")
        return normalised_neighbours(table, train.n_items, options.neighbours)

    def _features(self, table: str, n_rows: int) -> csr_array[np.float32, tuple[int, int]]:
        return feature_rows(self.artifacts["prepare"].read(table), n_rows)

    def _histories(self, variant: VariantConfig, train: Interactions, splits: tuple[str, ...]) -> Histories | None:
        if not variant.backbone.is_sequential:
            return None
        table = self.artifacts["prepare"].read("interactions", ["user", "item", "timestamp", "split"])
        return Histories.from_table(table, train.n_users, splits)

    def _guard(self, variant: VariantConfig, train: Interactions) -> Guard | None:
        options = variant.guard
        if options is None:
            return None
        table = self.artifacts[StageKey("guard", options.table).folder].read("guard")
        return Guard.from_table(table, train.n_items, options)
