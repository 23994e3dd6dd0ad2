"""Ray Tune around a trial's body: when a trial starts, its resources, when it is stopped, and what it reported."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import Searcher

from hnlm_ray.cluster.connect import require
from hnlm_ray.config.search import StoppingConfig
from hnlm_ray.errors import HnlmError
from hnlm_ray.run.budget import EpochBudget
from hnlm_ray.run.places import Folder

__all__ = ["Ended", "Past", "Report", "Start", "TrialPool", "run_trials"]

Report = Callable[[dict[str, Any]], None]
"""Takes the figures of a trial so far: ``epochs``, ``valid_ndcg`` (the best) and whatever else the caller keeps. Where
the trial is stopped, it ends the process instead of returning."""

_NO_LAST_EPOCH = 10**9
"""The schedulers stop a trial at some number of epochs; here its body knows its last one."""


@dataclass(frozen=True)
class Start:
    """What a trial starts with, decided when there is room for it.

    Attributes:
        given: handed to its body.
        epochs: the most that it trains.
        every: epochs between two of its reports.
    """

    given: str
    epochs: int
    every: int

    def until(self, trained: int) -> int:
        """Epochs in all at the report after this many."""
        return min(trained + self.every, self.epochs)


@dataclass(frozen=True)
class Ended:
    """How a trial ended that did not fail.

    Attributes:
        figures: the last that it reported.
        status: ``ok`` at its own end, ``stopped`` because others were better, ``cut`` because the epochs were used up.
        reports: epochs and best validation NDCG@20 of every report.
    """

    figures: Mapping[str, Any]
    status: Literal["ok", "stopped", "cut"]
    reports: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Past:
    """A trial that ended in an earlier run of the same search.

    Attributes:
        group: that of its variant.
        reports: as in :class:`Ended`.
    """

    group: str
    reports: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class TrialPool:
    """How trials run side by side.

    Attributes:
        use_gpu: whether a trial needs a GPU beside its CPU.
        most: trials at a time; None for as many as the cluster has room for.
        stopping: when poor trials end early; None for never.
        budget: epochs that all trials of a group may train, those of ``past`` included; None for no limit.
        past: trials that the others are compared with and share the budget with.
    """

    use_gpu: bool
    most: int | None
    stopping: StoppingConfig | None = None
    budget: int | None = None
    past: Sequence[Past] = field(default=())


def run_trials(
    body: Callable[[Any, int, str, Report], dict[str, Any]],
    task: Any,
    groups: Sequence[str],
    start: Callable[[int], Start],
    pool: TrialPool,
    storage: Folder,
    on_end: Callable[[int, Ended], None],
    on_fail: Callable[[int], None] = lambda number: None,
    on_report: Callable[[int, Mapping[str, Any]], None] = lambda number, figures: None,
) -> list[str | None]:
    """Run ``body(task, number, given, report)`` once for each trial, in a process of its own, in their order.

    Args:
        body: one trial; calls ``report`` after each validation and returns its last figures.
        task: handed to every body.
        groups: one name per trial; a trial competes, and shares the budget, only with others of its group.
        start: called in this process with a trial's number as soon as there is room for it, and again if the budget of
            its group is then promised to others; an :class:`HnlmError` from it is why the trial failed.
        pool: how they run side by side.
        storage: an existing folder, in which Ray Tune keeps its state below ``ray_tune``.
        on_end: called in this process with a trial's number as soon as it has ended; not called for one that failed.
        on_fail: called in this process with the number of a trial as soon as it has failed.
        on_report: called in this process with the number of a trial and the figures that it reports, until it ends.

    Returns:
        Why each trial failed; None where it did not, or never started because the epochs were used up.

    Raises:
        ResourceError: the cluster has no room for a single trial.
    """
    # Read when Tune fits: no tables on the console, no event files, and Ctrl-C ends the command.
    quiet = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_DISABLE_SIGINT_HANDLER": "1"}
    os.environ.update(quiet)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the caller says what failed
    needs = {"CPU": 1.0, "GPU": 1.0} if pool.use_gpu else {"CPU": 1.0}
    require(needs, "a trial of the search")
    state = _State(groups, EpochBudget(pool.budget, _spent(pool.past)))
    starts = _Starts(state, start, on_fail)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_run_body, body=body, task=task), needs),
        tune_config=tune.TuneConfig(
            num_samples=len(groups),
            search_alg=starts,
            max_concurrent_trials=pool.most,
            scheduler=_Scheduler(state, pool.stopping, pool.past),
            trial_dirname_creator=lambda trial: trial.trial_id,  # the default has the options in it
        ),
        run_config=tune.RunConfig(
            name="ray_tune",
            storage_filesystem=storage.filesystem,
            storage_path=storage.path,
            callbacks=[_Listener(state, on_end, on_fail, on_report)],
            verbose=0,
        ),
    )
    results = tuner.fit()
    errors: dict[int, str | None] = dict(starts.errors)
    # Tune keeps the order in which trials started. A trial whose process died has no metrics.
    for number, result in zip(starts.order, results, strict=True):
        errors[number] = str(result.error).splitlines()[0] if result.error else result.metrics.get("error")
    return [errors.get(number) for number in range(len(groups))]


def _spent(past: Sequence[Past]) -> dict[str, int]:
    """Epochs by group."""
    spent = Counter[str]()
    for one in past:
        spent[one.group] += max((epochs for epochs, _ in one.reports), default=0)
    return spent


def _run_body(
    config: dict[str, Any], body: Callable[[Any, int, str, Report], dict[str, Any]], task: Any
) -> dict[str, Any]:
    try:
        return {**body(task, config["trial"], config["given"], tune.report), "finished": True}
    except Exception as error:  # whatever it is, the other trials go on
        return {"error": str(error) if isinstance(error, HnlmError) else f"{type(error).__name__}: {error}"}


class _State:
    """What is known of the trials of this run, shared by what starts, stops and ends them.

    Args:
        groups: one name per trial.
        budget: epochs of each group.
    """

    def __init__(self, groups: Sequence[str], budget: EpochBudget) -> None:
        self.groups, self.budget = groups, budget
        self.running: dict[int, Start] = {}
        self.reports: dict[int, list[tuple[int, float]]] = {}
        self.cut: set[int] = set()

    def begin(self, number: int, start: Start) -> bool:
        """Whether the budget has room for the trial's first report; it runs then."""
        if not self.budget.take(self.groups[number], number, start.until(0)):
            return False
        self.running[number], self.reports[number] = start, []
        return True

    def report(self, number: int, epochs: int, valid_ndcg: float) -> None:
        """Keep a report; Tune hands on the last one of a trial twice."""
        reports = self.reports[number]
        if not reports or epochs > reports[-1][0]:
            reports.append((epochs, valid_ndcg))

    def may_go_on(self, number: int, epochs: int) -> bool:
        """Whether the budget has room for the report after this one."""
        return self.budget.take(self.groups[number], number, self.running[number].until(epochs))

    def end(self, number: int) -> None:
        """The trial runs no more; what it was promised beyond its last report is free."""
        if self.running.pop(number, None) is not None:
            self.budget.end(self.groups[number], number, max((epochs for epochs, _ in self.reports[number]), default=0))


class _Starts(Searcher):  # type: ignore[misc]
    """Starts the trials in their order, each as late as possible, and none beyond the budget of its group."""

    def __init__(self, state: _State, start: Callable[[int], Start], on_fail: Callable[[int], None]) -> None:
        super().__init__()
        self._state, self._start, self._on_fail = state, start, on_fail
        self._waiting = list(range(len(state.groups)))
        self.order: list[int] = []
        self.errors: dict[int, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial that may start; None if it depends on those that run."""
        full: set[str] = set()
        for number in list(self._waiting):
            if self._state.groups[number] in full:
                continue
            try:
                start = self._start(number)
            except HnlmError as error:
                self._waiting.remove(number)
                self.errors[number] = str(error)
                self._on_fail(number)
                continue
            if self._state.begin(number, start):
                self._waiting.remove(number)
                self.order.append(number)
                return {"trial": number, "given": start.given}
            full.add(self._state.groups[number])
        busy = {self._state.groups[number] for number in self._state.running}
        self._waiting = [number for number in self._waiting if self._state.groups[number] in busy]
        return None if self._waiting else self.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The callback ends trials, which Tune calls right after this."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a search that goes on asks for its trials anew."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as there is nothing saved."""


class _Scheduler(FIFOScheduler):  # type: ignore[misc]
    """Ends trials by the budget, and by asynchronous successive halving within each group.

    Ray Tune has a scheduler for that, of which each group gets its own.

    Args:
        state: of the trials.
        stopping: epochs before the first decision, and the share that goes on; None ends no trial for being poor.
        past: trials that others are compared with.
    """

    def __init__(self, state: _State, stopping: StoppingConfig | None, past: Sequence[Past]) -> None:
        super().__init__()
        self._state = state
        groups = () if stopping is None else set(state.groups)
        self._schedulers = {group: _asha(stopping) for group in groups if stopping is not None}
        for place, one in enumerate(past):
            # As much of a trial of Ray Tune as a scheduler looks at.
            scheduler, trial = self._schedulers.get(one.group), SimpleNamespace(trial_id=f"past {place}")
            if scheduler is not None:
                scheduler.on_trial_add(None, trial)
                for epochs, valid_ndcg in one.reports:
                    scheduler.on_trial_result(None, trial, {"epochs": epochs, "valid_ndcg": valid_ndcg})

    def _of(self, trial: Any) -> Any:
        return self._schedulers.get(self._state.groups[trial.config["trial"]])

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        if scheduler := self._of(trial):
            scheduler.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        number, decision = trial.config["trial"], self.CONTINUE
        if "epochs" not in result:
            return str(decision)
        self._state.report(number, result["epochs"], result["valid_ndcg"])
        if scheduler := self._of(trial):
            decision = scheduler.on_trial_result(tune_controller, trial, result)
        is_open = decision == self.CONTINUE and "finished" not in result
        if is_open and not self._state.may_go_on(number, result["epochs"]):
            self._state.cut.add(number)
            decision = self.STOP
        return str(decision)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        if scheduler := self._of(trial):
            scheduler.on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        if scheduler := self._of(trial):
            scheduler.on_trial_remove(tune_controller, trial)


def _asha(stopping: StoppingConfig) -> Any:
    return ASHAScheduler(
        time_attr="epochs",
        metric="valid_ndcg",
        mode="max",
        max_t=max(_NO_LAST_EPOCH, stopping.grace_period),
        grace_period=stopping.grace_period,
        reduction_factor=stopping.reduction_factor,
        stop_last_trials=False,  # one decision per trial and milestone
    )


class _Listener(tune.Callback):  # type: ignore[misc]
    """Hands on what a trial reports, how it ended, or the number of one that failed; see :func:`run_trials`."""

    def __init__(
        self, state: _State, on_end: Callable[[int, Ended], None], on_fail: Callable[[int], None],
        on_report: Callable[[int, Mapping[str, Any]], None],
    ) -> None:  # fmt: skip
        self._state, self._on_end, self._on_fail, self._on_report = state, on_end, on_fail, on_report

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        if "finished" not in result and "error" not in result:
            self._on_report(trial.config["trial"], result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number, figures = trial.config["trial"], trial.last_result
        self._state.end(number)
        if "error" in figures:
            self._on_fail(number)
            return
        is_cut = number in self._state.cut
        status: Literal["ok", "stopped", "cut"] = "ok" if "finished" in figures else "cut" if is_cut else "stopped"
        self._on_end(number, Ended(figures, status, self._state.reports[number]))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._state.end(trial.config["trial"])
        self._on_fail(trial.config["trial"])
