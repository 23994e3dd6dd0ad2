"""The search section: paths that exist, draws that are valid, the same number of trials for every variant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hnlm_ray.config.load import load_config
from hnlm_ray.config.search import Domain, SearchConfig
from hnlm_ray.config.semantic import MixingOptions, SemanticOptions
from hnlm_ray.config.tree import Config
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.errors import ConfigError
from hnlm_ray.run.trials import Trial, draw_trials, with_upstream

VARIANTS = {
    "plain": VariantConfig(),
    "dns": VariantConfig(sampler="dns", backbone="mf"),
    "ease": VariantConfig(backbone="ease"),
}
RATE, CANDIDATES = "train.variants.*.learning_rate", "train.variants.dns.sampler.candidates"
SPACE: dict[str, Any] = {RATE: {"log_uniform": [1e-4, 1e-1]}, CANDIDATES: {"choice": [4, 16]}}


def search(**options: Any) -> SearchConfig:
    return SearchConfig.model_validate({"trials": 5, "space": SPACE, **options})


def trials_of(search: SearchConfig, variants: dict[str, VariantConfig] = VARIANTS) -> list[Trial]:
    serve = {"variant": next(iter(variants))}
    return draw_trials(Config.model_validate({"train": {"variants": variants}, "serve": serve, "search": search}))


def test_every_variant_gets_as_many_trials_and_the_first_is_what_is_configured() -> None:
    trials = trials_of(search())
    for name in ("plain", "dns"):
        mine = [trial for trial in trials if trial.variant == name]
        assert [trial.number for trial in mine] == list(range(5))
        assert mine[0].parameters[f"train.variants.{name}.learning_rate"] == VARIANTS[name].learning_rate
        assert mine[0].options == VARIANTS[name]
        assert all(trial.options != VARIANTS[name] for trial in mine[1:])
    assert {trial.variant for trial in trials} == {"plain", "dns"}


def test_a_draw_sets_what_it_names_and_nothing_else() -> None:
    for trial in trials_of(search()):
        if trial.number == 0:
            continue
        paths = {f"train.variants.{trial.variant}.learning_rate"} | ({CANDIDATES} if trial.variant == "dns" else set())
        assert set(trial.parameters) == paths
        assert trial.options.learning_rate == trial.parameters[f"train.variants.{trial.variant}.learning_rate"]
        drawn = {"learning_rate": VARIANTS[trial.variant].learning_rate, "sampler": VARIANTS[trial.variant].sampler}
        assert trial.options.model_copy(update=drawn) == VARIANTS[trial.variant]
        if trial.variant == "dns":
            assert trial.options.sampler.candidates == trial.parameters[CANDIDATES] in (4, 16)


def test_more_trials_and_other_variants_change_no_draw() -> None:
    few = {(trial.variant, trial.number): trial for trial in trials_of(search())}
    many = {
        (trial.variant, trial.number): trial
        for trial in trials_of(search(trials=9), {**VARIANTS, "x": VARIANTS["plain"]})
    }
    assert all(many[key] == trial for key, trial in few.items())
    other = {(trial.variant, trial.number): trial for trial in trials_of(search(seed=1))}
    assert all(other[key] != trial for key, trial in few.items() if trial.number)


def test_one_variant_may_have_values_of_its_own() -> None:
    own = {RATE: {"choice": [0.1]}, "train.variants.dns.learning_rate": {"choice": [0.5]}}
    rates = {trial.variant: trial.options.learning_rate for trial in trials_of(search(trials=2, space=own))}
    assert rates == {"plain": 0.1, "dns": 0.5}


def test_a_choice_may_be_a_whole_section() -> None:
    space = {"train.variants.*.sampler": {"choice": ["uniform", {"name": "dns", "candidates": 3}]}}
    options = [trial.options.sampler for trial in trials_of(search(trials=12, space=space))]
    assert {sampler.name for sampler in options} == {"uniform", "dns"}
    assert any(getattr(sampler, "candidates", 0) == 3 for sampler in options)


@pytest.mark.parametrize(
    ("domain", "low", "high"),
    [({"uniform": [2.0, 4.0]}, 2, 4), ({"log_uniform": [1e-4, 1.0]}, 1e-4, 1), ({"integers": [3, 5]}, 3, 5)],
)
def test_draws_fill_their_range(domain: dict[str, Any], low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    values = [Domain.model_validate(domain).draw(rng) for _ in range(400)]
    assert low <= min(values) <= max(values) <= high
    middle = 1e-2 if "log_uniform" in domain else (low + high) / 2
    assert (
        0.4 < np.mean([value < middle for value in values]) + 0.5 * np.mean([value == middle for value in values]) < 0.6
    )
    assert all(isinstance(value, int) == ("integers" in domain) for value in values)


@pytest.mark.parametrize(
    ("domain", "sentence"),
    [
        ({}, "exactly one of"),
        ({"choice": [1], "uniform": [0, 1]}, "exactly one of"),
        ({"choice": []}, "choice is empty"),
        ({"uniform": [2, 1]}, "uniform goes from 2.0 down to 1.0"),
        ({"log_uniform": [0, 1]}, "log_uniform starts at 0.0"),
    ],
)
def test_values_that_make_no_sense_are_a_sentence(domain: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        load_config([], [f"search.space={{a: {domain}}}"])
    assert "search.space.a" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"space": {"train.variants.*.learning_rat": {"choice": [1]}}}, "did you mean 'learning_rate'"),
        ({"space": {"train.variant.*.l2": {"choice": [1]}}}, r"did you mean 'train.variants.\*.l2'"),
        ({"space": {"ground.fuzzi": {"choice": [1]}}}, "did you mean 'ground.fuzzy'"),
        ({"space": {"ground.fuzzy": {"choice": [1]}}}, "no searched variant depends on it"),
        ({"space": {"data.min_rating": {"choice": [1]}}}, "options below train.variants.<name>. and of llm, embed"),
        ({"space": {"train.variants.dsn.l2": {"choice": [1]}}}, "did you mean 'dns'"),
        ({"space": {"train.variants.ease.learning_rate": {"choice": [1]}}}, "ease is computed, not trained"),
        ({"space": {"train.variants.*.sampler.candidates": {"choice": [1]}}}, "but plain has no 'sampler.candidates'"),
        ({"space": {"train.variants.dns.sampler.name": {"choice": ["uniform"]}}}, "dns has no 'sampler.name'"),
        ({"space": {CANDIDATES: {"choice": [4]}}}, "no option of the variant plain"),
        ({"space": {RATE: {"choice": [-1]}}}, r"that is not valid \(plain.learning_rate=-1\): Input should be greater"),
        ({"variants": ["plian"]}, "did you mean 'plain'"),
        ({"variants": ["ease"]}, "computed, not trained"),
    ],
)  # fmt: skip
def test_a_search_that_does_not_suit_the_variants_is_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        trials_of(search(**options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("search.stopping.grace_perod=3", "did you mean 'grace_period'"),
        ("search.stopping={grace_period: 0}", "search.stopping.grace_period: Input should be greater"),
        ("search.stopping.reduction_factor=1", "search.stopping.reduction_factor: Input should be greater than 1"),
    ],
)
def test_stopping_that_makes_no_sense_is_a_sentence(override: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_config([], [override])


TUNED = {
    "plain": VariantConfig(),
    "text": VariantConfig(item_text=True),
    "written": VariantConfig(semantic=SemanticOptions()),
    "tuned": VariantConfig(semantic=SemanticOptions(source="tuned")),
    "mixed": VariantConfig(semantic=SemanticOptions(source="tuned", mixing=MixingOptions(share=0.2))),
}


def test_options_of_the_semantic_section_are_searched() -> None:
    path = "train.variants.tuned.semantic.mixing.share"
    trials = trials_of(search(space={path: {"uniform": [0.2, 0.9]}}, trials=4, variants=("tuned",)), TUNED)
    shares = [trial.options.semantic.mixing.share for trial in trials if trial.options.semantic]
    assert shares == [trial.parameters[path] for trial in trials]
    assert shares[0] == 0.0
    assert len(set(shares)) == 4
    assert {trial.options.semantic.source for trial in trials if trial.options.semantic} == {"tuned"}
    with pytest.raises(ConfigError, match=r"plain has no 'semantic\.mixing\.share'"):
        trials_of(search(space={"train.variants.*.semantic.mixing.share": {"choice": [0.1]}}), TUNED)


OUTSIDE: dict[str, Any] = {
    RATE: {"log_uniform": [1e-4, 1e-1]},
    "embed.pooling": {"choice": ["mean", "cls"]},
    "ground.vector": {"uniform": [0.2, 0.9]},
    "tune.temperature": {"log_uniform": [1e-2, 1.0]},
    "tune.supervision.last": {"integers": [10, 100]},
}


def test_options_outside_the_variants_are_drawn_for_those_that_depend_on_them() -> None:
    trials = trials_of(search(space=OUTSIDE, trials=4), TUNED)
    reads = {
        "plain": set(),
        "text": {"embed.pooling"},
        "written": {"embed.pooling", "ground.vector"},
        "tuned": set(OUTSIDE) - {RATE},
        "mixed": set(OUTSIDE) - {RATE},
    }
    for trial in trials:
        own = {path for path in trial.parameters if not path.startswith("train.variants")}
        assert own == reads[trial.variant]
        assert set(trial.upstream) == (own if trial.number else set())
    configured = next(trial for trial in trials if (trial.variant, trial.number) == ("tuned", 0)).parameters
    assert (configured["tune.temperature"], configured["tune.supervision.last"]) == (0.1, 50)


def test_trials_of_one_number_share_what_is_outside_the_variants() -> None:
    trials = [trial for trial in trials_of(search(space=OUTSIDE, trials=4), TUNED) if trial.number]
    for trial in trials:
        twin = next(one for one in trials if (one.variant, one.number) == ("mixed", trial.number))
        assert trial.upstream.items() <= twin.upstream.items()
    assert len({trial.upstream["tune.temperature"] for trial in trials if trial.variant == "tuned"}) == 3
    more = trials_of(search(space=OUTSIDE, trials=9), TUNED)
    assert [trial for trial in more if 0 < trial.number < 4] == trials


def test_what_was_drawn_outside_the_variants_is_in_the_configuration() -> None:
    config = with_upstream(Config(), {"tune.supervision.last": 7, "ground.vector": 0.25})
    assert (config.tune.supervision.last, config.ground.vector) == (7, 0.25)
    assert config.ground.fuzzy == Config().ground.fuzzy
    with pytest.raises(ConfigError, match=r"not valid \(tune\.supervision\.last=0\)") as caught:
        with_upstream(Config(), {"tune.supervision.last": 0})
    assert "\n" not in str(caught.value)


def test_without_a_trained_variant_there_is_nothing_to_search() -> None:
    with pytest.raises(ConfigError, match=r"no variant of train\.variants is trained"):
        trials_of(SearchConfig(), {"counts": VariantConfig(backbone="popularity")})


def test_the_default_space_suits_the_default_variants() -> None:
    config = load_config()
    trials = draw_trials(config)
    assert len(trials) == len(config.train.variants) * config.search.trials
