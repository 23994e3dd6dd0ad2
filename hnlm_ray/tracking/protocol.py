"""What a tracker does: it is told of one pipeline and of the fits in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

__all__ = ["Fit", "Pipeline", "Point", "Status", "Tracker"]

Point: TypeAlias = tuple[int, Mapping[str, float]]
"""An epoch, and figures by name."""

Status: TypeAlias = str
"""``finished``, ``failed`` or ``stopped``, by a signal."""


@dataclass(frozen=True)
class Pipeline:
    """A run as trackers know it.

    Attributes:
        id: 32 hex digits, kept in the run folder: a rerun continues what has this id.
        name: what it is called.
        parameters: options by path, secrets masked.
    """

    id: str
    name: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Fit:
    """A fit, or a trial of a search, as trackers know it.

    Attributes:
        name: of the stage, for example ``train.dns.s0``.
        fingerprint: of what it depends on; with others it is another fit.
        parameters: options by path, secrets masked.
    """

    name: str
    fingerprint: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name and fingerprint."""
        return f"{self.name}@{self.fingerprint}"


class Tracker(Protocol):
    """One place to track in. Methods are called from one thread, ``begin`` first, and may raise anything.

    Attributes:
        title: what messages call it.
        place: what tells its destination from others.
    """

    title: str
    place: str

    def begin(self, pipeline: Pipeline) -> str:
        """Start the run of a pipeline, or continue it; returns where to look, as a web address or a command."""
        ...

    def begin_fit(self, fit: Fit) -> Mapping[str, int]:
        """Start the run of a fit inside it, or continue it; returns the last epoch of each curve that it has."""
        ...

    def log_points(self, fit: Fit, points: Sequence[Point]) -> None:
        """Add points to the curves of a fit that was begun."""
        ...

    def log_figures(self, figures: Mapping[str, float], fit: Fit | None = None) -> None:
        """Set figures of a fit, or of the pipeline; later ones replace earlier ones."""
        ...

    def log_file(self, name: str, content: bytes) -> None:
        """Keep a file with the pipeline, where the tracker keeps files."""
        ...

    def end_fit(self, fit: Fit, status: Status) -> None:
        """End the run of a fit that was begun."""
        ...

    def end(self, status: Status) -> None:
        """End the run of the pipeline, and whatever is still open."""
        ...
