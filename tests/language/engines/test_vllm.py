"""The real engine: one generation pass and one pooling pass, and everything that must be true of them."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray

from hnlm_ray.config.language import EmbedConfig, LLMConfig
from hnlm_ray.config.tree import Config
from hnlm_ray.demo import assets
from hnlm_ray.errors import ConfigError, EngineError
from hnlm_ray.language.engines.protocol import Call, Sampling
from hnlm_ray.language.engines.rendering import RenderedRow
from hnlm_ray.language.engines.tokens import chat_budget, chat_tokens, load_tokenizer
from hnlm_ray.language.engines.vllm import VllmEmbedder, VllmEngine, _parameters
from hnlm_ray.language.generate import generate
from hnlm_ray.language.prompts.render import Prompt
from hnlm_ray.run.rows import Rows
from hnlm_ray.run.store import RunStore
from tests.language.conftest import INJECTED, ROWS, UNFIT, RealEngines, demo_request
from tests.language.tiny_model import pickle_weights, write_tiny_model
from tests.said import Said

pytestmark = [pytest.mark.ray, pytest.mark.vllm]


def test_every_row_comes_out_and_the_one_that_cannot_fit_fails_alone(real_engines: RealEngines) -> None:
    rows = real_engines.answers.to_pylist()
    assert [row["id"] for row in rows] == list(range(ROWS))
    assert (rows[UNFIT]["status"], rows[UNFIT]["prompt_tokens"]) == ("failed", 0)
    assert "exceeds" in rows[UNFIT]["reason"]
    ok = [row for row in rows if row["status"] == "ok"]
    assert len(ok) >= 0.9 * (ROWS - 1)
    assert len([line for line in real_engines.said if ": pass " in line]) == 1  # beside lines of progress


def test_the_grammar_leaves_compact_json_of_the_form_only(real_engines: RealEngines) -> None:
    for row in real_engines.raw.to_pylist():
        if row["finish_reason"] == "stop":
            answer = json.loads(row["text"], strict=False)
            assert list(answer) == ["reasoning", "summary"]
            assert row["text"] == json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


def test_prompts_were_what_the_tokenizer_says(real_engines: RealEngines) -> None:
    request, tokenizer = demo_request(), load_tokenizer(assets.resolve("demo"))
    budget = chat_budget(tokenizer, 640, 192, {})
    for row, prompt_of in zip(
        real_engines.answers.to_pylist(), request.renderer.prompts(request.rows.table()), strict=True
    ):
        if row["id"] == UNFIT:
            with pytest.raises(ConfigError):
                prompt_of(budget)
        else:
            assert row["prompt_tokens"] == len(chat_tokens(tokenizer, prompt_of(budget), {}))
            assert 0 < row["output_tokens"] <= 192


def test_an_order_in_a_review_changes_nothing(real_engines: RealEngines) -> None:
    row = real_engines.answers.to_pylist()[INJECTED]
    assert row["status"] in ("ok", "invalid")  # answered; the small model goes round in a loop on some prompts
    assert "MARS" not in row["text"] + row["excerpt"]
    assert row["text"] + row["excerpt"]


def test_vectors_have_unit_length_and_near_texts_are_near(real_engines: RealEngines) -> None:
    vectors = real_engines.vectors
    assert vectors.shape[0] == len(real_engines.texts)  # the text that is too long was cut, not lost
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    similarity = vectors[:16] @ vectors[:16].T
    assert similarity[:8, :8].mean() > similarity[:8, 8:].mean()


def test_vectors_are_the_mean_that_transformers_gives(real_engines: RealEngines) -> None:
    import torch
    from transformers import AutoModel

    folder = assets.resolve("demo", "embed")
    tokenizer, model = load_tokenizer(folder), AutoModel.from_pretrained(folder, dtype=torch.float32)
    for text, vector in list(zip(real_engines.texts, real_engines.vectors, strict=True))[::5]:
        ids = tokenizer(text, truncation=True, max_length=EmbedConfig().max_model_len, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            mean = model(input_ids=ids).last_hidden_state[0].mean(dim=0).numpy()
        assert vector @ (mean / np.linalg.norm(mean)) > 0.999


def test_pooling_follows_the_folder_or_the_option(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    mean = {"pooler_config": {"seq_pooling_type": "MEAN"}}
    assert VllmEmbedder(EmbedConfig(model=str(folder)))._pooler() == mean
    assert VllmEmbedder(EmbedConfig(model="BAAI/bge-small-en-v1.5"))._pooler() == {}
    (folder / "modules.json").write_text("[]")
    assert VllmEmbedder(EmbedConfig(model=str(folder)))._pooler() == {}
    assert VllmEmbedder(EmbedConfig(model=str(folder), pooling="mean"))._pooler() == mean


def test_the_rows_of_a_block_have_parameters_of_the_same_names() -> None:
    call = Call(demo_request().renderer, 8, Sampling(min_p=0.1), 0, curb=0.5)
    prompts = Prompt("s", "u"), Prompt("s", "u", reasoning="none", curbed=True), None
    rows = [json.loads(_parameters(call, RenderedRow(prompt, "", 1))) for prompt in prompts]
    assert rows[0].keys() == rows[1].keys() == rows[2].keys()
    assert [row["frequency_penalty"] for row in rows] == [0.0, 0.5, 0.0]
    assert all(row["structured_outputs"]["json"] for row in rows)


def test_what_an_engine_holds() -> None:
    assert VllmEngine(LLMConfig(model="demo", replicas=2)).needs() == {"CPU": 2.0}
    gpu = LLMConfig(model="demo", replicas=2, tensor_parallel=4, accelerator="gpu")
    assert VllmEngine(gpu).needs() == {"CPU": 8.0, "GPU": 8.0}


def deadly_engine(longest: int) -> type:
    """The stage of the engine, whose process ends at a prompt of more tokens."""
    from ray.llm._internal.batch.stages.vllm_engine_stage import vLLMEngineStageUDF

    class Deadly(vLLMEngineStageUDF):
        async def udf(self, batch):
            if any(len(row["tokenized_prompt"]) > longest for row in batch):
                os._exit(1)
            async for output in super().udf(batch):
                yield output

    return Deadly


def test_a_row_that_kills_the_engine_fails_alone(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = demo_request()
    rows = request.rows.table().slice(10, 2)
    rows = rows.set_column(1, "reviews", pa.array([["so much to say " * 60], ["Lovely."]]))
    tokenizer = load_tokenizer(assets.resolve("demo"))
    budget = chat_budget(tokenizer, 640, 192, {})
    lengths = [len(chat_tokens(tokenizer, prompt_of(budget), {})) for prompt_of in request.renderer.prompts(rows)]
    assert lengths[0] > lengths[1]
    import ray.data.llm

    build = ray.data.llm.build_processor

    def deadly(*args, **options):
        processor = build(*args, **options)
        stage = processor.get_stage_by_name(processor.list_stage_names()[0])
        vars(stage)["fn"] = deadly_engine(lengths[1])  # an assignment would have the stage forget its placement
        return processor

    monkeypatch.setattr(ray.data.llm, "build_processor", deadly)
    llm = LLMConfig(model="demo", max_model_len=640, batch_size=1, retries=0, max_reject_rate=0.5)
    output, said = RunStore(str(tmp_path)).artifact("item_profiles", "deadly"), Said()
    engine = VllmEngine(llm)
    answers = generate(
        dataclasses.replace(request, rows=Rows.of(rows)), engine, Config(llm=llm), output, said
    ).answers.table()
    assert answers["id"].to_pylist() == [10, 11]
    assert [status == "failed" for status in answers["status"].to_pylist()] == [True, False]
    assert "died" in answers["reason"][0].as_py()
    deaths = [line for line in said if "died" in line]
    assert len(deaths) in (2, 3)  # the first may take the other row along
    assert "rows are left, the next 1 are tried" in deaths[0]


def test_an_engine_reads_safetensors_and_refuses_pickles(ray_session: None, tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    engine = VllmEngine(LLMConfig(model=str(folder)))
    assert engine._processor_config().engine_kwargs["load_format"] == "safetensors"
    pickle_weights(folder)
    data = ray.data.from_items([{"id": 0, "text": "a lamp"}])
    call = Call(demo_request().renderer, 8, Sampling(), 0)
    for refuse in (lambda: engine.answer(data, call), lambda: VllmEmbedder(EmbedConfig(model=str(folder))).embed(data)):
        with pytest.raises(EngineError, match="model has pickled weights only"):
            refuse()
