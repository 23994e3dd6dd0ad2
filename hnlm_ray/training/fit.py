"""Train one variant with one seed, in this process or as one of several workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from hnlm_ray.config.semantic import SemanticOptions
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.errors import DataError
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.training import checkpoint
from hnlm_ray.training.callbacks import Callback, Listeners
from hnlm_ray.training.collectives import rank, world_size
from hnlm_ray.training.loop import TrainingLoop
from hnlm_ray.training.progress import Progress
from hnlm_ray.training.shard import Shard
from hnlm_ray.training.side_information import SideInformation

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions

__all__ = ["FitResult", "fit"]


@dataclass(frozen=True)
class FitResult:
    """A trained recommender: the score of a user and an item is the inner product of their vectors.

    Attributes:
        first_user: the number of the user in row 0; 0 with one worker.
        user_vectors: (U_r, d) float32, this worker's users, at the best epoch.
        item_vectors: (I, d) float32, at the best epoch.
        progress: history, best epoch, seconds.
        seen_user_vectors: (U_r, d) float32, users who are known by train and valid, as when the test split is ranked;
            None from backbones that know users by train alone.
        counts: over all workers: ``pairs``, ``pairs_with_vector``, ``pairs_without_negative``, ``parameters``.
    """

    first_user: int
    user_vectors: npt.NDArray[np.float32]
    item_vectors: npt.NDArray[np.float32]
    progress: Progress
    counts: dict[str, int]
    seen_user_vectors: npt.NDArray[np.float32] | None = None

    def known_by(self, *, seen: bool) -> npt.NDArray[np.float32]:
        """The vectors of users who are known by train, or by all that they have ``seen`` before the test split."""
        return self.user_vectors if self.seen_user_vectors is None or not seen else self.seen_user_vectors


def fit(
    train: Interactions,
    valid: Interactions,
    variant: VariantConfig,
    seed: int,
    *,
    side: SideInformation | None = None,
    device: str | torch.device = "cpu",
    resume_from: Path | None = None,
    on_validation: Callable[[TrainingLoop], None] | None = None,
    callbacks: Iterable[Callback] = (),
) -> FitResult:
    """Train until validation NDCG@20 stops improving, and keep the best epoch.

    In a ``torch.distributed`` process group, each worker calls this with the same arguments and trains the users of
    its block; otherwise it trains everyone. The result is the same up to the order of float sums.

    Args:
        train: all train interactions.
        valid: the validation interactions of the same users and items; never trained on.
        variant: what to train.
        seed: of the fit.
        side: what the variant reads besides interactions; what it does not need is ignored.
        device: where the parameters are.
        resume_from: a folder written by :func:`hnlm_ray.training.checkpoint.save`, by any number of workers.
        on_validation: called after each validation, on every worker, for example to write a checkpoint.
        callbacks: told of each epoch and validation, by worker 0 alone.

    Raises:
        DataError: nothing to train on or to validate with, more draws than items, or the variant needs vectors, texts,
            neighbours or a guard that are missing or do not suit the interactions.
        StoreError: ``resume_from`` is damaged or belongs to another fit.
        StageError: a callback failed.
    """
    known = needed(variant, side or SideInformation())
    _check(train, valid, variant, known)
    shard = Shard.cut(train, valid, rank(), world_size())
    loop = TrainingLoop(shard, variant, seed, known, torch.device(device))
    if resume_from is not None:
        checkpoint.restore(loop, resume_from)
    listeners = Listeners(callbacks if rank() == 0 else ())
    while not loop.is_finished:
        loop.run_epoch()
        listeners.on_epoch(loop.progress)
        if loop.is_validation_due:
            loop.run_validation()
            if on_validation is not None:
                on_validation(loop)
            listeners.on_validation(loop.progress)
    users, items = (table.cpu().numpy() for table in loop.best)
    seen = None if loop.best_seen is None else loop.best_seen.cpu().numpy()
    return FitResult(shard.first_user, users, items, loop.progress, loop.counts(), seen)


def needed(variant: VariantConfig, side: SideInformation) -> SideInformation:
    """What the variant uses of the side."""
    return SideInformation(
        vectors=None if variant.semantic is None else side.vectors,
        item_texts=side.item_texts if variant.reads_text_vectors else None,
        item_features=side.item_features if variant.item_features else None,
        user_features=side.user_features if variant.user_features else None,
        item_graph=None if variant.item_graph is None else side.item_graph,
        guard=None if variant.guard is None else side.guard,
        histories=side.histories if variant.backbone.is_sequential else None,
        seen_histories=side.seen_histories if variant.backbone.is_sequential else None,
    )


def _check(train: Interactions, valid: Interactions, variant: VariantConfig, side: SideInformation) -> None:
    if not len(train.items):
        raise DataError("the train split is empty", "give more interactions or a smaller held-out share")
    if (train.n_users, train.n_items) != (valid.n_users, valid.n_items):
        raise DataError(
            f"train has {train.n_users} users and {train.n_items} items, valid {valid.n_users} and {valid.n_items}",
            "number users and items once for all splits",
        )
    if not len(valid.items):
        raise DataError("no user has a validation interaction", "raise data.split.valid or bring more interactions")
    if len(train) == np.count_nonzero(train.degree) * train.n_items:
        raise DataError(
            "every user with an interaction has seen every item, so there are no negatives", "bring more items"
        )
    if variant.backbone.is_sequential and (side.histories is None or not side.histories.orders(train)):
        raise DataError(
            f"the backbone {variant.backbone.name} needs the order of the train interactions",
            "give histories of the same interactions",
        )
    _check_sampler(train, variant)
    if variant.semantic is not None:
        _check_vectors(train, variant.semantic, side.vectors)
    _check_items(train, variant, side)


def _check_sampler(train: Interactions, variant: VariantConfig) -> None:
    for option in ("candidates", "negatives"):
        drawn = getattr(variant.sampler, option, 0)
        if drawn > train.n_items:
            raise DataError(
                f"the sampler {variant.sampler.name} would draw {drawn} {option} from {train.n_items} items",
                f"lower its option {option}",
            )


def _check_items(train: Interactions, variant: VariantConfig, side: SideInformation) -> None:
    """Whether texts, features, neighbours and guard are there and count the same items."""
    graph, guard, features = side.item_graph, side.guard, side.item_features
    if variant.user_features and (side.user_features is None or side.user_features.shape[0] != train.n_users):
        raise DataError(f"user_features needs features of {train.n_users} users", "run the stage prepare")
    texts = None if side.item_texts is None else len(side.item_texts)
    for option, is_used, size, stage in (
        ("item_text", variant.item_text, texts, "vectors"),
        ("item_features", variant.item_features, None if features is None else features.shape[0], "prepare"),
        ("text_contrast", variant.text_contrast is not None, texts, "vectors"),
        ("item_graph", variant.item_graph is not None, None if graph is None else graph.shape[0], "neighbours"),
        ("guard", variant.guard is not None, None if guard is None else guard.n_items, "guard"),
    ):
        if is_used and size != train.n_items:
            found = "nothing" if size is None else f"one for {size}"
            what = f"{option} needs what the stage {stage} writes for {train.n_items} items, there is {found}"
            raise DataError(what, f"run the stage {stage}")


def _check_vectors(train: Interactions, options: SemanticOptions, vectors: PairVectors | None) -> None:
    if vectors is None:
        raise DataError("the variant is semantic, but there are no vectors of hard negatives", "run the stage ground")
    if vectors.n_items != train.n_items:
        raise DataError(
            f"the pair vectors count {vectors.n_items} items, the train split {train.n_items}",
            "make both from the same catalogue",
        )
    if options.has_items and vectors.items is None:
        raise DataError(
            f"semantic.source is {options.source}, but the vectors of hard negatives name no items",
            "name the items of each vector, or use semantic.source: text",
        )
