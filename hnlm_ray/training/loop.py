"""The epoch loop of one fit on one worker."""

from __future__ import annotations

import time

import torch

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.training.batches import BatchStream
from hnlm_ray.training.collectives import sum_over_workers
from hnlm_ray.training.model import RecommenderModel
from hnlm_ray.training.progress import EpochRecord, Progress
from hnlm_ray.training.schedule import half_cosine
from hnlm_ray.training.shard import Shard
from hnlm_ray.training.side_information import SideInformation
from hnlm_ray.training.validation import validate

__all__ = ["TrainingLoop", "learning_rate_in"]


class TrainingLoop:
    """Everything that changes while one variant is trained with one seed.

    Attributes:
        shard: this worker's users.
        model: its parameters.
        optimizer: Adam over them.
        progress: how far it is.
        best: final vectors (U_r, d) and (I, d) of the best epoch, starting with those of the untrained model.
        best_seen: (U_r, d), users of the best epoch who are known by train and valid, from backbones that read
            histories; None from others.
        stream: the batches.
    """

    def __init__(
        self,
        shard: Shard,
        variant: VariantConfig,
        seed: int,
        side: SideInformation,
        device: torch.device,
    ) -> None:
        self._variant = variant
        self._device = device
        self.shard = shard
        own = side.slice_users(shard.first_user, shard.last_user)
        window = None if own.histories is None else (own.histories, variant.backbone.window)
        self.stream = BatchStream(shard, own.vectors, seed, variant.batch_size, variant.positives, window)
        self.model = RecommenderModel(shard, variant, seed, own, device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=variant.learning_rate, fused=True)
        self.progress = Progress()
        self.best, self.best_seen = self.model.final_vectors(), self.model.seen_users()

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done or validation has stopped improving."""
        return self.progress.epoch >= self._variant.epochs or self.progress.stale >= self._variant.patience

    @property
    def is_validation_due(self) -> bool:
        """Whether the last epoch is one to validate after; the very last always is."""
        epoch = self.progress.epoch
        return epoch % self._variant.validate_every == 0 or epoch == self._variant.epochs

    def run_epoch(self) -> None:
        """Train for one epoch and add a record to the history."""
        started = time.monotonic()
        epoch = self.progress.epoch + 1
        if self.model.ranking_loss.is_refresh_due(epoch):
            self.model.ranking_loss.refresh(*self.model.final_vectors())
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_in(epoch, self._variant)
        sums = torch.zeros(3, dtype=torch.float64, device=self._device)
        for batch in self.stream.epoch(epoch):
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._variant.precision == "bfloat16"):
                loss = self.model.loss(batch, epoch)
            loss.total.backward()  # type: ignore[no-untyped-call]
            self.model.share_gradients()
            self.optimizer.step()
            parts = torch.stack([loss.total.detach(), loss.ranking, loss.contrastive])
            sums += parts.double() * batch.global_size
        means = (sum_over_workers(sums) / self.stream.n_pairs).tolist()
        self.progress.epoch = epoch
        self.progress.seconds += time.monotonic() - started
        self.progress.history.append(EpochRecord(epoch, self.progress.seconds, *means))

    def run_validation(self) -> None:
        """Rank the validation items and keep the vectors if they are the best so far."""
        vectors = self.model.final_vectors()
        if self.progress.record_validation(*validate(*vectors, self.shard)):
            self.best, self.best_seen = vectors, self.model.seen_users()

    def counts(self) -> dict[str, int]:
        """Sizes over all workers; every worker must call it."""
        shard, model = self.shard, self.model
        without_negative = int(shard.train.degree[~shard.has_negatives].sum())
        own = torch.tensor([self.stream.pairs_with_vector, without_negative, model.users.numel()])
        with_vector, without_negative, user_parameters = sum_over_workers(own.to(self._device)).tolist()
        shared = sum(weight.numel() for weight in model.parameters()) - model.users.numel()
        return {
            "pairs": self.stream.n_pairs + without_negative,
            "pairs_with_vector": with_vector,
            "pairs_without_negative": without_negative,
            "parameters": user_parameters + shared,
        }


def learning_rate_in(epoch: int, variant: VariantConfig) -> float:
    """The learning rate of an epoch, from 1; it depends on nothing else, so that a resumed fit continues with it."""
    if variant.learning_rate_mode == "fixed":
        return variant.learning_rate
    return variant.learning_rate * half_cosine((epoch - 1) / variant.epochs)
