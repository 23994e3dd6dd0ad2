"""Follows the stages of a run and tells every tracker of them, while they run and when they are complete."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from hnlm_ray.cluster.heartbeat import heartbeat
from hnlm_ray.config.tracking import TrackingConfig
from hnlm_ray.config.tree import Config
from hnlm_ray.run.execute import Progress
from hnlm_ray.run.places import shown
from hnlm_ray.run.plan import PlannedStage, Run
from hnlm_ray.run.progress import silent
from hnlm_ray.run.tracked import TrackingRecord
from hnlm_ray.tracking.desk import Desk, Log, wait_for
from hnlm_ray.tracking.figures import CURVES, fit_of, tell_of
from hnlm_ray.tracking.mlflow import MlflowTracker
from hnlm_ray.tracking.parameters import parameters_of
from hnlm_ray.tracking.protocol import Pipeline, Status, Tracker
from hnlm_ray.tracking.tensorboard import TensorBoardTracker
from hnlm_ray.tracking.wandb import WandbTracker
from hnlm_ray.training.live import live_folder, read_curve

__all__ = ["tracked", "trackers"]

_LOOK_S = 1.0
"""Seconds between two looks at the curve of the fit that runs."""

_PATIENCE_AFTER_SIGNAL_S = 2.0
"""A process that was asked to stop has little time."""


def trackers(options: TrackingConfig) -> list[Tracker]:
    """The trackers that are turned on; nothing is imported and nobody is asked yet."""
    found: list[Tracker] = []
    if options.mlflow is not None:
        found.append(MlflowTracker(options.mlflow))
    if options.tensorboard is not None:
        found.append(TensorBoardTracker(options.tensorboard))
    if options.wandb is not None:
        found.append(WandbTracker(options.wandb))
    return found


@contextmanager
def tracked(config: Config, run: Run, progress: Progress, warn: Callable[[str], None]) -> Iterator[Progress]:
    """Track what the body executes, with the listener that this gives.

    Args:
        config: of the run.
        run: planned from it.
        progress: hears everything first.
        warn: says a sentence about a tracker that failed, at most one for each.
    """
    if not config.tracking.is_on:
        yield progress
        return
    tracking = _Tracking(config, run, warn)
    status: Status = "failed"
    try:
        yield tracking.listening(progress)
        status = "finished"
    except (KeyboardInterrupt, SystemExit):
        status = "stopped"
        raise
    finally:
        tracking.end(status)


class _Tracking:
    """The trackers of one run."""

    def __init__(self, config: Config, run: Run, warn: Callable[[str], None]) -> None:
        self._options = config.tracking
        self._record = TrackingRecord(run.store)
        self._fits = {stage.name: fit_of(stage) for stage in run.stages if stage.kind in CURVES}
        tree = config.model_dump(mode="json", exclude={"tracking": True, "train": {"variants"}})
        pipeline = Pipeline(self._record.id, config.tracking.name or shown(config.run), parameters_of(tree))
        self._desks = [Desk(one, pipeline, self._record, warn) for one in trackers(config.tracking)]
        self._watch = ExitStack()

    def listening(self, progress: Progress) -> Progress:
        """The listener, and this behind it."""

        def after(first: Callable[[PlannedStage], None], then: Callable[[PlannedStage], None]) -> Callable[..., None]:
            def heard(stage: PlannedStage) -> None:
                first(stage)
                then(stage)

            return heard

        return dataclasses.replace(
            progress,
            started=after(progress.started, self._started),
            skipped=after(progress.skipped, self._complete),
            finished=after(progress.finished, self._complete),
        )

    def end(self, status: Status) -> None:
        """Hand on what is left, and wait for it for a while."""
        self._watch.close()
        for desk in self._desks:
            desk.finish(status)
        patience = self._options.patience_s
        wait_for(self._desks, min(patience, _PATIENCE_AFTER_SIGNAL_S) if status == "stopped" else patience)

    def _started(self, stage: PlannedStage) -> None:
        for desk in self._desks:
            desk.tell(_nothing)  # which begins it
        if stage.kind in CURVES:
            self._watch.enter_context(heartbeat(lambda: self._look(stage), silent, _LOOK_S))
        if stage.kind == "report":  # which names the links
            for desk in self._desks:
                desk.is_begun.wait(self._options.patience_s)

    def _look(self, stage: PlannedStage) -> None:
        """Hand on the curve so far; called in a thread of its own."""
        fit = self._fits[stage.name]
        if rows := read_curve(live_folder(stage.artifact)):
            for desk in self._desks:
                if not desk.is_behind:  # the next look has these rows, too
                    desk.tell(lambda log: log.add_rows(fit, rows))

    def _complete(self, stage: PlannedStage) -> None:
        self._watch.close()
        key = f"{stage.name}@{stage.artifact.fingerprint}"

        def act(log: Log) -> None:
            tell_of(log, stage, self._fits)
            self._record.note_done(log.tracker.place, key)

        for desk in self._desks:
            if not self._record.is_done(desk.place, key):
                desk.tell(act)


def _nothing(log: Log) -> None:
    """What a tracker is told when a stage starts."""
