"""Tracking against a real server of MLflow on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hnlm_ray.cluster.ingress import free_port
from hnlm_ray.config.load import load_config
from hnlm_ray.config.tracking import MlflowConfig
from hnlm_ray.errors import ConfigError, StageError
from hnlm_ray.run.stage import StageContext
from hnlm_ray.tracking.mlflow import uri_of
from tests.tracking.runs import FIT, TrackedRun, rows

pytest.importorskip("mlflow", reason="the extra tracking brings it")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    # Neither its queue of jobs nor its telemetry is needed here.
    plain = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | plain, start_new_session=True
        )
    try:
        _wait(lambda: _answers(f"http://127.0.0.1:{port}/health"), seconds=120)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except OSError:
        return False


def _wait(is_there: Callable[[], Any], seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := is_there()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.05)
    return found


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return MlflowClient(server)


def options(server: str, experiment: str) -> list[str]:
    return [f"tracking.mlflow={{uri: '{server}', experiment: {experiment}}}", "tracking.patience_s=30"]


def runs(client: Any, experiment: str) -> dict[str, Any]:
    """The runs of an experiment by name, each of which there must be once."""
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id]) if found else []
    by_name = {run.info.run_name: run for run in runs}
    assert len(by_name) == len(runs)
    return by_name


def curve(client: Any, run: Any, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def test_a_pipeline_is_a_run_with_a_run_per_fit_whose_curve_comes_as_it_happens(
    server: str, client: Any, tmp_path: Path
) -> None:
    one = TrackedRun(tmp_path, *options(server, "whole"))
    seen: dict[str, Any] = {}

    def look(context: StageContext) -> None:
        def loss() -> Any:
            run = runs(client, "whole").get(FIT)
            seen["status"] = run.info.status if run else None
            return run and curve(client, run, "loss")

        seen["loss"] = _wait(loss)

    one.execute(look)
    assert one.said == []
    assert seen == {"status": "RUNNING", "loss": [(row["epoch"], row["loss"]) for row in rows(4)]}
    found = runs(client, "whole")
    parent = found.pop(one.config.run)
    assert set(found) == {"train.uniform.s0", FIT}
    for run in (parent, *found.values()):
        assert run.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {parent.info.run_id}
    for name in ("loss", "valid_ndcg"):
        assert curve(client, found[FIT], name) == [(row["epoch"], row[name]) for row in rows(6) if name in row]
    assert found[FIT].data.params["sampler.name"] == "dns"
    assert parent.data.params["data.min_rating"] == "4.0"
    assert found[FIT].data.metrics["test/ndcg_20"] == pytest.approx(0.3)
    assert parent.data.metrics["dns/test_ndcg_20"] == pytest.approx(0.3)
    assert client.download_artifacts(parent.info.run_id, "report.html", str(tmp_path))
    assert (tmp_path / "report.html").read_text() == "<html>the report</html>"
    assert [one.path for one in client.list_artifacts(parent.info.run_id, "bundle.best")] == ["bundle.best/bundle.json"]


def test_a_run_that_is_killed_goes_on_in_the_same_runs(server: str, client: Any, tmp_path: Path) -> None:
    one = TrackedRun(tmp_path, *options(server, "again"))

    def fail(context: StageContext) -> None:
        _wait(lambda: FIT in runs(client, "again") and curve(client, runs(client, "again")[FIT], "valid_recall"))
        raise StageError("enough", "stop")

    with pytest.raises(StageError, match="enough"):
        one.execute(fail)
    before = runs(client, "again")
    assert {before[name].info.status for name in (FIT, one.config.run)} == {"FAILED"}
    one.execute()
    after = runs(client, "again")
    assert {name: run.info.run_id for name, run in before.items()}.items() <= {
        name: run.info.run_id for name, run in after.items()
    }.items()
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    assert [epoch for epoch, _ in curve(client, after[FIT], "loss")] == [1, 2, 3, 4, 5, 6]  # none of them twice
    one.execute()  # everything is complete and known, so nobody is asked
    assert {name: run.info.end_time for name, run in runs(client, "again").items()} == {
        name: run.info.end_time for name, run in after.items()
    }
    assert one.said == []


def test_a_server_that_is_not_there_is_one_warning(tmp_path: Path) -> None:
    one = TrackedRun(tmp_path, *options(f"http://127.0.0.1:{free_port()}", "away"))
    started = time.monotonic()
    one.execute()
    assert one.run[FIT].artifact.is_complete
    assert len(one.said) == 1
    assert one.said[0].startswith("tracking with MLflow has ended (MlflowException: ")
    assert time.monotonic() - started < 20


def test_a_server_that_does_not_answer_delays_a_run_by_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        one = TrackedRun(tmp_path, f"tracking.mlflow.uri={uri}", "tracking.patience_s=1.5")
        import mlflow.tracking  # noqa: F401 (its import is no part of the delay)

        started = time.monotonic()
        one.execute()
        assert time.monotonic() - started < 6
        assert one.said == [
            "tracking with MLflow has ended (it did not answer within 1.5 s); the run goes on without it"
        ]
        assert one.run[FIT].artifact.is_complete
        for thread in threading.enumerate():
            if thread.name == "tracking with MLflow":
                assert thread.daemon  # which keeps no process alive


def test_keys_in_an_address_are_refused_and_those_of_the_environment_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"holds no key or password: .*MLFLOW_TRACKING_PASSWORD") as caught:
        load_config([], ["tracking.mlflow.uri=http://me:very-secret@host"])
    assert "very-secret" not in str(caught.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:very-secret@127.0.0.1:{free_port()}")
    one = TrackedRun(tmp_path, "tracking.mlflow={}")
    one.execute()
    assert len(one.said) == 1
    assert "very-secret" not in one.said[0]
    assert "very-secret" not in "".join(path.read_text() for path in (tmp_path / "run").glob("*.json"))


def test_without_a_server_runs_are_in_a_file_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert uri_of(MlflowConfig()) == f"sqlite:///{tmp_path}/mlflow.db"
    one = TrackedRun(tmp_path, "tracking.mlflow={}", "tracking.patience_s=60")
    one.execute()
    assert one.said == []
    from mlflow.tracking import MlflowClient

    assert set(runs(MlflowClient(f"sqlite:///{tmp_path}/mlflow.db"), "hnlm_ray")) > {FIT}
    assert "mlflow ui --backend-store-uri" in (tmp_path / "run" / "tracking.json").read_text()
