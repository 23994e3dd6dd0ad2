"""Ray Tune around a trial's body: its resources, early stopping, and the last report of each trial when it ends."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from hnlm_ray.cluster.connect import require
from hnlm_ray.config.search import StoppingConfig
from hnlm_ray.errors import HnlmError
from hnlm_ray.run.places import Folder

__all__ = ["Report", "TrialPool", "run_trials"]

Report = Callable[[dict[str, Any]], None]
"""Takes the figures of a trial so far: ``epochs``, ``valid_ndcg`` (the best) and whatever else the caller keeps. Where
the trial is stopped, it ends the process instead of returning."""


@dataclass(frozen=True)
class TrialPool:
    """How trials run side by side.

    Attributes:
        use_gpu: whether a trial needs a GPU beside its CPU.
        most: trials at a time; None for as many as the cluster has room for.
        stopping: when poor trials end early; None for never.
        epochs: the most epochs of any trial.
    """

    use_gpu: bool
    most: int | None
    stopping: StoppingConfig | None
    epochs: int


def run_trials(
    body: Callable[[Any, int, Report], dict[str, Any]],
    task: Any,
    groups: Sequence[str],
    pool: TrialPool,
    storage: Folder,
    on_end: Callable[[int, Mapping[str, Any], bool], None],
    on_fail: Callable[[int], None] = lambda number: None,
    on_report: Callable[[int, Mapping[str, Any]], None] = lambda number, figures: None,
) -> list[str | None]:
    """Run ``body(task, number, report)`` once for each trial, in a process of its own.

    Args:
        body: one trial; calls ``report`` after each validation and returns its last figures.
        task: handed to every body.
        groups: one name per trial; a trial competes only with others of its group.
        pool: how they run side by side.
        storage: an existing folder, in which Ray Tune keeps its state below ``ray_tune``.
        on_end: called in this process with a trial's number, its last figures, and whether it ran to its own end, as
            soon as it has ended; not called for a trial that failed.
        on_fail: called in this process with the number of a trial as soon as it has failed.
        on_report: called in this process with the number of a trial and the figures that it reports, until it ends.

    Returns:
        Why each trial failed, None where it did not.

    Raises:
        ResourceError: the cluster has no room for a single trial.
    """
    # Read when Tune fits: no tables on the console, no event files, and Ctrl-C ends the command.
    quiet = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_DISABLE_SIGINT_HANDLER": "1"}
    os.environ.update(quiet)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the caller says what failed
    needs = {"CPU": 1.0, "GPU": 1.0} if pool.use_gpu else {"CPU": 1.0}
    require(needs, "a trial of the search")
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_run_body, body=body, task=task), needs),
        param_space={"trial": tune.grid_search(list(range(len(groups))))},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=pool.most,
            scheduler=None if pool.stopping is None else _GroupedASHA(groups, pool.stopping, pool.epochs),
        ),
        run_config=tune.RunConfig(
            name="ray_tune",
            storage_filesystem=storage.filesystem,
            storage_path=storage.path,
            callbacks=[_Listener(on_end, on_fail, on_report)],
            verbose=0,
        ),
    )
    # Tune keeps the order of the grid. A trial whose process died has no metrics.
    return [
        str(result.error).splitlines()[0] if result.error else result.metrics.get("error") for result in tuner.fit()
    ]


def _run_body(config: dict[str, int], body: Callable[[Any, int, Report], dict[str, Any]], task: Any) -> dict[str, Any]:
    try:
        return {**body(task, config["trial"], tune.report), "finished": True}
    except Exception as error:  # whatever it is, the other trials go on
        return {"error": str(error) if isinstance(error, HnlmError) else f"{type(error).__name__}: {error}"}


class _GroupedASHA(FIFOScheduler):  # type: ignore[misc]
    """Asynchronous successive halving within each group: one scheduler of Ray Tune per group, in one pool of trials.

    Args:
        groups: one name per trial.
        stopping: epochs before the first decision, and the share that goes on.
        epochs: the most epochs of any trial; the schedulers make no decision after them.
    """

    def __init__(self, groups: Sequence[str], stopping: StoppingConfig, epochs: int) -> None:
        super().__init__()
        self._groups = groups
        self._schedulers = {
            group: ASHAScheduler(
                time_attr="epochs",
                metric="valid_ndcg",
                mode="max",
                max_t=max(epochs, stopping.grace_period),
                grace_period=stopping.grace_period,
                reduction_factor=stopping.reduction_factor,
                stop_last_trials=False,  # one decision per trial and milestone; the body knows its last epoch
            )
            for group in set(groups)
        }

    def _of(self, trial: Any) -> Any:
        return self._schedulers[self._groups[trial.config["trial"]]]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision: str = self._of(trial).on_trial_result(tune_controller, trial, result)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._of(trial).on_trial_remove(tune_controller, trial)


class _Listener(tune.Callback):  # type: ignore[misc]
    """Hands on what a trial reports, its last figures when it ends, and the number of one that failed.

    Args:
        on_end: see :func:`run_trials`, like the others.
        on_fail: see there.
        on_report: see there.
    """

    def __init__(
        self,
        on_end: Callable[[int, Mapping[str, Any], bool], None],
        on_fail: Callable[[int], None],
        on_report: Callable[[int, Mapping[str, Any]], None],
    ) -> None:
        self._on_end, self._on_fail, self._on_report = on_end, on_fail, on_report

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        if "finished" not in result and "error" not in result:
            self._on_report(trial.config["trial"], result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        figures = trial.last_result
        if "error" in figures:
            self._on_fail(trial.config["trial"])
        else:
            self._on_end(trial.config["trial"], figures, "finished" in figures)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._on_fail(trial.config["trial"])
