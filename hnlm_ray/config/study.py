"""The section ``study``: which variants are compared, on which seeds, after how many trials each."""

from __future__ import annotations

from pydantic import Field

from hnlm_ray.config.section import Positive, Section

__all__ = ["StudyConfig"]


class StudyConfig(Section):
    """A study: every variant tuned with the same number of trials, fitted with several seeds, and compared with one.

    Trials draw the options of ``search.space`` with ``search.seed``, as those of ``hnlm search`` do.
    """

    against: str | None = None
    """The variant that every other one is compared with; by default the one that is best on validation."""
    variants: tuple[str, ...] = ()
    """By default every variant of ``train.variants``."""
    trials: Positive = 8
    """Per variant; the first is the variant as it is configured. A variant of which the space has fewer different
    options has fewer, and one without any has one."""
    screening_seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Every trial is fitted with each; the one with the best mean validation NDCG@20 is chosen."""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2, 3, 4), min_length=1)
    """What was chosen is fitted with each, and judged on the test split."""
    cpus: Positive = 1
    """CPUs, and threads, of one fit."""
    jobs: Positive | None = None
    """Fits at a time; by default as many as the cluster has CPUs for, and a local Ray's machine has cores for."""
