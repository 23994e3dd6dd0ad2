"""What is wrong with a model folder is said in one sentence each, before an engine is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from hnlm_ray.config.language import EmbedConfig, LLMConfig
from hnlm_ray.errors import EngineError
from hnlm_ray.language import checks
from hnlm_ray.language.checks import check, check_folder
from hnlm_ray.language.engines.tokens import load_tokenizer
from tests.language.tiny_model import pickle_weights, write_tiny_model

SCRIPTED = EmbedConfig(engine="scripted")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "model")


def test_a_whole_folder_has_no_problem(model: Path) -> None:
    assert check(LLMConfig(model=str(model)), EmbedConfig(model=str(model))) == []


def test_what_ships_with_the_package_has_no_problem() -> None:
    assert check(LLMConfig(model="demo"), EmbedConfig(model="demo")) == []


@pytest.mark.parametrize(
    ("missing", "says"),
    [("tokenizer.json", "no tokenizer"), ("model.safetensors", "no weights"), ("config.json", "no config.json")],
)
def test_each_missing_file_is_named(model: Path, missing: str, says: str) -> None:
    (model / missing).unlink()
    (problem,) = check(LLMConfig(model=str(model)), SCRIPTED)
    assert problem.startswith("llm.model: ")
    assert says in problem


def test_pickled_weights_are_refused(model: Path) -> None:
    (problem,) = check_folder(str(pickle_weights(model)))
    assert "pickled weights" in problem


def test_a_damaged_tokenizer_is_one_sentence(model: Path) -> None:
    (model / "tokenizer.json").write_text("{not json")
    (problem,) = check_folder(str(model))
    assert "cannot be loaded" in problem
    with pytest.raises(EngineError, match="cannot be loaded"):
        load_tokenizer(str(model))


def test_a_model_without_a_chat_template_cannot_generate_but_can_embed(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    (problem,) = check(LLMConfig(model=str(model)), EmbedConfig(model=str(model)))
    assert "chat template" in problem


@pytest.mark.parametrize("name", ["/no/such/folder", "./models/absent", "mistyped"])
def test_a_missing_folder_is_told_from_a_hub_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "check_hub", lambda model: [])
    assert "no folder" in check(LLMConfig(model=name), SCRIPTED)[0]
    assert check(LLMConfig(model="Qwen/Qwen3-8B"), SCRIPTED) == []
