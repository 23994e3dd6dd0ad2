"""The benchmark that must run unseen on a machine with a GPU, here on small sizes and without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
ENGINES = "import sys; sys.modules.update(dict.fromkeys(('ray', 'vllm', 'deepspeed')))"
"""None in place of a module makes every import of it fail."""


def test_the_gpu_benchmark_runs_without_engines_and_agrees_with_the_textbook() -> None:
    run = f"{ENGINES}; import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(SCRIPT.parent), *sys.path])}
    command = [sys.executable, "-c", run, "--device", "cpu", "--small"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert len(report["train"]) == 4
    for figures in report["train"].values():
        assert figures["difference"] < 1e-6
        assert figures["textbook_difference"] < 1e-5
    assert report["tuning"].keys() == {"factorised", "pair"}
    assert report["ranking"]["users_per_s"]["ours"] > 0
    assert report["reading"]["pairs"] == 300
