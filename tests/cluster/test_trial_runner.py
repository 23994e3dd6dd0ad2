"""Trials under real Ray Tune, with bodies that report figures instead of training."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

from hnlm_ray.cluster.trial_runner import Report, TrialPool, run_trials
from hnlm_ray.config.search import StoppingConfig
from hnlm_ray.errors import DataError, ResourceError
from hnlm_ray.run.places import Folder

pytestmark = pytest.mark.ray

EPOCHS = 8


def constant(task: Sequence[float], number: int, report: Report) -> dict[str, Any]:
    """Reports the same figure after every epoch but the last, whose figures it returns."""
    for epoch in range(1, EPOCHS):
        report({"epochs": epoch, "valid_ndcg": task[number]})
    return {"epochs": EPOCHS, "valid_ndcg": task[number]}


def faulty(task: None, number: int, report: Report) -> dict[str, Any]:
    if number == 0:
        raise DataError("the train split is empty", "give more")
    if number == 1:
        raise ValueError("not a number")
    report({"epochs": 1, "valid_ndcg": 0.5})
    if number == 2:
        os._exit(1)
    return {"epochs": 2, "valid_ndcg": 0.6}


def run(
    folder: Path,
    body: Any,
    task: Any,
    groups: Sequence[str],
    stopping: StoppingConfig | None = None,
    *,
    gpu: bool = False,
    on_fail: Callable[[int], None] = lambda number: None,
    on_report: Callable[[int, Mapping[str, Any]], None] = lambda number, figures: None,
) -> tuple[list[tuple[int, int, bool]], list[str | None]]:
    """Trials one after the other: number, epochs and whether it finished of each in the order of their ends; errors."""
    ended = []

    def on_end(number: int, figures: Mapping[str, Any], is_finished: bool) -> None:
        ended.append((number, figures["epochs"], is_finished))

    pool = TrialPool(gpu, 1, stopping, EPOCHS)
    place = Folder(pafs.LocalFileSystem(), str(folder))
    errors = run_trials(body, task, groups, pool, place, on_end, on_fail, on_report)
    return ended, errors


def test_poor_trials_stop_early_and_compete_with_their_own_group_alone(tmp_path: Path, ray_session: None) -> None:
    values, groups = [0.5, 0.4, 0.1, 0.6, 0.01, 0.01], "aaaabb"
    reported: list[tuple[int, int]] = []
    ended, errors = run(
        tmp_path, constant, values, groups, StoppingConfig(grace_period=2, reduction_factor=2),
        on_report=lambda number, figures: reported.append((number, figures["epochs"])),
    )  # fmt: skip
    assert ended == [(0, 8, True), (1, 2, False), (2, 2, False), (3, 8, True), (4, 8, True), (5, 8, True)]
    assert errors == [None] * 6
    assert {number for number, _ in reported} == set(range(6))
    assert all(reported.count((number, epoch)) == 1 for number in (0, 3, 4, 5) for epoch in range(1, EPOCHS))


def test_without_stopping_and_within_the_grace_period_every_trial_finishes(tmp_path: Path, ray_session: None) -> None:
    for name, stopping in (("none", None), ("late", StoppingConfig(grace_period=EPOCHS + 1))):
        ended, _ = run(tmp_path / name, constant, [0.5, 0.1], "aa", stopping)
        assert ended == [(0, 8, True), (1, 8, True)]


def test_a_trial_that_fails_says_why_and_the_others_go_on(tmp_path: Path, ray_session: None) -> None:
    failed: list[int] = []
    ended, errors = run(tmp_path, faulty, None, "aaaa", StoppingConfig(grace_period=1), on_fail=failed.append)
    assert ended == [(3, 2, True)]
    assert failed == [0, 1, 2]
    assert (errors[0] or "").startswith("the train split is empty")
    assert errors[1] == "ValueError: not a number"
    assert errors[2]
    assert "\n" not in errors[2]
    assert errors[3] is None


def test_a_cluster_without_room_for_a_trial_is_one_sentence(tmp_path: Path, ray_session: None) -> None:
    with pytest.raises(ResourceError, match="a trial of the search needs 1 GPU"):
        run(tmp_path, constant, [0.5], "a", gpu=True)
