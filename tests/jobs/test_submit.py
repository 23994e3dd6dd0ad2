"""The pipeline as a job on a cluster of two nodes, sent through the job API as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hnlm_ray.serving.recommend.recommender import Recommender

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parents[2]

OVERRIDES = [
    "data.demo.users=60",
    "data.demo.items=40",
    "data.demo.interactions=900",
    "llm.engine=scripted",
    "embed.engine=scripted",
    "ground.min_matched=0",  # the scripted engine knows no item
    "negatives.per_user=1",
    "train.workers=2",
    "train.variants={hnlm: {dim: 8, epochs: 2, validate_every: 1, semantic: {mixing: {share: 0.1}}}}",
]

SEARCH = "{trials: 2, space: {train.variants.hnlm.l2: {choice: [0.1]}, ground.vector: {choice: [0.9]}}}"

SCRIPT = """
import json, sys, time
from hnlm_ray.cluster.ingress import free_port
from ray.cluster_utils import Cluster
from ray.job_submission import JobSubmissionClient

entrypoints = json.loads(sys.argv[1])


def submit(client, entrypoint):
    # The agent that starts jobs comes up a little after the dashboard that takes them.
    deadline = time.monotonic() + 60
    while True:
        try:
            return client.submit_job(entrypoint=entrypoint)
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.5)


# A folder of its own: in the usual one, Ray notes the latest cluster for everybody on this machine to join. A port of
# its own: by default every agent wants the same one, and that of another Ray on this machine has it.
head = {"num_cpus": 0, "include_dashboard": True, "dashboard_port": 0, "object_store_memory": 2**28,
        "temp_dir": sys.argv[2], "dashboard_agent_listen_port": free_port()}
cluster = Cluster(initialize_head=True, head_node_args=head)
cluster.add_node(num_cpus=4, object_store_memory=2**28, dashboard_agent_listen_port=free_port())
outcomes = []
try:
    client = JobSubmissionClient("http://" + cluster.head_node.webui_url)
    for entrypoint in entrypoints:
        job = submit(client, entrypoint)
        while not client.get_job_status(job).is_terminal():
            time.sleep(0.5)
        info = client.get_job_info(job)
        outcomes.append({"status": info.status, "code": info.driver_exit_code, "logs": client.get_job_logs(job)})
finally:
    cluster.shutdown()
    print("OUTCOMES" + json.dumps(outcomes))
"""


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster") / "run"


def _on_a_cluster(entrypoints: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the script in a process of its own, because the test session has a Ray and a driver knows only one."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    # Short, for the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="hnlm", ignore_cleanup_errors=True) as folder:
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, json.dumps(entrypoints), folder],
            capture_output=True,
            text=True,
            timeout=1100,
            check=False,
            env=environment | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"},
        )


@pytest.fixture(scope="module")
def outcomes(run_folder: Path) -> list[dict[str, object]]:
    """One cluster for a stage alone, then everything, then a search, then a mistake."""
    quoted = " ".join(f"'{override}'" for override in [f"run={run_folder}", *OVERRIDES])
    entrypoints = [
        f"{sys.executable} {ROOT}/jobs/prepare.py {quoted}",
        f"{sys.executable} {ROOT}/jobs/pipeline.py {quoted}",
        f"{sys.executable} {ROOT}/jobs/search.py {quoted} 'search={SEARCH}'",
        f"{sys.executable} {ROOT}/jobs/train.py {quoted} train.worker=2",
    ]
    done = _on_a_cluster(entrypoints)
    lines = [line for line in done.stdout.splitlines() if line.startswith("OUTCOMES")]
    assert lines, done.stderr[-4000:]
    found: list[dict[str, object]] = json.loads(lines[-1].removeprefix("OUTCOMES"))
    assert len(found) == len(entrypoints), done.stderr[-4000:]
    return found


def test_one_stage_and_then_the_rest_run_on_the_cluster(outcomes: list[dict[str, object]], run_folder: Path) -> None:
    for outcome in outcomes[:2]:
        assert outcome["status"] == "SUCCEEDED", outcome["logs"]
    complete = {path.parent.parent.name for path in run_folder.glob("*/*/manifest.json")} - {"search"}
    assert complete == {
        "prepare", "item_profiles", "user_profiles", "vectors", "negatives", "ground",
        "train.hnlm.s0", "evaluate", "report", "bundle.best",
    }  # fmt: skip
    assert len(list(run_folder.glob("prepare/*"))) == 1  # the second job reused what the first wrote
    (bundle,) = run_folder.glob("bundle.best/*")
    recommender = Recommender.load(str(bundle))
    assert recommender.info.users <= 60
    assert len(recommender.recommend("nobody", 5).items) == 5


def test_a_search_runs_on_the_cluster_with_what_its_trials_read(
    outcomes: list[dict[str, object]], run_folder: Path
) -> None:
    assert outcomes[2]["status"] == "SUCCEEDED", outcomes[2]["logs"]
    (trials,) = run_folder.glob("search/*/trials.parquet")
    rows = {row["trial"]: row for row in pq.read_table(trials).to_pylist()}
    assert [rows[number]["status"] for number in (0, 1)] == ["ok", "ok"], rows
    assert json.loads(rows[1]["parameters"]) == {"train.variants.hnlm.l2": 0.1, "ground.vector": 0.9}
    assert len(list(run_folder.glob("ground/*"))) == 2


def test_a_mistake_is_one_sentence_in_the_log_of_the_job(outcomes: list[dict[str, object]]) -> None:
    assert outcomes[3]["status"] == "FAILED"
    assert outcomes[3]["code"] == 2
    assert "did you mean 'workers'" in str(outcomes[3]["logs"])
    assert "Traceback" not in str(outcomes[3]["logs"])
