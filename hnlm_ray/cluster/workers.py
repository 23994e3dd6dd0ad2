"""Run a function on the workers of Ray Train, with checkpoints, restarts, and errors that a user can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hnlm_ray.cluster.connect import require
from hnlm_ray.config.resources import WorkerOptions
from hnlm_ray.errors import HnlmError, StageError
from hnlm_ray.run.places import Folder

__all__ = ["checkpoints", "run_workers"]


def checkpoints(output: Folder) -> Folder:
    """The folder for the checkpoints of a stage; it is scratch, deleted when the stage is complete."""
    return output.folder("_ray_train")


def run_workers(
    body: Callable[[dict[str, Any]], Any],
    task: Any,
    workers: int,
    options: WorkerOptions,
    section: str,
    output: Folder,
    env_vars: Mapping[str, str] | None = None,
) -> Any:
    """Run ``body({"task": task})`` on every worker; where an earlier driver was lost, from its last checkpoint.

    Args:
        body: reads its task, continues from ``ray.train.get_checkpoint()`` if there is one, and reports checkpoints.
        task: what it needs; travels to every worker, so it should be small.
        workers: how many.
        options: what they run on; each has one CPU, and one GPU where GPUs are used.
        section: the section of the configuration with these options; messages name it.
        output: of the stage; checkpoints lie in its folder :func:`checkpoints`.
        env_vars: environment variables of the workers.

    Returns:
        Ray's result, with the last ``checkpoint`` and the ``return_value`` of worker 0.

    Raises:
        ResourceError: the cluster is too small for the workers.
        StageError: a worker was lost more often than ``max_failures``.
        HnlmError: raised on a worker.
    """
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    class Trainer(TorchTrainer):  # type: ignore[misc]
        def _register_sigint_handler(self, controller: Any) -> None:
            """Leave Ctrl-C as it is: Ray's handler would exit with 0, in all that follows the training, too."""

    use_gpu = options.accelerator == "gpu"
    total = {name: amount * workers for name, amount in options.needs.items()}
    require(total, f"{section}.workers={workers}")
    trainer = Trainer(
        body,
        train_loop_config={"task": task},
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu, resources_per_worker=options.needs),
        run_config=RunConfig(
            # The same name and place let a new driver continue where a lost one stopped.
            name="fit",
            storage_path=checkpoints(output).path,
            storage_filesystem=output.filesystem,
            failure_config=FailureConfig(max_failures=options.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            worker_runtime_env={"env_vars": dict(env_vars)} if env_vars else None,
        ),
    )
    try:
        return trainer.fit()
    except TrainingFailedError as error:
        reason = _reason(error, options.max_failures, section)
        if reason is None:
            raise
        raise reason from error


def _reason(error: Exception, max_failures: int, section: str) -> HnlmError | None:
    """The error of a user that a worker raised, or how often one was lost; None where no worker failed."""
    causes = list(getattr(error, "worker_failures", {}).values())
    originals = [getattr(cause, "_original_exception", cause) for cause in causes]
    known = next((original for original in originals if isinstance(original, HnlmError)), None)
    if known is not None or not causes:
        return known
    return StageError(
        f"training failed more than {max_failures} time(s), at last with: {str(causes[0]).strip()}",
        f"run again to continue from the last checkpoint, or raise {section}.max_failures",
    )
