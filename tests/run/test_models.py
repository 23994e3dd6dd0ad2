"""A run whose variants need a model that is not named does not begin."""

from __future__ import annotations

from pathlib import Path

import pytest

from hnlm_ray.cli.validation import examine
from hnlm_ray.config.load import load_config
from hnlm_ray.errors import ConfigError
from hnlm_ray.run.models import missing_models, remarks
from hnlm_ray.run.plan import plan

HNLM = "train.variants={uniform: {}, hnlm: {semantic: {mixing: {share: 0.1}}}}"
TUNED = "train.variants={uniform: {}, hnlm: {semantic: {source: tuned}}}"
TEXT = "train.variants={hnlm: {item_text: true}}"
ENDPOINT = ("llm.engine=http", "llm.http.url=http://127.0.0.1:9/v1")


@pytest.fixture
def table(tmp_path: Path) -> list[str]:
    (tmp_path / "interactions.csv").write_text("user_id,item_id\nu,i\n")
    return ["data.format=table", f"data.path={tmp_path}", f"run={tmp_path / 'run'}", "serve.variant=hnlm"]


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ([HNLM], {"llm.model", "embed.model"}),
        ([HNLM, "embed.model=demo"], {"llm.model"}),
        ([HNLM, "llm.model=demo"], {"embed.model"}),
        ([HNLM, *ENDPOINT], {"llm.model", "embed.model"}),
        ([HNLM, "llm.engine=scripted", "embed.engine=scripted"], set()),
        ([HNLM, "llm.model=demo", "embed.model=demo"], set()),
        ([TUNED], {"llm.model", "embed.model", "tune.model"}),
        ([TUNED, "tune.texts=catalogue", "tune.model=demo"], {"embed.model"}),
        ([TEXT], {"embed.model"}),
        (["train.variants={hnlm: {}}"], set()),
    ],
)
def test_each_model_that_a_variant_needs_must_be_named(table: list[str], given: list[str], missing: set[str]) -> None:
    config = load_config([], [*table, *given])
    error = missing_models(config)
    text = "" if error is None else str(error)
    assert {option for option in ("llm.model", "embed.model", "tune.model") if f"{option} names no model" in text} == (
        missing
    )
    assert [text] * bool(missing) == [found for found in examine(config).problems if "names no model" in found]
    if missing:
        assert "train.variants.hnlm=null" in text
        with pytest.raises(ConfigError, match="names no model"):
            plan(config)


def test_the_sentence_names_the_ways_to_a_model(table: list[str]) -> None:
    error = missing_models(load_config([], [*table, HNLM]))
    for way in ("llm.model=NAME_OR_FOLDER", "llm.engine=http llm.http.url=URL llm.model=NAME", "(=demo)"):
        assert way in str(error)


def test_variants_that_are_left_out_are_told(table: list[str]) -> None:
    without = [one for one in table if not one.startswith("serve")]
    text, language = remarks(load_config([], without))
    assert "no model of texts is configured" in text
    assert "no language model is configured" in language
    assert "llm.http.url=URL" in language
    assert remarks(load_config([], [*without, "embed.model=a/b"])) == [language]
    assert remarks(load_config([], [*table, "train.variants={hnlm: {}}"])) == []
    assert remarks(load_config([], [*table, HNLM, "llm.model=a/b", "embed.model=a/b"])) == []


def test_the_models_of_the_demo_are_told_on_other_data(table: list[str]) -> None:
    (sentence,) = remarks(load_config([], [*table, HNLM, "llm.model=demo", "embed.model=demo"]))
    assert sentence.startswith("llm.model and embed.model are demo")
    (sentence,) = remarks(load_config([], [*table, TEXT, "embed.model=demo", "llm.model=demo"]))
    assert sentence.startswith("embed.model is demo")
    assert remarks(load_config()) == []


def test_a_run_without_a_model_is_planned(table: list[str]) -> None:
    kinds = {stage.kind for stage in plan(load_config([], table[:-1])).stages}
    assert kinds == {"prepare", "train", "guard", "evaluate", "report", "bundle"}


def test_a_scripted_engine_needs_no_model_to_be_planned(table: list[str]) -> None:
    scripted = load_config([], [*table, "llm.engine=scripted", "embed.engine=scripted"])
    kinds = {stage.kind for stage in plan(scripted).stages}
    assert {"item_profiles", "vectors", "ground"} <= kinds
