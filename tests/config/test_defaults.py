"""The defaults that depend on the data: models of the package, and variants where none are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from hnlm_ray.config.data import DataConfig
from hnlm_ray.config.defaults import DEFAULT_VARIANTS, VARIANTS_WITH_TEXT, VARIANTS_WITHOUT_MODEL
from hnlm_ray.config.language import LLMConfig
from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError

TABLE = ["data.format=table", "data.path=somewhere"]
MODEL = "llm.model=Qwen/Qwen3-8B"


def models(config: Config) -> tuple[str, str, str]:
    return config.llm.model, config.embed.model, config.tune.model


def variants(*overrides: str, files: list[Path] | None = None) -> set[str]:
    return set(load_config(files or [], overrides).train.variants)


def test_the_models_of_the_package_are_the_default_on_the_data_of_the_demo_alone() -> None:
    assert models(Config()) == ("demo", "demo", "demo")
    assert models(load_config([], TABLE)) == ("", "", "")
    assert models(load_config([], [*TABLE, "llm.model=demo"])) == ("demo", "", "")
    assert models(load_config([], ["tune.model=other/body", "llm.model=null"])) == ("", "demo", "other/body")


@pytest.mark.parametrize(
    "given",
    [["data.format=table"], [MODEL], ["llm.engine=http"], ["embed.model=a/b"], ["llm.model=demo"]],
    ids=lambda given: given[0],
)
def test_the_default_variants_use_the_models_that_there_are(given: list[str]) -> None:
    config = load_config([], [*TABLE, *given])
    known = {"llm": DEFAULT_VARIANTS, "embed": VARIANTS_WITH_TEXT, "data": VARIANTS_WITHOUT_MODEL}
    assert config.train.variants.keys() == known[given[0].partition(".")[0]].keys()


def test_default_variants_without_a_model_need_none() -> None:
    for variant in load_config([], TABLE).train.variants.values():
        assert variant.semantic is None
        assert variant.item_graph is None
        assert not variant.item_text


@pytest.mark.parametrize(("given", "teacher"), [([], "dns"), (["embed.model=a/b"], "graph")])
def test_ours_is_guarded_by_the_best_variant_without_a_guard(given: list[str], teacher: str) -> None:
    config = load_config([], [*TABLE, *given])
    guarded = config.train.variants["ours"].guard
    assert guarded is not None
    assert [source.variant for source in config.guards[guarded.table].sources] == [teacher]


def test_a_guard_of_that_name_may_be_another_or_go_with_its_teachers() -> None:
    own = load_config([], [*TABLE, "guards={likely: {sources: [{variant: uniform}]}}"])
    assert [source.variant for source in own.guards["likely"].sources] == ["uniform"]
    assert load_config([], [*TABLE, "train.variants.ours=null"]).guards == {}
    with pytest.raises(ConfigError, match=r"guard\.table is 'likely', guards has none"):
        load_config([], [*TABLE, "train.variants.dns=null"])


def test_an_option_of_every_variant_keeps_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "every.yaml"
    file.write_text("train: {variants: {'*': {epochs: 3}}}")
    for files, more in (([file], []), ([], ["train.variants.*.epochs=3"])):
        for model, expected in (([], VARIANTS_WITHOUT_MODEL), ([MODEL], DEFAULT_VARIANTS)):
            config = load_config(files, [*TABLE, *more, *model])
            assert set(config.train.variants) == set(expected)
            assert {one.epochs for one in config.train.variants.values()} == {3}


def test_an_option_of_a_variant_with_a_model_never_makes_another_of_its_name() -> None:
    config = load_config([], [*TABLE, "train.variants.hnlm.epochs=3"])
    assert config.train.variants["hnlm"].semantic is not None
    assert variants(*TABLE, "train.variants.hnlm=null", "serve.variant=uniform") == set(VARIANTS_WITH_TEXT)
    graph = load_config([], [*TABLE, "train.variants.graph.epochs=3"])
    assert set(graph.train.variants) == set(VARIANTS_WITH_TEXT)
    assert graph.train.variants["ours"].item_graph is not None
    plain = load_config([], [*TABLE, "train.variants.ours.epochs=3"]).train.variants
    assert (set(plain), plain["ours"].item_graph) == (set(VARIANTS_WITHOUT_MODEL), None)
    assert variants(*TABLE, "train.variants.mine={backbone: mf}", "serve.variant=mine") == {
        *VARIANTS_WITHOUT_MODEL,
        "mine",
    }


def test_variants_that_are_named_are_all_there_are() -> None:
    named = load_config([], [*TABLE, "train.variants={mine: {semantic: {}}}", "serve.variant=mine"])
    assert set(named.train.variants) == {"mine"}


@pytest.mark.parametrize("overrides", [[], TABLE, [*TABLE, MODEL], [*TABLE, "llm.model=demo"], ["llm.model=null"]])
def test_what_a_run_recorded_means_the_same_when_it_is_read_again(overrides: list[str]) -> None:
    config = load_config([], overrides)
    assert Config.model_validate(config.model_dump(mode="json")) == config


def test_sections_may_be_given_as_objects() -> None:
    data = DataConfig(format="table", path="somewhere")
    assert models(Config(data=data)) == ("", "", "")
    assert set(Config(data=data).train.variants) == set(VARIANTS_WITHOUT_MODEL)
    assert Config(llm=LLMConfig(batch_size=3)).llm == LLMConfig(batch_size=3, model="demo")
