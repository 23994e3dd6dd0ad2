"""Speed of the tuned encoder: Ray Data + vLLM beside plain vLLM in one process and a one-by-one transformers loop.

    make demo && python benchmarks/encode_pairs.py run=runs/demo --pairs 10000

On the pairs and the tuned encoder of a finished run with ``tune.form=pair``, all contenders embed the same sequences;
starting an engine counts for none. ``vllm_without_user_texts`` embeds sequences that lack them: no cache of what a
user's pairs share could be faster. Prints one JSON line: texts/s of each, and the start of each engine in seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_KVCACHE_SPACE": "1"}

import numpy as np
import pyarrow as pa
import torch
from ray_rate import rate_under_ray

from hnlm_ray.cluster.connect import connected
from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.run.plan import plan
from hnlm_ray.stages.encode import encoded
from hnlm_ray.tuning.encoder import fetch_encoder
from hnlm_ray.tuning.forms import load_encoder
from hnlm_ray.tuning.inputs import TuneInputs
from hnlm_ray.tuning.pair_encoder import tensors_of
from hnlm_ray.tuning.tokens import TokenRows, lay_out
from hnlm_ray.tuning.vectorizers import PairVectorizer, Task

DEMO = Path(__file__).parents[1] / "configs" / "demo.yaml"
LOOP = 300
"""Sequences of the one-by-one loop; its rate does not change with more."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("options", nargs="*", help="of the run, as for hnlm run")
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("-c", "--config", type=Path, action="append")
    chosen = parser.parse_args()
    config = load_config(chosen.config or [DEMO], chosen.options)
    task = _task(config)
    pairs = task.inputs.train().keys[: chosen.pairs]
    requests = pa.table({"id": pairs})
    result: dict[str, object] = {"benchmark": "encode_pairs", "pairs": len(pairs), "threads": torch.get_num_threads()}
    result["ray_data_vllm"] = _under_ray(task, requests, config)
    started = time.monotonic()
    alone = PairVectorizer(task)
    result["start_s"] = round(time.monotonic() - started, 1)
    alone(requests.slice(0, 512))
    result["vllm_alone"] = _rate(lambda: _batches(alone, requests, config.encode.batch_size), len(pairs))
    alone._users = TokenRows(np.empty(0, np.int32), np.zeros(len(alone._users.offsets), np.int64))
    result["vllm_without_user_texts"] = _rate(lambda: _batches(alone, requests, config.encode.batch_size), len(pairs))
    result["transformers_one_by_one"] = _rate(lambda: _loop(task, pairs[:LOOP]), min(LOOP, len(pairs)))
    print(json.dumps(result))


def _task(config: Config) -> Task:
    inputs = TuneInputs.of_run(config, plan(config).artifacts())
    return Task(inputs, config.encode, config.tune.supervision)


def _under_ray(task: Task, requests: pa.Table, config: Config) -> float:
    with connected(config.cluster):
        return rate_under_ray(
            requests, task.options.batch_size, lambda rows: encoded(task, rows), lambda block: block.num_rows
        )


def _batches(alone: PairVectorizer, requests: pa.Table, size: int) -> None:
    for start in range(0, len(requests), size):
        alone(requests.slice(start, size))


def _loop(task: Task, pairs: np.ndarray) -> None:
    train = task.inputs.train()
    teacher, (users, items) = task.inputs.teacher_vectors(train), task.inputs.tokens(train)
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        encoder, _ = load_encoder(fetch_encoder(task.inputs.artifacts["tune"], Path(place)))
        for pair in pairs:
            user, item = np.divmod(np.array([pair]), train.n_items)
            layout = tensors_of(lay_out(users, items, user, item))
            encoder(*layout, torch.from_numpy(teacher.users[user]), torch.from_numpy(teacher.items[item]))


def _rate(body: object, count: int) -> float:
    started = time.monotonic()
    body()  # type: ignore[operator]
    return round(count / (time.monotonic() - started), 1)


if __name__ == "__main__":
    main()
