"""What a stage is called, what the pipeline hands to it, and what it hands back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hnlm_ray.run.progress import Say, silent

if TYPE_CHECKING:
    from hnlm_ray.config.blends import VariantFits
    from hnlm_ray.config.tree import Config, TrainConfig
    from hnlm_ray.run.store import Artifact

__all__ = ["StageContext", "StageKey", "StageSummary", "first_fit", "fits_of", "teacher_fits"]


@dataclass(frozen=True)
class StageKey:
    """Which stage of a run this is.

    Attributes:
        kind: a key of :data:`hnlm_ray.run.specs.SPECS`.
        variant: of a fit and of a bundle.
        seed: of a fit.
        trial: the number of the trial of a search that the stage is run again for, with that trial's options.
    """

    kind: str
    variant: str | None = None
    seed: int | None = None
    trial: int | None = None

    @property
    def folder(self) -> str:
        """The folder in the run, for example ``train.dns.s0``. A trial's stages lie where a run would look for them."""
        variant = "" if self.variant is None else f".{self.variant}"
        return f"{self.kind}{variant}" if self.seed is None else f"{self.kind}{variant}.s{self.seed}"

    @property
    def name(self) -> str:
        """The folder, and the trial where there is one, for example ``tune@3``."""
        return self.folder if self.trial is None else f"{self.folder}@{self.trial}"

    def fields(self) -> dict[str, Any]:
        """The fields that are set."""
        return {name: value for name, value in vars(self).items() if value is not None}


def first_fit(train: TrainConfig, variant: str) -> StageKey:
    """The stage that fits a variant with its first seed."""
    return StageKey("train", variant, train.seeds_of(variant)[0])


def fits_of(part: VariantFits) -> list[StageKey]:
    """The stages of the fits that a part of a blend stands for, of a variant that is trained."""
    return [StageKey("train", part.variant, seed) for seed in part.seeds]


def teacher_fits(train: TrainConfig, source: VariantFits) -> list[StageKey]:
    """The stages of the fits that one source of a guard stands for; none where it is no variant."""
    if source.variant is None:
        return []
    return fits_of(source) if train.variants[source.variant].is_trained else [first_fit(train, source.variant)]


@dataclass(frozen=True)
class StageContext:
    """Everything a stage may use.

    Attributes:
        config: the whole configuration; a stage reads only the sections that its description names.
        inputs: complete artifacts by the name of the stage that wrote them.
        output: the folder to write tables into; the pipeline commits it.
        say: called with one line about the work, or with how much of it is done.
    """

    config: Config
    inputs: Mapping[str, Artifact]
    output: Artifact
    say: Say = silent


@dataclass(frozen=True)
class StageSummary:
    """What a stage did, for the manifest and the reader.

    Attributes:
        rows: rows of each table written.
        counts: anything counted on the way: tokens, rejects by reason, rows dropped by rule.
        warnings: sentences about what does not stop the run but may spoil its result: what was found, with figures, and
            what to do. They are printed when the stage ends, by ``hnlm status``, and in the report.
    """

    rows: Mapping[str, int]
    counts: Mapping[str, int | float] = field(default_factory=dict)
    warnings: Sequence[str] = ()
