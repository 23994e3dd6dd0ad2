"""Tune the encoder of hard negatives with DeepSpeed on the workers of Ray Train."""

from __future__ import annotations

import functools
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hnlm_ray.cluster.connect import connected
from hnlm_ray.cluster.heartbeat import EVERY_S, heartbeat
from hnlm_ray.cluster.workers import checkpoints, run_workers
from hnlm_ray.config.tuning import TuneConfig
from hnlm_ray.run.places import Folder
from hnlm_ray.run.progress import WorkDone
from hnlm_ray.run.stage import StageContext, StageSummary
from hnlm_ray.run.store import Artifact
from hnlm_ray.tables import TUNING
from hnlm_ray.training.live import live_folder, write_curve
from hnlm_ray.tuning.inputs import TuneInputs

if TYPE_CHECKING:
    from hnlm_ray.tuning.loop import TuningLoop, TuningProgress

__all__ = ["run"]

_PAIRS = "pairs.json"


@dataclass(frozen=True)
class _Task:
    """What a worker gets: where to read, not what was read."""

    inputs: TuneInputs
    options: TuneConfig
    seed: int
    under_way: Folder
    """Where worker 0 says how far it is, for the driver."""
    live: Folder | None = None
    """Where it writes the curve as it happens; None where nobody looks."""


class _Pairs:
    """Writes how many pairs of an epoch are done, as often as a line is said."""

    def __init__(self, folder: Folder, epoch: int, total: int) -> None:
        self._folder, self._epoch, self._total = folder, epoch, total
        self._started = self._written = time.monotonic()

    def __call__(self, pairs: int) -> None:
        now = time.monotonic()
        if now - self._written < EVERY_S:
            return
        self._written = now
        said = {"epoch": self._epoch, "pairs": pairs, "of": self._total, "rate": pairs / (now - self._started)}
        self._folder.write_bytes(_PAIRS, json.dumps(said).encode())


def run(context: StageContext) -> StageSummary:
    """Write the encoder of the best epoch into the folder ``encoder``, and ``tuning``, the learning curve.

    An interrupted stage continues from its last checkpoint.

    Args:
        context: with the inputs ``prepare``, ``supervise``, ``tokens`` and the teacher's fit.

    Raises:
        DataError: no pair has a supervising negative, or too few have.
        EngineError: the body cannot be loaded, or a sequence is longer than it takes.
        ResourceError: the cluster is too small for the workers.
        StageError: a worker was lost more often than ``tune.max_failures``.
    """
    options, output = context.config.tune, context.output
    under_way = output.folder("_under_way")  # scratch, like all names with an underscore
    under_way.create()
    live = live_folder(output) if context.config.tracking.is_on else None
    task = _Task(TuneInputs.of_run(context.config, context.inputs), options, context.config.seed, under_way, live)
    variables = {"DS_ACCELERATOR": "cpu"} if options.accelerator == "cpu" else {}
    context.say(
        f"tune {options.model}: {options.workers} worker(s), ZeRO {options.zero_stage}, LoRA rank {options.lora.rank}"
    )
    with (
        connected(context.config.cluster),
        heartbeat(functools.partial(_pairs_done, output, under_way, options.epochs), context.say),
    ):
        result = run_workers(_work, task, options.workers, options, "tune", output, variables)
        with result.checkpoint.as_directory() as folder:
            progress = _write(task, Path(folder), output)
    best = progress.history[progress.best_epoch]
    counts = {
        **result.return_value,
        "best_epoch": progress.best_epoch,
        "pairs_per_second": round(progress.pairs / max(progress.seconds, 1e-9), 1),
        "valid_loss": best.valid_loss,
        "hit_10": best.hit_10,
        "nearer": best.nearer,
    }
    return StageSummary({"tuning": len(progress.history)}, counts)


def _work(config: dict[str, Any]) -> dict[str, int]:
    """The body of one Ray Train worker."""
    import ray.train
    import torch

    from hnlm_ray.tuning import checkpoint
    from hnlm_ray.tuning.deepspeed import DeepSpeedStepper
    from hnlm_ray.tuning.forms import new_encoder
    from hnlm_ray.tuning.loop import TuningLoop
    from hnlm_ray.tuning.stepper import trainable

    task: _Task = config["task"]
    world = ray.train.get_context()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world.get_local_world_size()))
    data = task.inputs.data(task.options, task.seed)
    encoder = new_encoder(data.teacher, task.options, task.seed)
    parameters = sum(weight.numel() for weight in trainable(encoder).values())
    device = ray.train.torch.get_device() if task.options.accelerator == "gpu" else torch.device("cpu")
    loop = TuningLoop(DeepSpeedStepper(encoder, task.options), data, task.options, task.seed, device)
    saved = ray.train.get_checkpoint()
    if saved is not None:
        with saved.as_directory() as folder:
            checkpoint.restore(loop, Path(folder))
    total, rank = loop.steps_per_epoch * task.options.batch_size, world.get_world_rank()
    while not loop.is_finished:
        loop.run_epoch(_Pairs(task.under_way, loop.progress.epoch + 1, total) if rank == 0 else lambda pairs: None)
        _report(loop, rank)
        if task.live is not None and rank == 0:
            write_curve(task.live, [asdict(row) for row in loop.progress.history])
    return {"pairs": len(data.pairs), "valid_pairs": len(data.valid), "parameters": parameters}


def _report(loop: TuningLoop, rank: int) -> None:
    """Report a checkpoint to Ray Train; worker 0 has written it."""
    import ray.train

    from hnlm_ray.tuning import checkpoint

    row = loop.progress.history[-1]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(loop, Path(folder))
        kept = ray.train.Checkpoint.from_directory(folder) if rank == 0 else None
        ray.train.report({"epoch": row.epoch, "valid_loss": row.valid_loss}, checkpoint=kept)


def _write(task: _Task, folder: Path, output: Artifact) -> TuningProgress:
    """Write the encoder of the best epoch and the learning curve."""
    from hnlm_ray.tuning.checkpoint import best_weights
    from hnlm_ray.tuning.encoder import ENCODER, EncoderSpec, copy_adapters
    from hnlm_ray.tuning.forms import new_encoder

    weights, progress = best_weights(folder)
    options, inputs = task.options, task.inputs
    encoder = new_encoder(inputs.teacher_vectors(inputs.train()), options, task.seed)
    encoder.load_state_dict(weights, strict=False)
    with tempfile.TemporaryDirectory() as place:
        target, model = Path(place), options.model
        bases: tuple[str, ...] = ()
        if options.start is not None:
            start = Path(options.start).expanduser()
            bases = copy_adapters(start, target)
            model = EncoderSpec.read(start).model
        dim = encoder.user_projection.in_features
        encoder.save(target, EncoderSpec(model, dim, options.pooling, bases, options.form))
        output.folder(ENCODER).put(target)
    rows = [asdict(row) for row in progress.history]
    output.write("tuning", pa.Table.from_pylist(rows, schema=TUNING))
    return progress


def _pairs_done(output: Artifact, under_way: Folder, epochs: int) -> WorkDone | None:
    """How far the epoch under way is, or the stage at its last checkpoint where that is newer."""
    from hnlm_ray.tuning.checkpoint import latest_progress

    progress = latest_progress(checkpoints(output))
    done = json.loads(under_way.read_bytes(_PAIRS)) if _PAIRS in under_way.files() else None
    if done is not None and (progress is None or progress.epoch < done["epoch"]):
        rate, left = done["rate"], (done["of"] - done["pairs"]) / done["rate"]
        line = (
            f"tune: epoch {done['epoch']}, {done['pairs']:,} of {done['of']:,} pairs, {rate:.0f} pairs/s,"
            f" about {left:.0f} s left of it"
        )
        part = WorkDone(f"epoch {done['epoch']}", done["pairs"], done["of"], "pairs", line, rate, left)
        to_come = (epochs - done["epoch"]) * done["of"] / rate
        return WorkDone(
            "tune", done["epoch"] - 1, epochs, "epochs", line, rate / done["of"], left + to_come, "", (part,)
        )
    if progress is None:
        return None
    row, pace = progress.history[-1], progress.seconds / max(1, progress.epoch)
    found = f"valid loss {row.valid_loss:.3f}, supervising item among the ten nearest {row.hit_10:.1%}"
    line = f"tune: epoch {row.epoch}, {found}, {progress.pairs / max(progress.seconds, 1e-9):.0f} pairs/s"
    rate = 1 / pace if pace > 0 else None
    return WorkDone("tune", row.epoch, epochs, "epochs", line, rate, (epochs - row.epoch) * pace, found)
