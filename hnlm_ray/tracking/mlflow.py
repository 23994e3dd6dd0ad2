"""MLflow: a run per pipeline, with a run inside it per fit."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hnlm_ray.config.section import without_credentials
from hnlm_ray.config.tracking import MlflowConfig
from hnlm_ray.tracking.protocol import Fit, Pipeline, Point, Status

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

__all__ = ["DEFAULT_URI", "MlflowTracker", "is_server", "uri_of"]

DEFAULT_URI = "sqlite:///mlflow.db"
"""MLflow's own default: it maintains the plain folder ``mlruns`` no longer, and refuses it unless a variable is set."""

_SETTINGS = {
    # Two tries of three seconds: a server that does not answer must not keep a run waiting.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Settings of MLflow that hold where the environment has no others."""

_MOST = 1000
_MOST_PARAMETERS = 100
_MOST_CHARACTERS = 6000
"""What one request may hold, and how long a parameter may be."""

_STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}


def uri_of(options: MlflowConfig) -> str:
    """Where the options lead, by themselves or by the environment; a file in the working folder by its whole path."""
    uri = options.uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    found = re.fullmatch(r"sqlite:///([^/].*)", uri)
    return f"sqlite:///{os.path.abspath(found[1])}" if found else uri


def is_server(uri: str) -> bool:
    """Whether it is the address of a server, and no database or folder."""
    return uri.startswith(("http://", "https://"))


class MlflowTracker:
    """Tracks with MLflow's client; MLflow's own idea of an active run is left alone.

    Args:
        options: of the section ``tracking.mlflow``.
    """

    title = "MLflow"

    def __init__(self, options: MlflowConfig) -> None:
        self._uri = uri_of(options)
        self._experiment = options.experiment
        self.place = f"mlflow {without_credentials(self._uri)} {options.experiment}"
        self._runs: dict[str, str] = {}
        self._open: set[str] = set()

    def begin(self, pipeline: Pipeline) -> str:
        """See :class:`hnlm_ray.tracking.protocol.Tracker`; so for the other methods."""
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        # One sentence is said about a tracker that fails, and it is not theirs.
        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._client: MlflowClient = MlflowClient(self._uri)
        found = self._client.get_experiment_by_name(self._experiment)
        self._experiment_id = found.experiment_id if found else self._client.create_experiment(self._experiment)
        self._pipeline = pipeline
        run = self._run({"hnlm.pipeline": pipeline.id}, pipeline.name, pipeline.parameters)
        self._parent: str = run.info.run_id
        if is_server(self._uri):
            address = without_credentials(self._uri).rstrip("/")
            return f"{address}/#/experiments/{self._experiment_id}/runs/{self._parent}"
        return f"mlflow ui --backend-store-uri {without_credentials(self._uri)}"

    def begin_fit(self, fit: Fit) -> Mapping[str, int]:
        """The last epochs are read from the server, so that a killed run continues its curves."""
        tags = {"hnlm.fit_of": self._pipeline.id, "hnlm.fit": fit.key, "mlflow.parentRunId": self._parent}
        run = self._run(tags, fit.name, fit.parameters)
        self._runs[fit.key] = run.info.run_id
        self._open.add(fit.key)
        return {
            name: max(point.step for point in self._client.get_metric_history(run.info.run_id, name))
            for name in run.data.metrics
        }

    def log_points(self, fit: Fit, points: Sequence[Point]) -> None:
        """Up to a thousand in one request."""
        self._log(self._runs[fit.key], [(name, value, epoch) for epoch, row in points for name, value in row.items()])

    def log_figures(self, figures: Mapping[str, float], fit: Fit | None = None) -> None:
        """As metrics at step 0; the last one set is shown."""
        self._log(self._of(fit), [(name, value, 0) for name, value in figures.items()])

    def log_file(self, name: str, content: bytes) -> None:
        """As an artifact of the parent run."""
        self._client.log_text(self._parent, content.decode(), name)

    def end_fit(self, fit: Fit, status: Status) -> None:
        """With MLflow's name for the status."""
        self._client.set_terminated(self._runs[fit.key], _STATUS[status])
        self._open.discard(fit.key)

    def end(self, status: Status) -> None:
        """Open fits end with the same status."""
        for key in self._open:
            self._client.set_terminated(self._runs[key], _STATUS[status])
        self._client.set_terminated(self._parent, _STATUS[status])

    def _of(self, fit: Fit | None) -> str:
        if fit is None:
            return self._parent
        if fit.key not in self._runs:
            self.begin_fit(fit)
            self.end_fit(fit, "finished")
        return self._runs[fit.key]

    def _run(self, tags: Mapping[str, str], name: str, parameters: Mapping[str, str]) -> Run:
        """The run with these tags, made where there is none; a parameter keeps the value that it was begun with."""
        from mlflow.entities import Param

        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items() if key.startswith("hnlm."))
        found = self._client.search_runs([self._experiment_id], wanted, max_results=1)
        if found:
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            run: Run = self._client.get_run(found[0].info.run_id)
        else:
            run = self._client.create_run(self._experiment_id, tags=dict(tags), run_name=name)
        new = [
            (key, value[:_MOST_CHARACTERS]) for key, value in parameters.items() if _safe(key) not in run.data.params
        ]
        for start in range(0, len(new), _MOST_PARAMETERS):
            params = [Param(_safe(key), value) for key, value in new[start : start + _MOST_PARAMETERS]]
            self._client.log_batch(run.info.run_id, params=params)
        return run

    def _log(self, run: str, metrics: Sequence[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        found: list[Any] = [Metric(_safe(name), value, now, epoch) for name, value, epoch in metrics]
        for start in range(0, len(found), _MOST):
            self._client.log_batch(run, metrics=found[start : start + _MOST])


def _safe(name: str) -> str:
    """A name of letters, digits and what else MLflow accepts."""
    return "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in name)
