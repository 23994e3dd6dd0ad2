"""The epochs of a tuning run on one worker.

Every worker has the pairs of the whole batch, and targets are the teacher's vectors, which are not trained. So InfoNCE
over the whole batch needs no communication, and batches do not depend on the number of workers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from hnlm_ray import seeds
from hnlm_ray.config.tuning import TuneConfig
from hnlm_ray.errors import DataError
from hnlm_ray.kernels.rows import on_device
from hnlm_ray.training.collectives import rank, sum_over_workers, world_size
from hnlm_ray.training.progress import RunProgress
from hnlm_ray.training.schedule import half_cosine
from hnlm_ray.tuning.forms import FORMS
from hnlm_ray.tuning.inputs import SupervisedPairs, TuningData
from hnlm_ray.tuning.losses import infonce, pairwise_logistic
from hnlm_ray.tuning.stepper import Stepper

__all__ = ["TuningLoop", "TuningProgress", "TuningRecord", "learning_rate_at"]


@dataclass
class TuningRecord:
    """One row of the table ``tuning``; ``valid_loss`` and what follows are measured on the validation pairs.

    Attributes:
        epoch: from 0, the untuned encoder.
        seconds: of tuning so far, validation excluded.
        loss: mean over the pairs of the epoch; None at epoch 0.
        valid_loss: mean of the same loss.
        hit_1: share of pairs whose vector is nearest to the supervising item, among all items.
        hit_10: share of pairs with it among the ten nearest items.
        mrr: mean reciprocal rank of it.
        nearer: share of pairs whose vector is nearer to the supervising item than to the pair's own.
    """

    epoch: int
    seconds: float
    loss: float | None
    valid_loss: float
    hit_1: float
    hit_10: float
    mrr: float
    nearer: float


@dataclass
class TuningProgress(RunProgress[TuningRecord]):
    """The progress of a tuning run, whose history starts at epoch 0.

    Attributes:
        pairs: processed in the epochs done, over all workers.
        best_loss: validation loss of the best epoch, the lowest.
    """

    record_type: ClassVar[Any] = TuningRecord

    pairs: int = 0
    best_loss: float = math.inf

    def record(self, row: TuningRecord) -> bool:
        """Add a validation of the last epoch; True when it is the best so far."""
        self.history.append(row)
        is_best = row.valid_loss < self.best_loss
        self.best_loss = row.valid_loss if is_best else self.best_loss
        return self.note(is_best=is_best)


class TuningLoop:
    """Everything that changes while an encoder is tuned.

    Attributes:
        stepper: holds the encoder.
        progress: how far it is.
        best: the trained parameters of the best epoch, by name.
    """

    def __init__(
        self, stepper: Stepper, data: TuningData, options: TuneConfig, seed: int, device: torch.device
    ) -> None:
        """Prepare the first epoch; nothing is computed yet.

        Raises:
            DataError: there are fewer pairs than one batch.
        """
        if len(data.pairs) < options.batch_size:
            raise DataError(
                f"there are {len(data.pairs)} pairs to tune on, fewer than tune.batch_size={options.batch_size}",
                "lower it or give more pairs",
            )
        self.stepper = stepper
        self.progress = TuningProgress()
        self.best: dict[str, torch.Tensor] = {}
        self._data = data
        self._options = options
        self._seed = seed
        self._device = device
        # In the table a user's pairs are adjacent: blocks in its order would differ from training batches.
        shuffle = seeds.generator(seed, "tune", "shuffle", "valid").permutation(len(data.valid))
        self._valid = data.valid.take(shuffle)
        self._users = torch.from_numpy(data.teacher.users).to(device)
        self._items = torch.from_numpy(data.teacher.items).to(device)
        self._item_units = torch.from_numpy(data.teacher.item_units).to(device)

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done or validation has stopped improving."""
        return self.progress.epoch >= self._options.epochs or self.progress.stale >= self._options.patience

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; the pairs that do not fill a last batch are left out, others in every epoch."""
        return len(self._data.pairs) // self._options.batch_size

    def run_epoch(self, done: Callable[[int], None] = lambda pairs: None) -> None:
        """Train on the pairs once and validate; the first call also validates the untuned encoder.

        Args:
            done: called after each batch with the pairs of the epoch so far.
        """
        if not self.progress.history:
            self._validate(None)
        started, epoch = time.monotonic(), self.progress.epoch + 1
        order = seeds.generator(self._seed, "tune", "shuffle", epoch).permutation(len(self._data.pairs))
        size, total = self._options.batch_size, torch.zeros((), dtype=torch.float64, device=self._device)
        self.stepper.module.train()
        for step in range(self.steps_per_epoch):
            total += self._step(order[step * size : (step + 1) * size], (epoch - 1) * self.steps_per_epoch + step)
            done((step + 1) * size)
        loss = sum_over_workers(total).item() / (self.steps_per_epoch * size)
        self.progress.epoch = epoch
        self.progress.pairs += self.steps_per_epoch * size
        self.progress.seconds += time.monotonic() - started
        self._validate(loss)

    def _step(self, rows: npt.NDArray[np.int64], step: int) -> torch.Tensor:
        """Train on one batch; returns the sum of this worker's losses."""
        batch, parts = self._data.pairs.take(rows), self._options.accumulation
        rate = learning_rate_at(step, self._options, self._options.epochs * self.steps_per_epoch)
        share = len(rows) // world_size()
        own = np.arange(rank() * share, (rank() + 1) * share)
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        for number, part in enumerate(np.split(own, parts)):
            losses = self._losses(self._vectors(batch.take(part)), batch, part)
            self.stepper.accumulate(losses.mean(), is_last=number == parts - 1, learning_rate=rate)
            total += losses.detach().double().sum()
        return total

    def _losses(self, vectors: torch.Tensor, batch: SupervisedPairs, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """Losses (b,) of the rows ``rows`` of a batch, from their vectors (b, d)."""
        targets, own = on_device(batch.targets, self._device), on_device(rows, self._device)
        positives = self._item_units[on_device(batch.items[rows], self._device)]
        if self._options.loss == "pairwise":
            return pairwise_logistic(vectors, targets[own], positives, self._options.temperature)
        is_same = on_device(batch.keys[rows][:, None] == batch.keys, self._device)
        return infonce(vectors, targets, own, is_same, positives, self._options.temperature)

    def _vectors(self, pairs: SupervisedPairs) -> torch.Tensor:
        """The encoder's vectors (b, d)."""
        data = self._data
        form = FORMS[self._options.form]
        inputs = form.inputs(data.user_tokens, data.item_tokens, pairs.users, pairs.items)
        tensors = (on_device(tensor, self._device) for tensor in inputs.tensors)
        users = self._users[on_device(inputs.users, self._device)]
        items = self._items[on_device(inputs.items, self._device)]
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._options.dtype == "bfloat16"):
            vectors: torch.Tensor = self.stepper.module(*tensors, users, items)
        return vectors

    @torch.no_grad()
    def _validate(self, loss: float | None) -> None:
        """Measure the validation pairs; every worker takes an equal share of every block."""
        valid, size, seconds = self._valid, self._options.batch_size, self.progress.seconds
        share = size // world_size()
        sums = torch.zeros(5, dtype=torch.float64, device=self._device)
        self.stepper.module.eval()
        for start in range(0, len(valid), size):
            # Past the end, the last row is repeated and not counted, so that all workers make the same calls.
            rows = np.arange(start, start + size)
            block = valid.take(np.minimum(rows, len(valid) - 1))
            own = np.arange(rank() * share, (rank() + 1) * share)
            counts = on_device(rows[own] < len(valid), self._device)
            sums += (self._figures(block, own).double() * counts[:, None]).sum(dim=0)
        figures = (sum_over_workers(sums) / len(valid)).tolist()
        if self.progress.record(TuningRecord(self.progress.epoch, seconds, loss, *figures)):
            self.best = self.stepper.weights()

    def _figures(self, block: SupervisedPairs, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """The five figures of each row, (b, 5), in the order of :class:`TuningRecord` from ``valid_loss`` on."""
        pairs = block.take(rows)
        vectors = self._vectors(pairs)
        losses = self._losses(vectors, block, rows)
        scores = vectors @ self._item_units.T
        own = (vectors * torch.from_numpy(pairs.targets).to(self._device)).sum(dim=1)
        place = (scores > own[:, None] + 1e-6).sum(dim=1) + 1
        positive = scores.gather(1, torch.from_numpy(pairs.items).to(self._device)[:, None])[:, 0]
        return torch.stack(
            [losses, (place <= 1).float(), (place <= 10).float(), 1.0 / place, (own > positive).float()], 1
        )


def learning_rate_at(step: int, options: TuneConfig, steps: int) -> float:
    """The learning rate of a step: a linear warm-up, then half a cosine down to 0.

    Args:
        step: from 0.
        options: highest rate and warm-up.
        steps: in all epochs.
    """
    warmup = max(1, round(options.warmup * steps))
    if step < warmup:
        return options.learning_rate * (step + 1) / warmup
    return options.learning_rate * half_cosine((step - warmup) / max(1, steps - warmup))
