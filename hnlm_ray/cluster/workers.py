"""Run a function on the workers of Ray Train, with checkpoints, restarts, and errors that a user can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hnlm_ray.cluster.connect import require
from hnlm_ray.errors import HnlmError, StageError
from hnlm_ray.run.places import Folder

__all__ = ["Workers", "checkpoints", "run_workers"]


def checkpoints(output: Folder) -> Folder:
    """The folder for the checkpoints of a stage; it is scratch, deleted when the stage is complete."""
    return output.folder("_ray_train")


@dataclass(frozen=True)
class Workers:
    """The workers of one fit.

    Attributes:
        count: how many; each has one CPU, and one GPU where GPUs are used.
        use_gpu: whether each has a GPU.
        max_failures: how often a lost worker leads to a restart from the last checkpoint.
        option: the section of the configuration with these options; messages name it.
        env_vars: environment variables of the workers.
    """

    count: int
    use_gpu: bool
    max_failures: int
    option: str
    env_vars: Mapping[str, str] | None = None


def run_workers(body: Callable[[dict[str, Any]], Any], task: Any, workers: Workers, output: Folder) -> Any:
    """Run ``body({"task": task})`` on every worker; where an earlier driver was lost, from its last checkpoint.

    Args:
        body: reads its task, continues from ``ray.train.get_checkpoint()`` if there is one, and reports checkpoints.
        task: what it needs; travels to every worker, so it should be small.
        workers: how many, on what.
        output: of the stage; checkpoints lie in its folder :func:`checkpoints`.

    Returns:
        Ray's result, with the last ``checkpoint`` and the ``return_value`` of worker 0.

    Raises:
        ResourceError: the cluster is too small for the workers.
        StageError: a worker was lost more often than ``max_failures``.
        HnlmError: raised on a worker.
    """
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    class Trainer(TorchTrainer):  # type: ignore[misc]
        def _register_sigint_handler(self, controller: Any) -> None:
            """Leave Ctrl-C as it is: Ray's handler would exit with 0, in all that follows the training, too."""

    needs = {"CPU": 1.0, "GPU": 1.0} if workers.use_gpu else {"CPU": 1.0}
    require(
        {name: amount * workers.count for name, amount in needs.items()}, f"{workers.option}.workers={workers.count}"
    )
    trainer = Trainer(
        body,
        train_loop_config={"task": task},
        torch_config=TorchConfig(backend="nccl" if workers.use_gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers.count, use_gpu=workers.use_gpu, resources_per_worker=needs),
        run_config=RunConfig(
            # The same name and place let a new driver continue where a lost one stopped.
            name="fit",
            storage_path=checkpoints(output).path,
            storage_filesystem=output.filesystem,
            failure_config=FailureConfig(max_failures=workers.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            worker_runtime_env={"env_vars": dict(workers.env_vars)} if workers.env_vars else None,
        ),
    )
    return _fit_or_explain(trainer, workers)


def _fit_or_explain(trainer: Any, workers: Workers) -> Any:
    """``trainer.fit()``, with an error of ours where the user can do something about the failure."""
    from ray.train.v2.api.exceptions import TrainingFailedError

    try:
        return trainer.fit()
    except TrainingFailedError as error:
        causes = list(getattr(error, "worker_failures", {}).values())
        for cause in causes:
            reason = getattr(cause, "_original_exception", cause)
            if isinstance(reason, HnlmError):
                raise reason from error
        if not causes:
            raise
        raise StageError(
            f"training failed more than {workers.max_failures} time(s), at last with: {str(causes[0]).strip()}",
            f"run again to continue from the last checkpoint, or raise {workers.option}.max_failures",
        ) from error
