"""Epochs are handed out before they are trained."""

from __future__ import annotations

import numpy as np

from hnlm_ray.run.budget import EpochBudget


def test_a_group_never_gets_more_than_the_limit_and_others_do_not_matter() -> None:
    budget = EpochBudget(10, {"a": 4})
    assert budget.take("a", 0, 3)
    assert budget.take("b", 1, 10)
    assert not budget.take("a", 2, 4)
    assert budget.take("a", 2, 3)


def test_a_refused_trial_keeps_what_it_was_promised_and_an_ended_one_gives_back_the_rest() -> None:
    budget = EpochBudget(10)
    assert budget.take("a", 0, 6)
    assert budget.take("a", 1, 4)
    assert not budget.take("a", 1, 5)
    budget.end("a", 0, 2)
    assert budget.take("a", 1, 8)
    assert not budget.take("a", 1, 9)


def test_without_a_limit_everything_is_granted() -> None:
    budget = EpochBudget(None)
    assert all(budget.take("a", trial, 10**6) for trial in range(9))


def test_trials_side_by_side_stay_within_the_limit_whatever_their_order() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        limit, budget, running, total = int(rng.integers(1, 60)), None, dict[int, int](), 0
        budget = EpochBudget(limit)
        for trial in range(40):
            if budget.take("a", trial, 5):
                running[trial] = 0
            for one in [*running]:
                if rng.random() < 0.6:
                    running[one] += 5
                    if rng.random() < 0.2 or not budget.take("a", one, running[one] + 5):
                        budget.end("a", one, running[one])
                        total += running.pop(one)
            assert total + sum(running.values()) <= limit
