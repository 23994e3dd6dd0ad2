"""A run to be tracked: its stages are written by hand, and one of its fits is yet to be made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from hnlm_ray.config.tree import Config
from hnlm_ray.run.execute import Progress, execute
from hnlm_ray.run.plan import PlannedStage, Run
from hnlm_ray.run.reopened import recorded_run
from hnlm_ray.run.stage import StageContext, StageSummary
from hnlm_ray.tables import HISTORY
from hnlm_ray.tracking.pipeline import tracked
from hnlm_ray.training.live import live_folder, write_curve
from tests.cli.small_run import write_small_run

Body = Callable[[StageContext], None]

FIT = "train.dns.s0"


def rows(epochs: int) -> list[dict[str, Any]]:
    """A learning curve with a validation after every second epoch."""
    found = []
    for epoch in range(1, epochs + 1):
        valid = {"valid_ndcg": epoch / 100, "valid_recall": epoch / 50} if epoch % 2 == 0 else {}
        losses = dict.fromkeys(("loss", "ranking_loss", "contrastive_loss"), 1.0 / epoch)
        found.append({"epoch": epoch, "seconds": 2.0 * epoch, **losses, **valid})
    return found


class TrackedRun:
    """A run folder whose fit :data:`FIT` is missing.

    Attributes:
        config: of the run.
        run: its stages.
        said: sentences of warning.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.config: Config = write_small_run(folder / "run", None, *options)
        self.run: Run = recorded_run(str(folder / "run"), self.config)
        self.said: list[str] = []
        self.forget(FIT)

    def forget(self, name: str) -> None:
        """Make a stage incomplete."""
        Path(self.run[name].artifact.path_of("manifest.json")).unlink()

    def execute(self, body: Body = lambda context: None, only: Sequence[str] = ()) -> None:
        """Run what is missing; ``body`` is called in the middle of the fit."""

        def fit(stage: PlannedStage, context: StageContext) -> StageSummary:
            if stage.kind == "train":
                write_curve(live_folder(context.output), rows(4))
                body(context)
                context.output.write("history", pa.Table.from_pylist(rows(6), schema=HISTORY))
            return StageSummary({"history": 6}, {"best_epoch": 6, "valid_ndcg": 0.06})

        with tracked(self.config, self.run, Progress(), self.said.append) as progress:
            execute(self.config, self.run, only, progress, record=False, function=fit)
