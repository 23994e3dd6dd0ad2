"""The section ``tracking``: where parameters, curves, metrics and files of a run are followed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hnlm_ray.config.section import Section

__all__ = ["MlflowConfig", "TensorBoardConfig", "TrackingConfig", "WandbConfig"]


class MlflowConfig(Section):
    """MLflow, with the extra ``tracking``: a run per pipeline, and a run inside it per fit."""

    uri: str | None = None
    """A server, ``http://host:5000``, or a database in a file, ``sqlite:///mlflow.db``; by default the environment
    variable ``MLFLOW_TRACKING_URI`` and, without it, ``sqlite:///mlflow.db`` in the working folder. A user and a
    password, or a token, are read from ``MLFLOW_TRACKING_USERNAME``, ``_PASSWORD`` and ``_TOKEN`` alone."""
    experiment: str = Field(default="hnlm_ray", min_length=1)
    """The experiment that the runs belong to; made where there is none."""


class TensorBoardConfig(Section):
    """TensorBoard, with the extra ``tracking``: a folder of event files per fit."""

    folder: str = Field(default="tensorboard", min_length=1)
    """A folder of this machine, for ``tensorboard --logdir``."""


class WandbConfig(Section):
    """Weights & Biases, with the extra ``wandb``: a run per pipeline and per fit, in one group."""

    project: str = Field(default="hnlm_ray", min_length=1)
    """The project that the runs belong to."""
    entity: str | None = None
    """The user or team whose project it is; by default that of the key."""
    mode: Literal["online", "offline"] = "online"
    """``online`` needs the key in the environment variable ``WANDB_API_KEY``; ``offline`` writes files for
    ``wandb sync``."""
    folder: str = Field(default=".", min_length=1)
    """A folder of this machine, in which ``wandb`` keeps its files."""


class TrackingConfig(Section):
    """Trackers that follow a run; they decide nothing that is computed, and a tracker that fails stops no run."""

    mlflow: MlflowConfig | None = None
    """``{}`` turns it on."""
    tensorboard: TensorBoardConfig | None = None
    """``{}`` turns it on."""
    wandb: WandbConfig | None = None
    """``{}`` turns it on."""
    name: str | None = None
    """What trackers call the run; by default the run folder."""
    patience_s: float = Field(default=5.0, gt=0.0)
    """Seconds that a run waits at its end for a tracker that does not get on. One that gets on is waited for, for ten
    times as long at most."""

    @property
    def is_on(self) -> bool:
        """Whether there is any tracker."""
        return any(one is not None for one in (self.mlflow, self.tensorboard, self.wandb))
