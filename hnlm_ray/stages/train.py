"""Train a variant with one seed, in one Ray task or on the workers of Ray Train."""

from __future__ import annotations

import functools
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hnlm_ray.cluster.alone import Checkpoints, run_alone
from hnlm_ray.cluster.connect import connected
from hnlm_ray.cluster.heartbeat import heartbeat
from hnlm_ray.cluster.workers import checkpoints, run_workers
from hnlm_ray.config.callbacks import CallbackOptions
from hnlm_ray.config.tree import TrainConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.errors import ConfigError
from hnlm_ray.run.places import Folder
from hnlm_ray.run.progress import WorkDone
from hnlm_ray.run.stage import StageContext, StageKey, StageSummary
from hnlm_ray.run.store import Artifact
from hnlm_ray.tables import HISTORY
from hnlm_ray.training.inputs import FitInputs
from hnlm_ray.training.live import live_folder

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch

    from hnlm_ray.training.loop import TrainingLoop
    from hnlm_ray.training.progress import Progress

__all__ = ["MODEL", "run"]

MODEL = "model.safetensors"
"""File with the tensors of :func:`hnlm_ray.training.checkpoint.best_tensors`, float32; of a baseline, those of
:func:`hnlm_ray.models.closed_form.closed_form`."""


_PAIRS_PER_WORKER = 5_000_000
"""With fewer, a step's exchange between machines costs more than it saves; see docs/training.md."""


@dataclass(frozen=True)
class _Task:
    """What a worker gets: where to read, not what was read."""

    prepare: Artifact
    side: FitInputs
    variant: VariantConfig
    seed: int
    use_gpu: bool
    fit: str = ""
    callbacks: tuple[CallbackOptions, ...] = ()
    live: Folder | None = None
    """Where worker 0 writes the curve as it happens; None where nobody looks."""


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
        StageError: a worker was lost more often than ``train.max_failures``, or a callback failed.
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
        fit=StageKey("train", variant, seed).name,
        callbacks=options.callbacks,
        live=live_folder(context.output) if context.config.tracking.is_on else None,
    )
    with connected(context.config.cluster):
        workers = _workers(options, inputs["prepare"])
        context.say(f"{variant}, seed {seed}: {workers} worker{'' if workers == 1 else 's'}")
        look = functools.partial(_epochs_done, context.output, f"{variant}, seed {seed}", chosen.epochs)
        with heartbeat(look, context.say):
            counts, last = _fit(task, workers, options, context.output)
        with last as folder:
            progress = _write(Path(folder), context.output)
    return StageSummary(
        rows={"history": len(progress.history)},
        counts={
            **counts,
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


def _epochs_done(output: Artifact, what: str, epochs: int) -> WorkDone | None:
    """How far the fit was at its last checkpoint."""
    from hnlm_ray.training.checkpoint import latest_progress
    from hnlm_ray.training.progress import epochs_done

    done = latest_progress(checkpoints(output))
    if done is None:
        return None
    return epochs_done(what, done.epoch, epochs, done.seconds, done.best_ndcg, done.best_epoch)


def _workers(options: TrainConfig, prepare: Artifact) -> int:
    """How many workers a fit is divided over."""
    import ray

    if options.workers is not None:
        return options.workers
    if options.accelerator == "gpu":
        most = int(ray.cluster_resources().get("GPU", 1.0))
    else:
        most = sum(1 for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0.0) >= 1.0)
    return max(1, min(most, math.ceil(prepare.manifest().counts["interactions"] / _PAIRS_PER_WORKER)))


def _fit(
    task: _Task, workers: int, options: TrainConfig, output: Artifact
) -> tuple[dict[str, int], AbstractContextManager[Any]]:
    """Counts of the fit, and the folder of its last checkpoint, which is there while the context is open."""
    if workers == 1:
        kept = Checkpoints(checkpoints(output).folder("alone"))
        return run_alone(_train, task, options, "train", kept), kept.newest()
    result = run_workers(_work, task, workers, options, "train", output)
    return result.return_value, result.checkpoint.as_directory()


def _train(task: _Task, kept: Checkpoints) -> dict[str, int]:
    """The body of a fit in one process."""
    with _threads(os.cpu_count() or 1), kept.newest() as folder:
        return _run_fit(task, folder, "cuda" if task.use_gpu else "cpu", functools.partial(_keep, kept))


def _work(config: dict[str, Any]) -> dict[str, int]:
    """The body of one Ray Train worker."""
    import ray.train

    task: _Task = config["task"]
    checkpoint = ray.train.get_checkpoint()
    # Ray gives a worker as many threads as it has CPUs, of which a local Ray has more than the machine.
    share = max(1, (os.cpu_count() or 1) // ray.train.get_context().get_local_world_size())
    device = ray.train.torch.get_device() if task.use_gpu else "cpu"
    with _threads(share), checkpoint.as_directory() if checkpoint else nullcontext() as folder:
        return _run_fit(task, Path(folder) if folder else None, device, _report)


def _run_fit(
    task: _Task, folder: Path | None, device: str | torch.device, keep: Callable[[TrainingLoop], None]
) -> dict[str, int]:
    """Fit this worker's users, from a checkpoint where there is one; ``keep`` is called after each validation."""
    from hnlm_ray.training.callbacks import build_callbacks
    from hnlm_ray.training.collectives import rank
    from hnlm_ray.training.fit import fit
    from hnlm_ray.training.live import LiveCurve

    callbacks = build_callbacks(task.callbacks, task.fit) if rank() == 0 else []
    if task.live is not None and rank() == 0:
        callbacks.append(LiveCurve(task.live))
    splits = read_splits(task.prepare)
    side = task.side.of_variant(task.variant, splits.train)
    return fit(
        splits.train, splits.valid, task.variant, task.seed, side=side, resume_from=folder, device=device,
        on_validation=keep, callbacks=callbacks,
    ).counts  # fmt: skip


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """So many threads for PyTorch during the body; the process may belong to another task afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _keep(kept: Checkpoints, loop: TrainingLoop) -> None:
    """Save a checkpoint of a fit in one process."""
    from hnlm_ray.training import checkpoint

    kept.save(loop.progress.epoch, functools.partial(checkpoint.save, loop))


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

    from hnlm_ray.training.checkpoint import best_tensors

    tensors, progress = best_tensors(checkpoint_folder)
    output.write_bytes(MODEL, save(tensors))
    rows = [vars(record) for record in progress.history]
    output.write("history", pa.Table.from_pylist(rows, schema=HISTORY))
    return progress
