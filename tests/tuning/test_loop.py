"""The tuning loop in plain PyTorch: it learns, stops, resumes, and draws the same on any number of parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hnlm_ray.config.tuning import LoraOptions, TuneConfig
from hnlm_ray.errors import DataError, StoreError
from hnlm_ray.testing.tuning import plain_loop, small_data
from hnlm_ray.tuning import checkpoint
from hnlm_ray.tuning.loop import TuningLoop, TuningProgress, TuningRecord, learning_rate_at

OPTIONS = TuneConfig(model="demo", batch_size=32, epochs=3, learning_rate=3e-3, lora=LoraOptions(rank=4))


def run(options: TuneConfig) -> TuningLoop:
    loop = plain_loop(options)
    while not loop.is_finished:
        loop.run_epoch()
    return loop


def losses(loop: TuningLoop) -> list[float | None]:
    return [row.loss for row in loop.progress.history]


def test_it_learns_and_keeps_the_best_epoch() -> None:
    loop = run(OPTIONS.model_copy(update={"epochs": 8, "learning_rate": 1e-2}))
    history = loop.progress.history
    assert history[0].loss is None
    best = history[loop.progress.best_epoch]
    assert best.valid_loss == min(row.valid_loss for row in history) < history[0].valid_loss - 1.0
    assert best.hit_10 > history[0].hit_10 + 0.3
    assert best.nearer > 0.8
    assert loop.progress.pairs == 8 * loop.steps_per_epoch * 32


def test_the_best_weights_are_those_of_the_best_epoch() -> None:
    loop = run(OPTIONS.model_copy(update={"epochs": 1}))
    assert set(loop.best) == set(loop.stepper.weights())
    assert all(torch.equal(loop.best[name], weight) for name, weight in loop.stepper.weights().items())


def test_the_published_loss_learns_to_tell_the_pair_apart() -> None:
    loop = run(OPTIONS.model_copy(update={"loss": "pairwise", "temperature": 0.05, "epochs": 4}))
    history = loop.progress.history
    assert history[-1].nearer > history[0].nearer + 0.1
    assert history[-1].valid_loss < 0.5 * history[0].valid_loss


def test_it_stops_when_validation_stops_improving() -> None:
    loop = plain_loop(OPTIONS.model_copy(update={"epochs": 50, "patience": 2}))
    loop.progress = TuningProgress(history=[TuningRecord(0, 0.0, None, -1.0, 0, 0, 0, 0)], best_loss=-1.0)
    while not loop.is_finished:
        loop.run_epoch()
    assert loop.progress.epoch == 2


def test_accumulation_changes_nothing_but_memory() -> None:
    parts = run(OPTIONS.model_copy(update={"accumulation": 4}))
    assert losses(parts)[1:] == pytest.approx(losses(run(OPTIONS))[1:], rel=1e-4)


def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    loop = plain_loop(OPTIONS)
    loop.run_epoch()
    checkpoint.save(loop, tmp_path)
    resumed = plain_loop(OPTIONS)
    checkpoint.restore(resumed, tmp_path)
    for one in (loop, resumed):
        while not one.is_finished:
            one.run_epoch()
    assert losses(resumed) == losses(loop)
    assert all(torch.equal(loop.best[name], resumed.best[name]) for name in loop.best)


def test_a_checkpoint_is_safetensors_alone(tmp_path: Path) -> None:
    loop = plain_loop(OPTIONS)
    loop.run_epoch()
    checkpoint.save(loop, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"state.safetensors", "best.safetensors"}
    weights, progress = checkpoint.best_weights(tmp_path)
    assert progress == loop.progress
    assert set(weights) == set(loop.best)


def test_a_damaged_or_foreign_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    loop = plain_loop(OPTIONS)
    loop.run_epoch()
    checkpoint.save(loop, tmp_path)
    with pytest.raises(StoreError, match="belongs to another model"):
        checkpoint.restore(plain_loop(OPTIONS.model_copy(update={"lora": LoraOptions(targets=("up_proj",))})), tmp_path)
    (tmp_path / "state.safetensors").write_bytes(b"torn")
    with pytest.raises(StoreError, match="cannot be read"):
        checkpoint.restore(plain_loop(OPTIONS), tmp_path)


def test_the_learning_rate_rises_and_falls() -> None:
    options = OPTIONS.model_copy(update={"learning_rate": 1.0, "warmup": 0.1})
    rates = [learning_rate_at(step, options, 100) for step in range(100)]
    assert np.argmax(rates) in (9, 10)
    assert np.all(np.diff(rates[:10]) > 0)
    assert np.all(np.diff(rates[10:]) < 0)
    assert rates[-1] < 1e-3
    assert max(rates) == 1.0


def test_too_few_pairs_are_one_sentence() -> None:
    with pytest.raises(DataError, match=r"fewer than tune\.batch_size=4096"):
        plain_loop(OPTIONS.model_copy(update={"batch_size": 4096}))


def test_validation_pairs_are_of_other_users() -> None:
    data = small_data()
    assert not set(data.pairs.users) & set(data.valid.users)
    assert len(data.pairs) + len(data.valid) == 600


def test_a_budget_keeps_what_a_smaller_one_chose() -> None:
    pairs = small_data().pairs
    small, large = (pairs.budget(size, 40, 0) for size in (50, 100))
    chosen = [set(zip(one.users.tolist(), one.items.tolist(), strict=True)) for one in (small, large)]
    assert len(small) == 50
    assert chosen[0] <= chosen[1]
