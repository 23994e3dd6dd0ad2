"""Speed of tuning: Ray Train + DeepSpeed on one worker beside the same loop in plain PyTorch.

    make demo && python benchmarks/tune_speed.py run=runs/demo

On the pairs of a finished run, one epoch each after a warm-up epoch, validation and start left out, with the same
threads. Prints one JSON line: pairs/s of each.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import torch

from hnlm_ray.cluster.connect import connected
from hnlm_ray.config.load import load_config
from hnlm_ray.run.plan import plan
from hnlm_ray.run.stage import StageContext
from hnlm_ray.run.store import RunStore
from hnlm_ray.stages import tune
from hnlm_ray.tuning.forms import new_encoder
from hnlm_ray.tuning.inputs import TuneInputs
from hnlm_ray.tuning.loop import TuningLoop
from hnlm_ray.tuning.stepper import TorchStepper

DEMO = Path(__file__).parents[1] / "configs" / "demo.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("options", nargs="*", help="of the run, as for hnlm run")
    parser.add_argument("-c", "--config", type=Path, action="append")
    parser.add_argument("--zero", type=int)
    chosen = parser.parse_args()
    config = load_config(chosen.config or [DEMO], chosen.options)
    inputs = TuneInputs.of_run(config, plan(config).artifacts())
    options = config.tune.model_copy(update={"workers": 1, "epochs": 2, "patience": 2, "zero": chosen.zero})
    torch.set_num_threads(os.cpu_count() or 1)
    result: dict[str, object] = {
        "benchmark": "tune_speed",
        "zero": options.zero_stage,
        "threads": torch.get_num_threads(),
    }
    with tempfile.TemporaryDirectory() as folder, connected(config.cluster):
        output = RunStore(folder).artifact("tune", "benchmark")
        output.create()
        tune.run(StageContext(config.model_copy(update={"tune": options}), inputs.artifacts, output))
        seconds = output.read("tuning")["seconds"].to_pylist()
    data, device = inputs.data(options, config.seed), torch.device("cpu")
    stepper = TorchStepper(new_encoder(data.teacher, options, config.seed), options, device)
    loop = TuningLoop(stepper, data, options, config.seed, device)
    while not loop.is_finished:
        loop.run_epoch()
    alone = [row.seconds for row in loop.progress.history]
    pairs = loop.steps_per_epoch * options.batch_size
    result |= {"pairs": pairs, "ray_train_deepspeed": round(pairs / (seconds[2] - seconds[1]), 1)}
    print(json.dumps(result | {"pytorch_alone": round(pairs / (alone[2] - alone[1]), 1)}))


if __name__ == "__main__":
    main()
