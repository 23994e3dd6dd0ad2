"""The fits of a study: the same number of trials for every variant, and what each fit's place depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError
from hnlm_ray.run.plan import plan
from hnlm_ray.run.store import RunStore
from hnlm_ray.run.study import StudyTrial, plan_study, planned_trials
from hnlm_ray.run.trials import draw_trials, study_trials

VARIANTS: dict[str, Any] = {
    "ours": {"sampler": {"name": "dns", "candidates": 8}, "item_graph": {"source": "categories"}},
    "plain": {},
    "ease": {"backbone": "ease"},
    "most_popular": {"backbone": "popularity"},
}
SPACE = {
    "train.variants.*.learning_rate": {"log_uniform": [1e-3, 1e-1]},
    "train.variants.ease.backbone.ridge": {"choice": [10.0, 100.0]},
}


def configured(folder: Path, variants: dict[str, Any] = VARIANTS, /, **study: Any) -> Config:
    return Config.model_validate(
        {
            "run": str(folder),
            "train": {"variants": variants},
            "serve": {"variant": "plain"},
            "search": {
                "space": {key: values for key, values in SPACE.items() if key.split(".")[2] in {"*", *variants}}
            },
            "study": {"trials": 3, "seeds": [0, 1], **study},
        }
    )


def planned(config: Config) -> dict[str, list[StudyTrial]]:
    found: dict[str, list[StudyTrial]] = {}
    for one in planned_trials(config, RunStore(config.run)):
        found.setdefault(one.trial.variant, []).append(one)
    return found


def places(trials: list[StudyTrial]) -> set[str]:
    return {fit.artifact.path for one in trials for fit in (*one.screening, *one.final)}


def test_every_variant_has_as_many_different_trials_as_its_space_gives(tmp_path: Path) -> None:
    found = planned(configured(tmp_path))
    assert {name: len(trials) for name, trials in found.items()} == {
        "ours": 3,
        "plain": 3,
        "ease": 3,
        "most_popular": 1,
    }
    ridges = {one.trial.options.model_dump()["backbone"]["ridge"] for one in found["ease"]}
    assert ridges == {500.0, 10.0, 100.0}  # 500 is what is configured
    assert {name: trials[0].trial.number for name, trials in found.items()} == dict.fromkeys(VARIANTS, 0)
    few = planned(configured(tmp_path, trials=9))
    assert len(few["ease"]) == 3
    assert len(few["plain"]) == 9


def test_trials_are_those_of_a_search_and_begin_with_one_of_every_variant(tmp_path: Path) -> None:
    config = configured(tmp_path)
    searched = {(trial.variant, trial.number): trial.options for trial in draw_trials(config)}
    trials = study_trials(config)
    assert [trial.variant for trial in trials[:5]] == [*VARIANTS, "ours"]
    for trial in trials:
        if trial.options.is_trained:
            assert searched[trial.variant, trial.number] == trial.options


def test_seeds_are_those_of_the_section_and_a_baseline_in_closed_form_has_one_fit(tmp_path: Path) -> None:
    found = planned(configured(tmp_path, screening_seeds=[7], seeds=[0, 1, 2]))
    one, ease = found["ours"][0], found["ease"][0]
    assert [fit.seed for fit in one.screening] == [7]
    assert [fit.seed for fit in one.final] == [0, 1, 2]
    assert [fit.seed for fit in ease.screening] == [fit.seed for fit in ease.final] == [0]


def test_a_fit_that_screens_and_is_judged_is_one_fit(tmp_path: Path) -> None:
    one = planned(configured(tmp_path))["ours"][1]
    assert one.screening[0].artifact == one.final[0].artifact
    assert len(places([one])) == 2


def test_a_changed_variant_moves_its_own_fits_alone(tmp_path: Path) -> None:
    before = planned(configured(tmp_path))
    after = planned(configured(tmp_path, {**VARIANTS, "ours": {**VARIANTS["ours"], "dim": 32}}))
    assert not places(before["ours"]) & places(after["ours"])
    for name in ("plain", "ease", "most_popular"):
        assert places(before[name]) == places(after[name])
    more = planned(configured(tmp_path, {**VARIANTS, "other": {}}, trials=5, seeds=[0, 1, 2]))
    for name in VARIANTS:
        assert places(before[name]) <= places(more[name])


def test_a_trial_reads_what_its_own_options_need(tmp_path: Path) -> None:
    config = configured(tmp_path)
    space = {**SPACE, "train.variants.ours.item_graph.source": {"choice": ["random"]}}
    config = Config.model_validate({**config.model_dump(mode="json"), "search": {"space": space}})
    ours = planned(config)["ours"]
    assert set(ours[0].final[0].inputs) == {"prepare", "neighbours.categories"}
    assert set(ours[1].final[0].inputs) == {"prepare", "neighbours.random"}
    run = plan_study(config)
    assert {"neighbours.categories", "neighbours.random@1"} <= set(run.before("study"))
    assert "train.ours.s0" not in run.before("study")
    assert run["neighbours.random@1"].inputs == {"prepare": "prepare"}


def test_the_study_is_another_when_a_fit_or_the_comparison_is_and_no_part_of_a_run(tmp_path: Path) -> None:
    others = [{}, {"against": "plain"}, {"seeds": [0]}, {"trials": 2}, {"variants": ["ours", "plain"]}]
    prints = {plan_study(configured(tmp_path, **options))["study"].artifact.fingerprint for options in others}
    assert len(prints) == len(others)
    same = [{}, {"jobs": 2}, {"cpus": 2}]
    assert len({plan_study(configured(tmp_path, **one))["study"].artifact.fingerprint for one in same}) == 1
    assert "study" not in {stage.kind for stage in plan(configured(tmp_path)).stages}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"variants": ["plian"]}, "study.variants has 'plian', did you mean 'plain'"),
        ({"against": "our"}, "study.against is 'our', did you mean 'ours'"),
        ({"variants": ["ours"]}, "nothing to compare"),
    ],
)
def test_a_study_that_does_not_suit_the_variants_is_a_sentence(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        plan_study(configured(tmp_path, **options))


def test_what_all_are_compared_with_takes_part_even_if_it_is_not_named(tmp_path: Path) -> None:
    assert list(planned(configured(tmp_path, against="ours", variants=["ease"]))) == ["ours", "ease"]


def test_an_ensemble_is_one_fit_on_stages_that_fit_its_members(tmp_path: Path) -> None:
    both = {"backbone": {"name": "ensemble", "members": [{"variant": "ours", "seeds": [0, 5]}]}}
    config = configured(tmp_path, {**VARIANTS, "both": both}, screening_seeds=[7])
    (one,) = planned(config)["both"]
    (fit,) = one.final
    assert set(fit.inputs) == {"prepare", "train.ours.s0", "train.ours.s5"}
    before = plan_study(config).before("study")
    assert {"train.ours.s0", "train.ours.s5"} <= set(before)
    assert "train.ours.s1" not in before
    other = configured(tmp_path, {**VARIANTS, "ours": {**VARIANTS["ours"], "dim": 8}, "both": both})
    assert not places([one]) & places(planned(other)["both"])


def test_options_that_a_member_reads_move_an_ensemble(tmp_path: Path) -> None:
    both = {"backbone": {"name": "ensemble", "members": [{"variant": "ours"}]}}
    tree = configured(tmp_path, {**VARIANTS, "both": both}).model_dump(mode="json")
    tree["search"]["space"]["neighbours.keep"] = {"choice": [30]}
    first, second = planned(Config.model_validate(tree))["both"][:2]
    assert first.trial.number == 0
    assert second.trial.upstream == {"neighbours.keep": 30}
    assert not places([first]) & places([second])
