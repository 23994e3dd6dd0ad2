"""The progress of a fit or of a tuning run: what a checkpoint holds besides tensors, and the learning curve."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Self, TypeVar

from hnlm_ray.run.progress import WorkDone

__all__ = ["EpochRecord", "Progress", "RunProgress", "epochs_done"]

Record = TypeVar("Record")


@dataclass
class RunProgress(Generic[Record]):
    """How far a run of epochs is.

    Attributes:
        epoch: epochs done.
        seconds: spent in them.
        best_epoch: the epoch with the best validation so far, 0 before the first validation.
        stale: validations since then.
        history: one record per epoch.
    """

    record_type: ClassVar[Any]

    epoch: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    stale: int = 0
    history: list[Record] = field(default_factory=list)

    def note(self, *, is_best: bool) -> bool:
        """Count a validation of the last epoch, and return whether it is the best so far."""
        self.best_epoch, self.stale = (self.epoch, 0) if is_best else (self.best_epoch, self.stale + 1)
        return is_best

    def to_json(self) -> str:
        """For the metadata of a checkpoint."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of :meth:`to_json`."""
        content = json.loads(text)
        content["history"] = [cls.record_type(**record) for record in content["history"]]
        return cls(**content)


@dataclass
class EpochRecord:
    """One row of the table ``history``."""

    epoch: int
    seconds: float
    loss: float
    ranking_loss: float
    contrastive_loss: float
    valid_ndcg: float | None = None
    valid_recall: float | None = None


@dataclass
class Progress(RunProgress[EpochRecord]):
    """The progress of a fit.

    Attributes:
        best_ndcg: validation NDCG@20 of the best epoch.
    """

    record_type: ClassVar[Any] = EpochRecord

    best_ndcg: float = -1.0

    def record_validation(self, ndcg: float, recall: float) -> bool:
        """Note a validation of the last epoch; True when it is the best so far."""
        self.history[-1].valid_ndcg, self.history[-1].valid_recall = ndcg, recall
        is_best = ndcg > self.best_ndcg
        self.best_ndcg = ndcg if is_best else self.best_ndcg
        return self.note(is_best=is_best)


def epochs_done(what: str, epoch: int, epochs: int, seconds: float, best_ndcg: float, best_epoch: int) -> WorkDone:
    """How far a fit is; the time left is the most that it takes, since it may stop early.

    Args:
        what: the name of the fit.
        epoch: epochs done.
        epochs: the most epochs that it has.
        seconds: spent in those that are done.
        best_ndcg: validation NDCG@20 of the best of them.
        best_epoch: its number.
    """
    pace = seconds / max(1, epoch)
    best = f"best valid NDCG@20 {best_ndcg:.4f} at epoch {best_epoch}"
    line = f"{what}: epoch {epoch} of at most {epochs}, {best}, {pace:.2f} s per epoch"
    rate = 1 / pace if pace > 0 else None
    return WorkDone(what, epoch, epochs, "epochs", line, rate, (epochs - epoch) * pace, best)
