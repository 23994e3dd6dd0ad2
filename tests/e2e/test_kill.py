"""``kill -9`` in every part of a run: the next run finishes it, with no row twice and no row missing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

OPTIONS = [
    "data.demo={users: 60, items: 48, interactions: 900, seed: 5}",
    "llm.engine=scripted",
    "llm.batch_size=16",
    "embed.engine=scripted",
    "ground.min_matched=0",  # the scripted engine knows no item
    "negatives.per_user=1",
    "train.variants={hnlm: {dim: 8, epochs: 6, validate_every: 1, semantic: {mixing: {share: 0.1}}}}",
    "serve.variant=hnlm",
]
KILLED_IN = ("prepare", "item_profiles", "negatives", "train.hnlm.s0", "evaluate", "report")
LATEST_S = 1.5
"""A kill comes at a random moment of this long after its stage began."""


class Attempt:
    """One run in a process group of its own."""

    def __init__(self, run: Path, *more: str) -> None:
        # A Ray of its own in a short path, since sockets lie in it; not that of the session.
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        environment |= {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": tempfile.mkdtemp(prefix="hnlm"), "COLUMNS": "200"}
        command = [sys.executable, "-m", "hnlm_ray.cli.main", "run", f"run={run}", *OPTIONS, *more]
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)

    def kill_in(self, stages: Sequence[str], delay: float) -> bool:
        """Kill the whole group ``delay`` seconds after one of the stages began; False where the run ended before."""
        begun = {f"▸ {stage}" for stage in stages}
        while self.process.poll() is None and not any(line.strip() in begun for line in self.said):
            time.sleep(0.02)
        try:
            self.process.wait(delay)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return True
        self.finish()
        return False

    def finish(self) -> str:
        code = self.process.wait(300)
        self.reader.join()
        text = "".join(self.said)
        assert code == 0, text
        return text


def tables(run: Path) -> dict[str, pa.Table]:
    """Every table of every finished stage, without what depends on the clock."""
    found = {}
    for path in sorted(run.glob("*/*/*.parquet")):
        table = pq.read_table(path)
        kept = [name for name in table.column_names if name not in {"seconds"}]
        found[str(path.relative_to(run))] = table.select(kept)
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    run = tmp_path_factory.mktemp("whole") / "run"
    Attempt(run).finish()
    return tables(run)


def test_a_run_killed_in_every_part_ends_like_one_that_was_not(
    tmp_path: Path, uninterrupted: dict[str, pa.Table]
) -> None:
    run, moments = tmp_path / "run", random.Random(0)
    # On a fast machine a kill comes after its stage: the next attempt is killed in whichever is not complete yet.
    killed = [Attempt(run).kill_in(KILLED_IN[place:], moments.uniform(0, LATEST_S)) for place in range(len(KILLED_IN))]
    assert sum(killed) >= 3, "most of the runs ended before they could be killed"
    Attempt(run).finish()
    again = tables(run)
    assert again.keys() == uninterrupted.keys()
    for name, table in uninterrupted.items():
        assert repr(again[name].to_pylist()) == repr(table.to_pylist()), name  # where NaN is like NaN
    assert not [path for path in run.rglob("_*") if path.name in {"_work", "_ray_train"}]
    assert "already complete" in Attempt(run).finish()


TUNING = [
    "train.variants={uniform: {dim: 8, epochs: 4}, hnlm: {dim: 8, semantic: {source: tuned, mixing: {share: 0.1}}}}",
    "tune={texts: catalogue, workers: 2, epochs: 4, patience: 4, batch_size: 32, lora: {rank: 2}}",
    "--until",
    "tune",
]


def checkpoints(run: Path) -> list[Path]:
    return list(run.glob("tune/*/_ray_train/**/state.safetensors"))


def test_tuning_whose_driver_is_killed_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    attempt = Attempt(run, *TUNING)
    while attempt.process.poll() is None and not checkpoints(run):
        time.sleep(0.05)
    assert attempt.process.poll() is None, "".join(attempt.said)
    os.killpg(attempt.process.pid, signal.SIGKILL)
    attempt.process.wait()
    assert not list(run.glob("tune/*/manifest.json"))
    Attempt(run, *TUNING).finish()
    (table,) = run.glob("tune/*/tuning.parquet")
    rows = pq.read_table(table)
    assert rows["epoch"].to_pylist() == [0, 1, 2, 3, 4]
    assert rows["seconds"].to_pylist() == sorted(rows["seconds"].to_pylist())
    assert rows["loss"].null_count == 1
    assert not checkpoints(run)
