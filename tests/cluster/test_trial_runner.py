"""Trials under real Ray Tune, with bodies that report figures instead of training."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

from hnlm_ray.cluster.trial_runner import Ended, Past, Report, Start, TrialPool, run_trials
from hnlm_ray.config.search import StoppingConfig
from hnlm_ray.errors import ConfigError, DataError, ResourceError
from hnlm_ray.run.places import Folder

pytestmark = pytest.mark.ray

EPOCHS = 8


def constant(task: Sequence[float], number: int, given: str, report: Report) -> dict[str, Any]:
    """Reports the same figure after every epoch but the last, whose figures it returns."""
    for epoch in range(1, EPOCHS):
        report({"epochs": epoch, "valid_ndcg": task[number]})
    return {"epochs": EPOCHS, "valid_ndcg": task[number]}


def faulty(task: None, number: int, given: str, report: Report) -> dict[str, Any]:
    if number == 0:
        raise DataError("the train split is empty", "give more")
    if number == 1:
        raise ValueError("not a number")
    report({"epochs": 1, "valid_ndcg": 0.5})
    if number == 2:
        os._exit(1)
    return {"epochs": 2, "valid_ndcg": 0.6}


def told(task: None, number: int, given: str, report: Report) -> dict[str, Any]:
    return {"epochs": 1, "valid_ndcg": 0.5, "given": given}


def every_epoch(number: int) -> Start:
    return Start(f"trial {number}", EPOCHS, 1)


def run(
    folder: Path,
    body: Any,
    task: Any,
    groups: Sequence[str],
    stopping: StoppingConfig | None = None,
    *,
    gpu: bool = False,
    start: Callable[[int], Start] = every_epoch,
    on_fail: Callable[[int], None] = lambda number: None,
    on_report: Callable[[int, Mapping[str, Any]], None] = lambda number, figures: None,
    **options: Any,
) -> tuple[list[tuple[int, int, str]], list[str | None]]:
    """Trials one after the other: number, epochs and status of each in the order of their ends; errors."""
    ended = []

    def on_end(number: int, one: Ended) -> None:
        assert [epochs for epochs, _ in one.reports] == list(range(1, one.figures["epochs"] + 1))
        ended.append((number, one.figures["epochs"], one.status))

    pool = TrialPool(gpu, 1, stopping, **options)
    place = Folder(pafs.LocalFileSystem(), str(folder))
    errors = run_trials(body, task, groups, start, pool, place, on_end, on_fail, on_report)
    return ended, errors


def test_poor_trials_stop_early_and_compete_with_their_own_group_alone(tmp_path: Path, ray_session: None) -> None:
    values, groups = [0.5, 0.4, 0.1, 0.6, 0.01, 0.01], "aaaabb"
    reported: list[tuple[int, int]] = []
    ended, errors = run(
        tmp_path, constant, values, groups, StoppingConfig(grace_period=2, reduction_factor=2),
        on_report=lambda number, figures: reported.append((number, figures["epochs"])),
    )  # fmt: skip
    stopped, ok = "stopped", "ok"
    assert ended == [(0, 8, ok), (1, 2, stopped), (2, 2, stopped), (3, 8, ok), (4, 8, ok), (5, 8, ok)]
    assert errors == [None] * 6
    assert {number for number, _ in reported} == set(range(6))
    assert all(reported.count((number, epoch)) == 1 for number in (0, 3, 4, 5) for epoch in range(1, EPOCHS))


def test_trials_of_an_earlier_run_are_competitors_too(tmp_path: Path, ray_session: None) -> None:
    past = [Past("a", [(1, 0.1), (2, 0.5), (8, 0.6)]), Past("b", [(2, 0.01)])]
    stopping = StoppingConfig(grace_period=2, reduction_factor=2)
    ended, _ = run(tmp_path, constant, [0.4, 0.4], "ab", stopping, past=past)
    assert ended == [(0, 2, "stopped"), (1, 8, "ok")]


def test_no_group_trains_more_epochs_than_the_budget_and_each_uses_it_up(tmp_path: Path, ray_session: None) -> None:
    past = [Past("b", [(8, 0.5)])]
    ended, errors = run(tmp_path, constant, [0.5] * 6, "ababab", budget=11, past=past)
    assert ended == [(0, 8, "ok"), (1, 3, "cut"), (2, 3, "cut")]
    assert errors == [None] * 6


def test_a_trial_that_would_report_after_the_budget_does_not_start(tmp_path: Path, ray_session: None) -> None:
    """Trials run one after the other; each reports after 1 epoch, but asks for more."""
    asked: list[int] = []

    def start(number: int) -> Start:
        asked.append(number)
        return Start("", EPOCHS, 1 if number == 0 else 4)

    ended, _ = run(tmp_path, constant, [0.5] * 3, "aaa", budget=11, start=start)
    assert ended == [(0, 8, "ok")]
    assert asked == [0, 1]


def test_what_a_trial_is_given_is_decided_when_the_one_before_has_ended(tmp_path: Path, ray_session: None) -> None:
    failed: list[int] = []
    ended: list[str] = []

    def start(number: int) -> Start:
        if number == 1:
            raise ConfigError("no valid variant", "narrow the values")
        return Start(f"after {len(ended)}", 1, 1)

    def on_end(number: int, one: Ended) -> None:
        ended.append(one.figures["given"])

    place = Folder(pafs.LocalFileSystem(), str(tmp_path))
    errors = run_trials(told, None, "aaa", start, TrialPool(False, 1), place, on_end, failed.append)
    assert ended == ["after 0", "after 1"]
    assert failed == [1]
    assert (errors[0], errors[2]) == (None, None)
    assert (errors[1] or "").startswith("no valid variant")


def test_without_stopping_and_within_the_grace_period_every_trial_finishes(tmp_path: Path, ray_session: None) -> None:
    for name, stopping in (("none", None), ("late", StoppingConfig(grace_period=EPOCHS + 1))):
        ended, _ = run(tmp_path / name, constant, [0.5, 0.1], "aa", stopping)
        assert ended == [(0, 8, "ok"), (1, 8, "ok")]


def test_a_trial_that_fails_says_why_and_the_others_go_on(tmp_path: Path, ray_session: None) -> None:
    failed: list[int] = []
    ended, errors = run(tmp_path, faulty, None, "aaaa", StoppingConfig(grace_period=1), on_fail=failed.append)
    assert ended == [(3, 2, "ok")]
    assert failed == [0, 1, 2]
    assert (errors[0] or "").startswith("the train split is empty")
    assert errors[1] == "ValueError: not a number"
    assert errors[2]
    assert "\n" not in errors[2]
    assert errors[3] is None


def test_a_cluster_without_room_for_a_trial_is_one_sentence(tmp_path: Path, ray_session: None) -> None:
    with pytest.raises(ResourceError, match="a trial of the search needs 1 GPU"):
        run(tmp_path, constant, [0.5], "a", gpu=True)
