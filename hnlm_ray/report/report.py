"""The report of a run: the content of the page, and the page.

The page is one file without scripts that fetches nothing. All text comes from data or from a language model and is
escaped; only the figures, which hold no such text, are inserted as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.tree import SELECTION_CUTOFF
from hnlm_ray.report.comparison import ACCURACY, Difference, VariantResult, best_on_validation
from hnlm_ray.report.figures import FalseNegatives, LearningCurves, StrataFigures
from hnlm_ray.report.page import render_page
from hnlm_ray.report.parts import PartGain
from hnlm_ray.report.samples import ItemSample, NegativeSample, UserSample

__all__ = ["Report", "StageLine", "StatusShare", "render"]

_BEYOND = {
    "coverage": "Coverage",
    "gini": "Gini index",
    "popularity": "Popularity",
    "novelty": "Novelty, bits",
    "intra_list_distance": "Intra-list distance",
    "tie_rate": "Tie rate",
}
"""Measures beyond accuracy in the order of the page; a run without text vectors lacks one."""


@dataclass(frozen=True)
class StageLine:
    """What is shown of one stage that ran.

    Attributes:
        name: of the stage.
        rows: number of rows of each table that it wrote.
        seconds: its running time.
        counts: its counts.
        warnings: sentences about what may spoil its result.
    """

    name: str
    rows: Mapping[str, int]
    seconds: float
    counts: Mapping[str, int | float]
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class StatusShare:
    """How the answers of the language model in one stage turned out.

    Attributes:
        title: of the bar.
        parts: status and number of rows, the usable one first.
        prompt_tokens: read by the model; None if the table does not count them.
        output_tokens: written by the model.
        reasons: why rows were rejected, the most frequent first.
    """

    title: str
    parts: tuple[tuple[str, int], ...]
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    reasons: tuple[tuple[str, int], ...] = ()

    @property
    def total(self) -> int:
        """Number of rows."""
        return sum(count for _, count in self.parts)

    @property
    def shares(self) -> dict[str, float]:
        """Share of the rows with each status, in the order of ``parts``."""
        return {status: count / self.total for status, count in self.parts}

    @classmethod
    def of(cls, title: str, table: pa.Table, usable: str) -> StatusShare:
        """Of a table with a column ``status``, and its tokens and reasons if it has them.

        Args:
            title: of the bar.
            table: one of the tables of answers.
            usable: the status of the rows that other stages use.
        """
        parts = Counter(table["status"].to_pylist()).most_common()
        parts.sort(key=lambda part: part[0] != usable)
        if "prompt_tokens" not in table.column_names:
            return cls(title, tuple(parts))
        rejected = table.filter(pc.not_equal(table["status"], usable))
        reasons = Counter(rejected["reason"].to_pylist()).most_common(3)
        read, written = (pc.sum(table[name]).as_py() or 0 for name in ("prompt_tokens", "output_tokens"))
        return cls(title, tuple(parts), read, written, tuple(reasons))


@dataclass(frozen=True)
class Report:
    """The content of the page; empty parts are left out, and ``absent`` says why."""

    run: str
    facts: Sequence[tuple[str, str]]
    stages: Sequence[StageLine]
    results: Sequence[VariantResult]
    cutoffs: Sequence[int]
    baseline: str | None
    settings: Mapping[str, Mapping[str, str]]
    differences: Sequence[Difference]
    curves: LearningCurves
    statuses: Sequence[StatusShare] = ()
    items: Sequence[ItemSample] = ()
    users: Sequence[UserSample] = ()
    negatives: Sequence[NegativeSample] = ()
    parts: Sequence[PartGain] = ()
    false_negatives: FalseNegatives | None = None
    guard_likes: Sequence[Mapping[str, Any]] = ()
    """Rows of the table ``guard_likes``."""
    tuning: Sequence[Mapping[str, Any]] = ()
    """Rows of the table ``tuning``."""
    strata: StrataFigures | None = None
    absent: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """All warnings, each behind the name of its stage."""
        return [(stage.name, warning) for stage in self.stages for warning in stage.warnings]

    @property
    def beyond(self) -> dict[str, str]:
        """Measures beyond accuracy that this run has, and their names."""
        return {
            key: name for key, name in _BEYOND.items() if any(key == cell for r in self.results for cell, _ in r.cells)
        }

    @property
    def reach(self) -> float:
        """The largest distance from 0 that any interval of :attr:`differences` reaches, above 0."""
        ends = [abs(end) for row in self.differences for end in (row.interval.low, row.interval.high)]
        return max(ends, default=0.0) or 1.0

    @property
    def chosen(self) -> VariantResult | None:
        """The variant that is best on validation, among those that are not reference rankers."""
        return best_on_validation(self.results)


def render(report: Report) -> str:
    """The page as HTML."""
    return render_page("report.html.j2", report=report, columns=ACCURACY, chosen=report.chosen, cutoff=SELECTION_CUTOFF)
