"""What the pipeline hands to a stage, and what a stage hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hnlm_ray.config.tree import Config
from hnlm_ray.run.store import Artifact

__all__ = ["StageContext", "StageSummary", "silent"]


def silent(message: str) -> None:
    """A listener that drops what it hears."""


@dataclass(frozen=True)
class StageContext:
    """Everything a stage may use.

    Attributes:
        config: the whole configuration; a stage reads only the sections that its plan names.
        inputs: complete artefacts by stage name.
        output: the folder to write tables into; the pipeline commits it.
        say: called with one line of progress.
    """

    config: Config
    inputs: Mapping[str, Artifact]
    output: Artifact
    say: Callable[[str], None] = silent


@dataclass(frozen=True)
class StageSummary:
    """What a stage did, for the manifest and the reader.

    Attributes:
        rows: rows of each table written.
        counts: anything counted on the way: tokens, rejects by reason, rows dropped by rule.
    """

    rows: Mapping[str, int]
    counts: Mapping[str, int | float] = field(default_factory=dict)
