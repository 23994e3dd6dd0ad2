"""The worked example of docs/training.md, word for word: in its suites, and in a run on two workers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()


def blocks(language: str) -> list[str]:
    page = PAGE[PAGE.index("## A sampler of your own") :]
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_the_example_runs_as_it_is_written(tmp_path: Path) -> None:
    parts = blocks("python")
    (tmp_path / "mine.py").write_text("\n".join(part for part in parts if "_CHECKS" not in part))
    checks = "\n".join(["from mine import *", *(part for part in parts if "_CHECKS" in part)])
    assert checks.count("check(") == 2
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    subprocess.run([sys.executable, "-c", checks], cwd=tmp_path, env=environment, check=True)
    (tmp_path / "mine.yaml").write_text(blocks("yaml")[0])
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": tempfile.mkdtemp(prefix="hnlm")}
    small = ["data.demo={users: 40, items: 30, interactions: 500}", "train.variants.*.epochs=2", "train.workers=2"]
    command = [sys.executable, "-m", "hnlm_ray.cli.main", "run", "-c", "mine.yaml", "run=run", *small]
    command += ["--until", "train.second.s0"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (history,) = tmp_path.glob("run/train.second.s0/*/history.parquet")
    losses = pq.read_table(history)["loss"].to_pylist()
    assert losses[1] < losses[0]
    sampler = json.loads((tmp_path / "run" / "run.json").read_text())["config"]["train"]["variants"]["second"][
        "sampler"
    ]
    assert (sampler["path"], sampler["options"]) == ("mine.SecondBest", {"candidates": 16})
