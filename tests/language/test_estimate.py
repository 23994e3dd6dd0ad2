"""What is estimated is what would be sent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.config.language import LLMConfig, NegativesConfig, ProfilesConfig
from hnlm_ray.config.tree import Config
from hnlm_ray.config.tuning import TuneConfig
from hnlm_ray.language.engines.tokens import chat_tokens, load_tokenizer
from hnlm_ray.language.estimate import StageEstimate, estimate
from hnlm_ray.language.requests import ItemRenderer, item_requests
from tests.language.tiny_model import write_tiny_model

WRITING = ("item_profiles", "user_profiles", "negatives")


def world(n_users: int = 30, n_items: int = 12) -> tuple[pa.Table, pa.Table]:
    rng = np.random.default_rng(0)
    chosen = [rng.choice(n_items, 6, replace=False) for _ in range(n_users)]
    interactions = pa.table(
        {
            "user": pa.array(np.repeat(np.arange(n_users), 6), pa.int32()),
            "item": pa.array(np.concatenate(chosen), pa.int32()),
            "rating": pa.array([5.0] * 6 * n_users, pa.float32()),
            "timestamp": pa.array(range(6 * n_users), pa.int64()),
            "review": ["a review"] * 6 * n_users,
            "split": ["train", "train", "train", "train", "valid", "test"] * n_users,
        }
    )
    items = pa.table(
        {
            "item_id": [f"i{k}" for k in range(n_items)],
            "title": [f"Title {k}" for k in range(n_items)],
            "brand": [""] * n_items,
            "categories": [["Things"]] * n_items,
            "description": ["words " * k for k in range(n_items)],
        }
    )
    return items, interactions


def test_prompts_tokens_and_hours(tmp_path: Path) -> None:
    folder = str(write_tiny_model(tmp_path / "model"))
    items, interactions = world()
    config = Config(llm=LLMConfig(model=folder), negatives=NegativesConfig(policy="per_user", per_user=3))
    stages = (*WRITING, "vectors", "train")
    found = estimate(config, stages, items, interactions, tokens_per_s=100.0)
    by_stage = {stage.stage: stage for stage in found.stages}
    assert {name: stage.prompts for name, stage in by_stage.items()} == {
        "item_profiles": 12,
        "user_profiles": 30,
        "negatives": 90,
        "vectors": 12,
    }
    tokenizer, limits = load_tokenizer(folder), ProfilesConfig()
    prompts = ItemRenderer(items, limits).prompts(item_requests([interactions], 12, limits))
    exact = sum(len(chat_tokens(tokenizer, prompt_of(None), {})) for prompt_of in prompts)
    assert by_stage["item_profiles"].input_tokens == exact  # all twelve are in the sample
    assert by_stage["negatives"].most_output_tokens == 90 * 96
    for stage in found.stages:
        assert 0 <= stage.output_tokens <= stage.most_output_tokens
    faster = estimate(config, stages, items, interactions, tokens_per_s=200.0)
    assert faster.stages[1].engine_hours == pytest.approx(found.stages[1].engine_hours / 2)
    assert any("tokenizer of" in note for note in found.notes)


def test_without_a_tokenizer_it_says_so_and_counts_characters() -> None:
    items, interactions = world()
    config = Config(llm=LLMConfig(model="/no/such/model"))
    found = estimate(config, WRITING, items, interactions)
    assert any("characters / 4" in note and "/no/such/model" in note for note in found.notes)
    assert found.stages[0].input_tokens > 0
    http = estimate(Config(llm=LLMConfig(engine="http")), WRITING, items, interactions)
    assert any("engine=http" in note for note in http.notes)


def hours(config: Config, stages: tuple[str, ...], tokens_per_s: float | None = None) -> dict[str, float | None]:
    items, interactions = world()
    found = estimate(config, stages, items, interactions, tokens_per_s)
    return {stage.stage: stage.engine_hours for stage in found.stages}


def test_each_model_has_a_speed_of_its_own(tmp_path: Path) -> None:
    folder = str(write_tiny_model(tmp_path / "model"))
    config = Config(llm=LLMConfig(model=folder), tune=TuneConfig(model="Some/Body-1B"))
    found = hours(config, (*WRITING, "vectors", "tune", "encode"))
    assert all(one is not None and one > 0 for one in found.values())
    assert found["tune"] > 100 * found["vectors"]  # a thousand times as many parameters
    given = hours(config, ("tune", "vectors"), tokens_per_s=10.0)
    assert given["tune"] / given["vectors"] != pytest.approx(found["tune"] / found["vectors"], rel=0.5)


@pytest.mark.parametrize(
    ("llm", "reason"),
    [
        (LLMConfig(engine="http", model="qwen3:8b"), "llm.engine=http may be of any speed"),
        (LLMConfig(model="some/model"), "the size of some/model is not known here"),
    ],
)
def test_a_speed_that_is_not_known_is_not_invented(llm: LLMConfig, reason: str) -> None:
    items, interactions = world()
    found = estimate(Config(llm=llm), (*WRITING, "vectors"), items, interactions)
    *writing, vectors = [stage.engine_hours for stage in found.stages]
    assert writing == [None] * 3
    assert vectors is not None
    assert any(reason in note and "give --tokens-per-second" in note for note in found.notes)
    assert None not in hours(Config(llm=llm), WRITING, tokens_per_s=50.0).values()


def test_the_policy_sets_the_number_of_negatives() -> None:
    items, interactions = world()
    for policy, pairs in ((NegativesConfig(policy="all"), 120), (NegativesConfig(policy="budget", budget=50), 50)):
        config = Config(llm=LLMConfig(engine="scripted"), negatives=policy)
        (found,) = estimate(config, ["negatives"], items, interactions).stages
        assert found.prompts == pairs


@pytest.mark.parametrize("count", [4, 8, 20])
def test_the_candidates_of_a_negative_are_read(count: int) -> None:
    items, interactions = world(n_items=40)

    def negatives(candidates: int) -> StageEstimate:
        asked = NegativesConfig(per_user=2, candidates=candidates)
        config = Config(llm=LLMConfig(engine="scripted"), negatives=asked)
        return estimate(config, ["negatives"], items, interactions).stages[0]

    free, chosen = negatives(0), negatives(count)
    titles = 60 * count * len('"Title 10",') / 4
    assert titles * 0.7 < chosen.input_tokens - free.input_tokens < titles * 1.3 + 60 * 30
    assert chosen.output_tokens < free.output_tokens  # such a title has two words


def test_a_catalogue_may_be_smaller_than_the_candidates_asked_for() -> None:
    items, interactions = world(n_items=6)
    config = Config(llm=LLMConfig(engine="scripted"), negatives=NegativesConfig(candidates=20))
    assert estimate(config, ["negatives"], items, interactions).stages[0].prompts == 90


@pytest.mark.parametrize("stage", WRITING)
def test_an_answer_without_a_reason_is_shorter(stage: str) -> None:
    items, interactions = world()
    options = [{"reasoning": "last"}, {"reasoning": "none"}]
    long, short = (
        estimate(
            Config(
                llm=LLMConfig(engine="scripted"),
                profiles=ProfilesConfig(max_output_tokens=400, **one),
                negatives=NegativesConfig(max_output_tokens=400, **one),
            ),
            [stage], items, interactions,
        ).stages[0]
        for one in options
    )  # fmt: skip
    assert long.output_tokens - short.output_tokens == pytest.approx(30 * 1.5 * long.prompts, abs=1)


def test_tuning_and_encoding_read_texts_of_the_greatest_length() -> None:
    items, interactions = world()
    read = {"pair": (120, 120 * 50), "factorised": (30 + items.num_rows, 30 * 31 + items.num_rows * 19)}
    for form, expected in read.items():
        tune = TuneConfig(form=form, pairs=50, epochs=4, max_user_tokens=30, max_item_tokens=18)
        config = Config(llm=LLMConfig(engine="scripted"), tune=tune)
        found = {stage.stage: stage for stage in estimate(config, ("tune", "encode"), items, interactions).stages}
        assert (found["tune"].prompts, found["tune"].input_tokens) == (200, 200 * 50)
        assert (found["encode"].prompts, found["encode"].input_tokens) == expected


def test_only_the_stages_that_are_to_run_are_counted() -> None:
    items, interactions = world()
    config = Config(llm=LLMConfig(engine="scripted"))
    for stages in ((), ("train", "evaluate"), ("vectors",), ("user_profiles", "encode"), (*WRITING, "tune")):
        found = estimate(config, stages, items, interactions)
        assert [one.stage for one in found.stages] == [one for one in stages if one not in ("train", "evaluate")]
    held_out = interactions.set_column(5, "split", pa.array(["test"] * interactions.num_rows))
    assert estimate(config, ["vectors"], items, held_out).stages[0].prompts == 12  # needs no train pair
