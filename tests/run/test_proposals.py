"""Optuna's proposals: inside the space, better than chance, and the same whenever the same trials are told."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from hnlm_ray.config.search import Domain
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError, PackageError
from hnlm_ray.run.proposals import Told, optuna_study, propose
from hnlm_ray.run.trials import Trial, draw_trials, is_proposed, proposed, with_parameters

pytest.importorskip("optuna", reason="Optuna is not installed")

SPACE = {
    "rate": Domain(log_uniform=(1e-4, 1.0)),
    "share": Domain(uniform=(0.0, 1.0)),
    "dim": Domain(integers=(1, 64)),
    "sampler": Domain(choice=("uniform", {"name": "dns", "candidates": 4}, 3)),
}


def drawn(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {path: domain.draw(rng) for path, domain in SPACE.items()}


def figure(values: Mapping[str, Any]) -> float:
    """Best at a rate of 0.01, a share of 1 and the second sampler."""
    off = abs(math.log10(values["rate"] / 1e-2)) + (1 - values["share"])
    return 1.0 - 0.3 * off - 0.5 * (not isinstance(values["sampler"], dict))


def tried(number: int) -> list[Told]:
    values = [drawn(seed) for seed in range(number)]
    return [Told(one, "complete", figure(one), 8) for one in values]


def test_a_proposal_lies_in_the_space_and_is_a_value_of_each_option() -> None:
    for seed in range(8):
        found = propose(SPACE, tried(12), seed)
        assert list(found) == list(SPACE)
        assert 1e-4 <= found["rate"] <= 1.0
        assert float(f"{found['rate']:.4g}") == found["rate"]
        assert type(found["dim"]) is int
        assert found["sampler"] in SPACE["sampler"].choice


def test_the_same_trials_and_seed_give_the_same_proposal() -> None:
    assert propose(SPACE, tried(12), 5) == propose(SPACE, tried(12), 5)
    assert len({str(propose(SPACE, tried(12), seed)) for seed in range(4)}) == 4
    assert propose(SPACE, tried(30), 5) != propose(SPACE, tried(12), 5)


def test_proposals_are_better_than_draws() -> None:
    proposed_ones = [figure(propose(SPACE, tried(30), seed)) for seed in range(20)]
    draws = [figure(drawn(1000 + seed)) for seed in range(200)]
    assert np.mean(proposed_ones) > np.mean(draws) + 0.3


def test_what_runs_is_told_and_a_value_outside_the_space_is_not() -> None:
    outside = Told({**drawn(0), "dim": 65}, "complete", 0.9, 8)
    rounded = Told({**drawn(0), "rate": 1.0002}, "complete", 0.9, 8)
    known = [*tried(3), outside, rounded, Told(drawn(4), "running"), Told(drawn(5), "pruned", 0.1, 2)]
    states = [trial.state.name for trial in optuna_study(SPACE, known).get_trials()]
    assert states == ["COMPLETE"] * 4 + ["RUNNING", "PRUNED"]


def config(**search: Any) -> Config:
    space = {
        "train.variants.*.learning_rate": {"log_uniform": [1e-4, 1e-1]},
        "train.variants.mf.sampler": {"choice": [{"name": "dns", "candidates": 4}, "uniform"]},
    }
    variants = {"mf": {"backbone": "mf", "sampler": {"name": "dns"}}, "gcn": {}}
    tree = {"train": {"variants": variants}, "serve": {"variant": "mf"}}
    return Config.model_validate(
        {**tree, "search": {"trials": 6, "algorithm": "tpe", "startup": 3, "space": space, **search}}
    )


def test_a_trial_is_proposed_from_startup_on_and_those_before_are_the_draws_of_random_search() -> None:
    trials, random = draw_trials(config()), draw_trials(config(algorithm="random"))
    assert trials == random
    assert [trial.number for trial in trials if is_proposed(config(), trial)] == [3, 3, 4, 4, 5, 5]
    assert not any(is_proposed(config(algorithm="random"), trial) for trial in trials)
    assert not is_proposed(config(startup=1), trials[0])


def test_a_proposal_is_a_trial_with_options_of_its_own() -> None:
    searched = config(space={"train.variants.*.learning_rate": {"log_uniform": [1e-4, 1e-1]}})
    trials = [trial for trial in draw_trials(searched) if trial.variant == "gcn"]
    told = [Told(trial.parameters, "complete", 0.1, 8) for trial in trials[:3]]
    found = proposed(searched, trials[3], told)
    assert (found.variant, found.number) == ("gcn", 3)
    assert found.parameters != trials[3].parameters
    assert found.options.learning_rate == found.parameters["train.variants.gcn.learning_rate"]
    assert with_parameters(searched, trials[3], found.parameters) == found
    assert found == proposed(searched, trials[3], told)


def test_a_proposal_that_is_no_valid_variant_is_a_sentence() -> None:
    trial = next(trial for trial in draw_trials(config()) if trial.number == 1 and trial.variant == "gcn")
    with pytest.raises(ConfigError, match="draws a variant that is not valid"):
        with_parameters(config(), trial, {"train.variants.gcn.learning_rate": -1.0})


def test_options_outside_the_variant_stay_as_they_were_drawn() -> None:
    space = {
        "train.variants.hnlm.learning_rate": {"log_uniform": [1e-4, 1e-1]},
        "ground.vector": {"uniform": [0.1, 0.9]},
    }
    search = {"trials": 4, "algorithm": "tpe", "startup": 1, "space": space}
    searched = Config.model_validate(
        {"train": {"variants": {"hnlm": {"semantic": {}}}}, "serve": {"variant": "hnlm"}, "search": search}
    )
    trial = draw_trials(searched)[3]
    found: Trial = proposed(searched, trial, [])
    assert found.outside == trial.outside
    assert (
        found.parameters["train.variants.hnlm.learning_rate"] != trial.parameters["train.variants.hnlm.learning_rate"]
    )


def test_without_optuna_the_search_is_refused_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(PackageError, match=r"needs Optuna.*hnlm-ray\[search\]"):
        draw_trials(config())
    draw_trials(config(algorithm="random"))
