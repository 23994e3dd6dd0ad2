"""The option that decides weighs most, and nothing is said of too few trials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hnlm_ray.config.search import Domain
from hnlm_ray.report import importance as module
from hnlm_ray.report.importance import LEAST_TRIALS, importance

pytest.importorskip("optuna", reason="Optuna is not installed")

SPACE = {
    "decides": Domain(uniform=(0.0, 1.0)),
    "idle": Domain(log_uniform=(1e-6, 1.0)),
    "chosen": Domain(choice=("a", {"name": "b"})),
}


def trials(number: int) -> list[tuple[dict[str, Any], float]]:
    rng = np.random.default_rng(1)
    values = [{path: domain.draw(rng) for path, domain in SPACE.items()} for _ in range(number)]
    return [(one, one["decides"]) for one in values]


def test_the_option_that_decides_comes_first() -> None:
    found = importance(SPACE, trials(60))
    assert found is not None
    assert next(iter(found.shares)) == "decides"
    assert found.shares["decides"] > 0.5
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert (found.best, found.trials) == (6, 60)


def test_few_trials_few_options_and_no_optuna_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert importance(SPACE, trials(LEAST_TRIALS - 1)) is None
    found = importance(SPACE, trials(LEAST_TRIALS))
    assert found is not None
    assert (found.best, found.trials) == (5, 10)
    assert importance({"decides": SPACE["decides"]}, trials(60)) is None
    monkeypatch.setattr(module, "has_optuna", lambda: False)
    assert importance(SPACE, trials(60)) is None
