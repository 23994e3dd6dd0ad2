"""DeepSpeed on two gloo workers: every stage of ZeRO tunes as one process does, and checkpoints change hands."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from hnlm_ray.config.tuning import LoraOptions, TuneConfig
from hnlm_ray.testing.tuning import plain_loop, small_data, small_encoder
from hnlm_ray.testing.workers import run_workers
from hnlm_ray.tuning import checkpoint
from hnlm_ray.tuning.forms import FORMS
from hnlm_ray.tuning.loop import TuningLoop

OPTIONS = TuneConfig(model="demo", batch_size=32, epochs=2, learning_rate=3e-3, lora=LoraOptions(rank=4))
STAGES = {
    "zero 0": {"zero": 0, "accumulation": 2},
    "zero 1": {"zero": 1},
    "zero 2": {"zero": 2},
    "zero 3": {"zero": 3},
    "bfloat16": {"zero": 2, "dtype": "bfloat16"},
    "pair": {"zero": 2, "form": "pair"},
}
TOLERANCE = {"bfloat16": 1e-2}


def body(rank: int, folder: Path) -> None:
    """Tune with every stage, on all workers, from the start or from the checkpoint of another number of them."""
    os.environ |= {"LOCAL_RANK": str(rank), "DS_ACCELERATOR": "cpu"}
    import torch.distributed as dist

    from hnlm_ray.tuning.deepspeed import DeepSpeedStepper

    workers = dist.get_world_size()
    for name, changes in STAGES.items():
        options = OPTIONS.model_copy(update={**changes, "workers": workers})
        stepper = DeepSpeedStepper(small_encoder(options), options)
        loop = TuningLoop(stepper, small_data(), options, 0, torch.device("cpu"))
        start = folder / f"{name}-1-of-2"
        if workers == 1:
            checkpoint.restore(loop, start)
        while not loop.is_finished:
            loop.run_epoch()
            place = folder / f"{name}-{loop.progress.epoch}-of-{workers}"
            place.mkdir(exist_ok=True)
            checkpoint.save(loop, place)
        if rank == 0:
            (folder / f"{name}-of-{workers}.json").write_text(loop.progress.to_json())


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    for workers in (2, 1):
        (folder / "rendezvous").unlink(missing_ok=True)
        run_workers(workers, body, folder)
    return folder


@pytest.fixture(scope="module")
def expected() -> dict[str, list[float]]:
    """Losses of one process without DeepSpeed, by form."""
    found = {}
    for form in FORMS:
        loop = plain_loop(OPTIONS.model_copy(update={"form": form}))
        while not loop.is_finished:
            loop.run_epoch()
        found[form] = [value for row in loop.progress.history[1:] for value in (row.loss or 0.0, row.valid_loss)]
    return found


@pytest.mark.parametrize("workers", [2, 1])
@pytest.mark.parametrize("name", STAGES)
def test_two_workers_and_a_resumed_one_tune_as_one_process(
    name: str, workers: int, tuned: Path, expected: dict[str, list[float]]
) -> None:
    history = json.loads((tuned / f"{name}-of-{workers}.json").read_text())["history"]
    found = [value for row in history[1:] for value in (row["loss"], row["valid_loss"])]
    assert found == pytest.approx(expected[STAGES[name].get("form", OPTIONS.form)], rel=TOLERANCE.get(name, 1e-4))


@pytest.mark.parametrize("name", STAGES)
def test_the_weights_are_whole(name: str, tuned: Path) -> None:
    weights, _ = checkpoint.best_weights(tuned / f"{name}-2-of-2")
    model = small_encoder(OPTIONS.model_copy(update=STAGES[name]))
    own = {name: weight.shape for name, weight in model.named_parameters() if weight.requires_grad}
    assert {name: weight.shape for name, weight in weights.items()} == own
    assert all(weight.dtype == torch.float32 for weight in weights.values())
