"""The progress of a fit: what a checkpoint holds besides tensors, and the learning curve."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

__all__ = ["EpochRecord", "Progress"]


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
class Progress:
    """The state of the loop.

    Attributes:
        epoch: epochs done.
        seconds: spent in them.
        best_epoch: the epoch with the best validation NDCG@20 so far, 0 before the first validation.
        best_ndcg: its NDCG@20.
        stale: validations since then.
        history: one record per epoch.
    """

    epoch: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_ndcg: float = -1.0
    stale: int = 0
    history: list[EpochRecord] = field(default_factory=list)

    def record_validation(self, ndcg: float, recall: float) -> bool:
        """Note a validation of the last epoch; True when it is the best so far."""
        self.history[-1].valid_ndcg, self.history[-1].valid_recall = ndcg, recall
        if ndcg > self.best_ndcg:
            self.best_epoch, self.best_ndcg, self.stale = self.epoch, ndcg, 0
            return True
        self.stale += 1
        return False

    def to_json(self) -> str:
        """For the metadata of a checkpoint."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """The inverse of :meth:`to_json`."""
        content = json.loads(text)
        content["history"] = [EpochRecord(**record) for record in content["history"]]
        return cls(**content)
