"""Which runs are tracked, what tracking leaves alone, and what the trials of a search become."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from hnlm_ray.cli.main import app
from hnlm_ray.cluster import connect
from hnlm_ray.config.load import load_config
from hnlm_ray.config.tracking import TrackingConfig
from hnlm_ray.errors import StageError
from hnlm_ray.report.figures import LearningCurves
from hnlm_ray.report.report import Report, render
from hnlm_ray.run.dependencies import is_decisive
from hnlm_ray.run.plan import PlannedStage, plan
from hnlm_ray.run.stage import StageContext, StageKey
from hnlm_ray.run.store import RunStore
from hnlm_ray.run.tracked import TrackingRecord
from hnlm_ray.tables import SEARCH_TRIALS
from hnlm_ray.tracking import packages, pipeline
from hnlm_ray.tracking.desk import Desk, Log, wait_for
from hnlm_ray.tracking.figures import tell_of
from hnlm_ray.tracking.packages import missing_packages
from hnlm_ray.tracking.protocol import Pipeline
from tests.tracking.runs import TrackedRun
from tests.tracking.test_desk import Scripted, void


def test_no_stage_depends_on_tracking(tmp_path: Path) -> None:
    own = [f"run={tmp_path}"]
    on = ["tracking.mlflow={}", "tracking.tensorboard={}", "tracking.wandb={}", "tracking.name=mine"]
    prints = [
        {stage.name: stage.artifact.fingerprint for stage in plan(load_config([], given)).stages}
        for given in (own, own + on)
    ]
    assert prints[0] == prints[1]
    assert not is_decisive(("tracking", "mlflow"))


def test_hnlm_run_is_tracked_and_a_command_that_only_reads_a_run_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard", reason="the extra tracking brings it")
    monkeypatch.setattr(connect, "connected", lambda cluster: nullcontext())  # the demo's data needs no cluster
    given = [f"run={tmp_path}/run", f"tracking.tensorboard.folder={tmp_path}/events", "tracking.patience_s=60"]
    given += ["data.demo={users: 40, items: 30, interactions: 500}"]
    done = CliRunner().invoke(app, ["estimate", "-c", "demo", *given])
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "events").exists()
    done = CliRunner().invoke(app, ["run", "-c", "demo", *given, "--stage", "prepare"])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "events").glob("run-*/pipeline"))) == 1  # complete already, and tracked now


@pytest.mark.parametrize(
    ("raised", "status"), [(None, "finished"), (StageError("no", "stop"), "failed"), (KeyboardInterrupt(), "stopped")]
)
def test_a_tracker_is_told_how_a_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException | None, status: str
) -> None:
    tracker = Scripted()
    monkeypatch.setattr(pipeline, "trackers", lambda options: [tracker])
    one = TrackedRun(tmp_path, "tracking.tensorboard={}")

    def body(context: StageContext) -> None:
        if raised is not None:
            raise raised

    with nullcontext() if raised is None else pytest.raises(type(raised)):
        one.execute(body)
    assert tracker.told[0] == ("begin", None)
    assert tracker.told[-1] == ("end", status)
    begun = [what for method, what in tracker.told if method == "begin_fit"]
    assert begun[0] == "train.uniform.s0"  # it was complete before tracking was turned on
    files = [what for method, what in tracker.told if method == "file"]
    assert files == (["report.html", "bundle.best/bundle.json"] if raised is None else [])


def test_a_tracker_that_is_behind_is_not_told_the_same_curve_again_and_again(tmp_path: Path) -> None:
    released = threading.Event()
    tracker = Scripted(lambda method: void(released.wait(30)))
    record = TrackingRecord(RunStore(str(tmp_path)))
    desk = Desk(tracker, Pipeline("1" * 32, "run", {}), record, pytest.fail)
    for _ in range(30):
        desk.tell(lambda log: None)
    assert desk.is_behind
    released.set()
    desk.finish("finished")
    wait_for([desk], 10)
    assert not desk.is_behind


def test_a_trial_of_a_search_is_a_fit_with_what_was_drawn(tmp_path: Path) -> None:
    artifact = RunStore(str(tmp_path)).artifact("search", "abc")
    artifact.create()
    empty = dict.fromkeys(("best_epoch", "valid_ndcg", "epochs", "seconds"))
    found = [
        {"variant": "dns", "trial": 0, "parameters": '{"l2": 0.1}', "status": "ok", "error": "", **empty, "epochs": 4},
        {"variant": "dns", "trial": 1, "parameters": "{}", "status": "failed", "error": "no", **empty},
    ]
    artifact.write("trials", pa.Table.from_pylist(found, schema=SEARCH_TRIALS))
    artifact.commit({"seconds": 1.0, "rows": {"trials": 2}, "counts": {}})
    tracker = Scripted()
    tell_of(Log(tracker), PlannedStage(StageKey("search"), {}, artifact, load_config([])), {})
    assert tracker.told == [
        ("begin_fit", "search.dns.t0"), ("figures", {"epochs": 4.0}), ("end_fit", "finished"),
        ("begin_fit", "search.dns.t1"), ("figures", {}), ("end_fit", "failed"),
        ("figures", {"seconds/search": 1.0}),
    ]  # fmt: skip


def test_the_report_says_where_it_is_tracked() -> None:
    nothing: Any = ("run", (), (), (), [20], None, {"dns": {}}, (), LearningCurves([], []))
    links = {"MLflow": "http://127.0.0.1:5000/#/experiments/1/runs/<2>", "TensorBoard": "tensorboard --logdir x"}
    page = render(Report(*nothing, links=links))
    assert '<a href="http://127.0.0.1:5000/#/experiments/1/runs/&lt;2&gt;"' in page
    assert "<code>tensorboard --logdir x</code>" in page
    assert "Tracked with" not in render(Report(*nothing))


def test_a_database_needs_packages_that_a_server_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name in ("sqlalchemy", "alembic") else True)
    own = {"mlflow": {"uri": "sqlite:////x/y.db"}, "tensorboard": {}}
    assert missing_packages(TrackingConfig.model_validate(own)) == [
        "tracking.mlflow writes to sqlite:////x/y.db, which needs sqlalchemy and alembic; `pip install"
        " 'hnlm-ray[tracking]'`, or name a server with tracking.mlflow.uri."
    ]
    assert missing_packages(TrackingConfig.model_validate({"mlflow": {"uri": "http://host"}})) == []
