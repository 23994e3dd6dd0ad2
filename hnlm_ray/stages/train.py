"""Train a variant with one seed on the workers of Ray Train."""

from __future__ import annotations

import functools
import os
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hnlm_ray.cluster.connect import connected
from hnlm_ray.cluster.heartbeat import heartbeat
from hnlm_ray.cluster.workers import checkpoints, run_workers
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.errors import ConfigError
from hnlm_ray.run.stage import StageContext, StageSummary
from hnlm_ray.run.store import Artifact
from hnlm_ray.tables import HISTORY
from hnlm_ray.training.inputs import FitInputs

if TYPE_CHECKING:
    from hnlm_ray.training.loop import TrainingLoop
    from hnlm_ray.training.progress import Progress

__all__ = ["MODEL", "run"]

MODEL = "model.safetensors"
"""File with the tensors ``user_vectors`` (U, d) and ``item_vectors`` (I, d), float32, of the best epoch; of a baseline,
those of :func:`hnlm_ray.models.closed_form.closed_form`."""


@dataclass(frozen=True)
class _Task:
    """What a worker gets: where to read, not what was read."""

    prepare: Artifact
    side: FitInputs
    variant: VariantConfig
    seed: int
    use_gpu: bool


def run(context: StageContext, *, variant: str, seed: int) -> StageSummary:
    """Write ``model.safetensors``, the final vectors, and ``history``, the learning curve.

    An interrupted fit continues from its last checkpoint. A baseline in closed form and an ensemble are computed
    without workers.

    Args:
        context: with the input ``prepare`` and whatever else the variant reads.
        variant: a key of ``train.variants``.
        seed: of the fit.

    Raises:
        ConfigError: there is no such variant.
        ResourceError: the cluster is too small for the workers.
        StageError: a worker was lost more often than ``train.max_failures``.
        StoreError: the fit of an ensemble's member is damaged or belongs to other users and items.
    """
    options = context.config.train
    if variant not in options.variants:
        raise ConfigError(f"train.variants has no {variant!r}, it has {sorted(options.variants)}", "add it")
    chosen = options.variants[variant]
    if not chosen.is_trained:
        return _compute(context, chosen)
    inputs = context.inputs
    task = _Task(
        prepare=inputs["prepare"],
        side=FitInputs.of_stage(inputs),
        variant=chosen,
        seed=seed,
        use_gpu=options.accelerator == "gpu",
    )
    context.say(f"{variant}, seed {seed}: {options.workers} worker(s)")
    with connected(context.config.cluster):
        look = functools.partial(_progress_line, context.output, f"{variant}, seed {seed}", chosen.epochs)
        with heartbeat(look, context.say):
            result = run_workers(_work, task, options, "train", context.output)
        with result.checkpoint.as_directory() as folder:
            progress = _write(Path(folder), context.output)
    return StageSummary(
        rows={"history": len(progress.history)},
        counts={
            **result.return_value,
            "best_epoch": progress.best_epoch,
            "epochs": progress.epoch,
            "seconds": progress.seconds,
            "valid_ndcg": progress.best_ndcg,
        },
    )


def _compute(context: StageContext, variant: VariantConfig) -> StageSummary:
    """Compute a baseline or an ensemble; its ``history`` is one row, at epoch 0."""
    from safetensors.numpy import save

    from hnlm_ray.training.baseline import compute

    splits = read_splits(context.inputs["prepare"])
    members = FitInputs.of_stage(context.inputs).members(variant, splits.train)
    source = f"{len(members.parts)} fits" if members else f"{len(splits.train):,} train interactions"
    context.say(f"{variant.backbone}: computed from {source}")
    baseline = compute(variant.backbone, splits.train, splits.valid, members)
    context.output.write_bytes(MODEL, save(baseline.tensors))
    figures = {"seconds": baseline.seconds, "valid_ndcg": baseline.valid_ndcg}
    row = {"epoch": 0, **figures, "valid_recall": baseline.valid_recall}
    context.output.write("history", pa.Table.from_pylist([row], schema=HISTORY))
    counts = {"pairs": len(splits.train), "parameters": baseline.parameters, "epochs": 0, **figures}
    return StageSummary({"history": 1}, counts)


def _progress_line(output: Artifact, what: str, epochs: int) -> str | None:
    from hnlm_ray.training.checkpoint import latest_progress

    progress = latest_progress(checkpoints(output))
    if progress is None:
        return None
    return (
        f"{what}: epoch {progress.epoch} of at most {epochs}, best valid NDCG@20 {progress.best_ndcg:.4f} "
        f"at epoch {progress.best_epoch}, {progress.seconds / max(1, progress.epoch):.2f} s per epoch"
    )


def _work(config: dict[str, Any]) -> dict[str, int]:
    """The body of one Ray Train worker."""
    import ray.train
    import torch

    from hnlm_ray.training.fit import fit

    task: _Task = config["task"]
    # Ray gives a worker as many threads as it has CPUs, of which a local Ray has more than the machine.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // ray.train.get_context().get_local_world_size()))
    splits = read_splits(task.prepare)
    checkpoint = ray.train.get_checkpoint()
    with checkpoint.as_directory() if checkpoint else nullcontext() as folder:
        return fit(
            splits.train,
            splits.valid,
            task.variant,
            task.seed,
            side=task.side.of_variant(task.variant, splits.train),
            resume_from=Path(folder) if folder else None,
            device=ray.train.torch.get_device() if task.use_gpu else "cpu",
            on_validation=_report,
        ).counts


def _report(loop: TrainingLoop) -> None:
    """Report this worker's part of a checkpoint to Ray Train."""
    import ray.train

    from hnlm_ray.training import checkpoint

    progress = loop.progress
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(loop, Path(folder))
        metrics = {"epoch": progress.epoch, "valid_ndcg": progress.history[-1].valid_ndcg}
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _write(checkpoint_folder: Path, output: Artifact) -> Progress:
    """Write the vectors of the best epoch and the learning curve."""
    from safetensors.torch import save

    from hnlm_ray.training.checkpoint import best_vectors

    users, items, progress = best_vectors(checkpoint_folder)
    output.write_bytes(MODEL, save({"user_vectors": users, "item_vectors": items}))
    rows = [vars(record) for record in progress.history]
    output.write("history", pa.Table.from_pylist(rows, schema=HISTORY))
    return progress
