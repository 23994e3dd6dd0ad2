"""Weights are safetensors, whoever reads them: the same sentence for a folder that holds pickles only."""

from __future__ import annotations

from pathlib import Path

import pytest

from hnlm_ray.config.load import load_config
from hnlm_ray.config.weights import refuse_pickles
from hnlm_ray.errors import ConfigError, EngineError


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "last.ckpt"])
def test_a_folder_of_pickles_is_refused_unless_there_are_safetensors(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(EngineError, match=f"^{tmp_path} has pickled weights only, which can run code; convert them"):
        refuse_pickles(tmp_path)
    (tmp_path / "model-00001-of-00001.safetensors").touch()
    refuse_pickles(tmp_path)


def test_what_holds_no_weights_is_for_others_to_judge(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    refuse_pickles(tmp_path)
    refuse_pickles("some/name")


@pytest.mark.parametrize("section", ["llm", "embed", "encode"])
@pytest.mark.parametrize("load_format", ["auto", "PT", "npcache"])
def test_no_engine_is_told_to_read_pickles(section: str, load_format: str) -> None:
    with pytest.raises(ConfigError, match="pickled weights"):
        load_config([], [f"{section}.engine_kwargs.load_format={load_format}"])
    kept = load_config([], [f"{section}.engine_kwargs.load_format=runai_streamer"])
    assert getattr(kept, section).engine_kwargs == {"load_format": "runai_streamer"}
