"""What the driver of the language stages holds: memory of the process that leads them, for N users and for ten times N.

    python benchmarks/growth.py [--users N] [--items I] [--per-user K]

Generates prepared worlds, and runs ``item_profiles``, ``user_profiles`` and ``negatives`` on each with an engine that
only repeats its prompt, every stage in a process of its own. Prints one JSON line: rows, seconds with the start of Ray
left out, rows a second, and the peak of the driver's resident memory in MiB; then the ratio of the two peaks.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.cluster.connect import connected
from hnlm_ray.config.load import load_config
from hnlm_ray.language.engines.scripted import ScriptedEngine
from hnlm_ray.run.stage import StageContext
from hnlm_ray.run.store import Artifact, RunStore

STAGES = ("item_profiles", "user_profiles", "negatives")
OPTIONS = ("llm.engine=scripted", "profiles.scope=all", "negatives.policy=per_user", "negatives.per_user=1")
WORDS = ("a", "fine", "thing", "for", "every", "day", "works", "well", "and", "looks", "good", "in", "any", "room")
AT_ONCE = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--per-user", type=int, default=10)
    parser.add_argument("--block", type=int, default=512, help="rows that are made durable together")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.stage:
        print(json.dumps(run(chosen.stage, RunStore(chosen.folder), chosen.block)))
        return
    found: dict[str, Any] = {}
    for users in (chosen.users, 10 * chosen.users):
        with tempfile.TemporaryDirectory() as folder:
            prepare(RunStore(folder), users, chosen.items, chosen.per_user)
            found[f"{users} users"] = {stage: in_a_process(stage, folder, chosen.block) for stage in STAGES}
    small, large = found.values()
    ratios = {stage: round(large[stage]["driver_mib"] / small[stage]["driver_mib"], 2) for stage in STAGES}
    print(json.dumps({"benchmark": "growth", **found, "ratio": ratios}))


def in_a_process(stage: str, folder: str, block: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--stage", stage, "--folder", folder, "--block", str(block)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run(stage: str, store: RunStore, block: int) -> dict[str, Any]:
    config = load_config([], OPTIONS)
    inputs = {name: store.artifact(name, "growth") for name in ("prepare", *STAGES[: STAGES.index(stage)])}
    output = store.artifact(stage, "growth")
    output.create()
    module = importlib.import_module(f"hnlm_ray.stages.{stage}")
    with connected(config.cluster):
        started = time.monotonic()
        summary = module.run(StageContext(config, inputs, output), engine=ScriptedEngine(rows_per_block=block))
        seconds = time.monotonic() - started
    output.commit({})
    (rows,) = summary.rows.values()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"rows": rows, "seconds": round(seconds, 1), "rows_per_s": round(rows / seconds), "driver_mib": peak}


def prepare(store: RunStore, n_users: int, n_items: int, per_user: int) -> Artifact:
    """A world as the stage ``prepare`` leaves it: the last two interactions of each user are held out."""
    prepared = store.artifact("prepare", "growth")
    prepared.create()
    rng = np.random.default_rng(0)
    items = np.arange(n_items)
    prepared.write("items", pa.table({
        "item": items, "item_id": [f"i{item}" for item in items], "title": [f"Thing number {item}" for item in items],
        "brand": [f"Brand {item % 97}" for item in items], "description": sentences(rng, n_items),
        "categories": [["Home", f"Kind {item % 50}"] for item in items],
    }))  # fmt: skip
    users = pa.table({"user": np.arange(n_users), "user_id": [f"u{user}" for user in range(n_users)]})
    prepared.write("users", users)
    prepared.write_parts("interactions", _interactions(rng, n_users, n_items, per_user))
    prepared.commit({})
    return prepared


def _interactions(rng: np.random.Generator, n_users: int, n_items: int, per_user: int) -> Iterator[pa.Table]:
    splits = pa.array(["train"] * (per_user - 2) + ["valid", "test"])
    for first in range(0, n_users, AT_ONCE):
        users = np.repeat(np.arange(first, min(first + AT_ONCE, n_users)), per_user)
        size, place = users.size, np.tile(np.arange(per_user), users.size // per_user)
        start = np.repeat(rng.integers(0, n_items, size // per_user), per_user)
        yield pa.table({
            "user": users, "item": (start + place * 37) % n_items, "rating": np.full(size, 4.0),
            "timestamp": place, "review": sentences(rng, size), "split": splits.take(pa.array(place)),
        })  # fmt: skip


def sentences(rng: np.random.Generator, count: int) -> npt.NDArray[Any]:
    """Sentences of twelve words."""
    words = rng.choice(np.array(WORDS), (count, 12))
    return np.array([" ".join(row) for row in words.tolist()], object)


if __name__ == "__main__":
    main()
