"""Weights & Biases: a run per pipeline and per fit, in one group."""

from __future__ import annotations

import netrc
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hnlm_ray.config.tracking import WandbConfig
from hnlm_ray.errors import ConfigError
from hnlm_ray.tracking.protocol import Fit, Pipeline, Point, Status

__all__ = ["WandbTracker"]

_TIMEOUT_S = 5.0
_HOST = "https://api.wandb.ai"


class WandbTracker:
    """Tracks with several runs of W&B at a time; W&B has no runs in runs, so a group holds them together.

    Args:
        options: of the section ``tracking.wandb``.
    """

    title = "Weights & Biases"

    def __init__(self, options: WandbConfig) -> None:
        self._options = options
        self.place = f"wandb {options.mode} {options.entity or ''}/{options.project}"
        self._runs: dict[str, Any] = {}

    def begin(self, pipeline: Pipeline) -> str:
        """See :class:`hnlm_ray.tracking.protocol.Tracker`; so for the other methods."""
        if self._options.mode == "online" and not _has_key():
            raise ConfigError(
                "there is no key for Weights & Biases", "set WANDB_API_KEY, or tracking.wandb.mode=offline"
            )
        self._pipeline = pipeline
        self._parent = self._run(pipeline.id, pipeline.name, "pipeline", pipeline.parameters)
        if self._options.mode == "offline":
            return f"wandb sync {Path(str(self._parent.dir)).parent.parent}/offline-run-*"
        return str(self._parent.url)

    def begin_fit(self, fit: Fit) -> Mapping[str, int]:
        """A curve that goes on where it stopped is known of runs that are online alone; offline it is written anew."""
        run_id = f"{self._pipeline.id[:12]}-{fit.key.replace('@', '-')}"
        run = self._run(run_id, fit.name, "fit", fit.parameters)
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        self._runs[fit.key] = run
        last = run.summary.get("epoch")
        return dict.fromkeys(run.summary.keys(), last) if isinstance(last, int) else {}

    def log_points(self, fit: Fit, points: Sequence[Point]) -> None:
        """The figures of an epoch together, over the axis ``epoch``."""
        for epoch, row in points:
            self._runs[fit.key].log({"epoch": epoch, **row})

    def log_figures(self, figures: Mapping[str, float], fit: Fit | None = None) -> None:
        """Into the summary of the run."""
        if fit is not None and fit.key not in self._runs:
            self.begin_fit(fit)
        (self._parent if fit is None else self._runs[fit.key]).summary.update(dict(figures))

    def log_file(self, name: str, content: bytes) -> None:
        """As an artifact of the pipeline's run."""
        import wandb

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(name).name
            file.write_bytes(content)
            title = f"{self._pipeline.id[:12]}-{name.replace('/', '-')}"
            artifact = wandb.Artifact(title, type=Path(name).suffix[1:] or "file")
            artifact.add_file(str(file))  # copied at once
            self._parent.log_artifact(artifact)

    def end_fit(self, fit: Fit, status: Status) -> None:
        """A fit stays open until the pipeline ends, as its test figures are still to come."""
        if status != "finished":
            self._runs.pop(fit.key).finish(exit_code=1)

    def end(self, status: Status) -> None:
        """Finish every run."""
        for run in (*self._runs.values(), self._parent):
            run.finish(exit_code=0 if status == "finished" else 1)
        self._runs.clear()

    def _run(self, run_id: str, name: str, kind: str, parameters: Mapping[str, str]) -> Any:
        import wandb

        options = self._options
        folder = Path(os.path.abspath(os.path.expanduser(options.folder)))
        folder.mkdir(parents=True, exist_ok=True)
        # Neither figures of the machine, nor code, nor what is printed go with a run.
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, save_code=False, x_disable_stats=True,
            x_disable_meta=True, x_disable_machine_info=True, init_timeout=_TIMEOUT_S, login_timeout=_TIMEOUT_S,
        )  # fmt: skip
        return wandb.init(
            project=options.project, entity=options.entity, id=run_id, name=name, group=self._pipeline.id,
            job_type=kind, mode=options.mode, dir=str(folder), config=dict(parameters), reinit="create_new",
            resume="allow" if options.mode == "online" else None, settings=settings,
        )  # fmt: skip


def _has_key() -> bool:
    """Whether W&B would find a key; without one it would ask for it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        host = urlsplit(os.environ.get("WANDB_BASE_URL") or _HOST).hostname or ""
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
