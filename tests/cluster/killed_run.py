"""A generation that a test kills: ``python killed_run.py FOLDER LOG SECONDS_PER_ROW CPUS``.

Appends the number of each item to LOG as it is answered, and prints how many answers came out.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from pathlib import Path

import pyarrow as pa

from hnlm_ray.cluster.connect import connected
from hnlm_ray.config.language import LLMConfig, ProfilesConfig
from hnlm_ray.config.tree import ClusterConfig, Config
from hnlm_ray.language.engines.rendering import Reply
from hnlm_ray.language.engines.scripted import ScriptedEngine, plain_reply
from hnlm_ray.language.generate import Request, generate
from hnlm_ray.language.prompts.render import Prompt
from hnlm_ray.language.prompts.wording import Task
from hnlm_ray.language.requests import ItemRenderer
from hnlm_ray.run.rows import Rows
from hnlm_ray.run.store import RunStore

ROWS = 48
BLOCK = 4


def logged_reply(log: str, delay: float, task: Task, prompt: Prompt, seed: int) -> Reply:
    time.sleep(delay)
    number = json.loads(prompt.user)["title"].removeprefix("Title ")
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{number}\n".encode())
    os.close(descriptor)
    return plain_reply(task, prompt, seed)


def main(folder: str, log: str, delay: str, cpus: str) -> None:
    numbers = list(range(ROWS))
    items = pa.table(
        {
            "title": [f"Title {number}" for number in numbers],
            "brand": [""] * ROWS,
            "categories": [["Things"]] * ROWS,
            "description": [""] * ROWS,
        }
    )
    rows = pa.table({"id": pa.array(numbers, pa.int64()), "reviews": pa.array([[]] * ROWS, pa.list_(pa.string()))})
    request = Request(Rows.of(rows), ItemRenderer(items, ProfilesConfig()), 64)
    engine = ScriptedEngine(functools.partial(logged_reply, log, float(delay)), rows_per_block=BLOCK)
    output = RunStore(folder).artifact("item_profiles", "test")
    output.create()
    with connected(ClusterConfig(num_cpus=int(cpus))):
        written = generate(request, engine, Config(llm=LLMConfig(engine="scripted")), output, print)
    ids = written.answers.table()["id"].to_pylist()
    print("answers", len(ids), len(set(ids)))  # noqa: T201


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import killed_run  # workers find the script by this name, not as __main__

    killed_run.main(*sys.argv[1:])
