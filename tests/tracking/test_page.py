"""docs/tracking.md: its configurations are valid, and its programs run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hnlm_ray.config.tracking import TrackingConfig
from hnlm_ray.config.tree import Config, TrainConfig

PAGE = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text(encoding="utf-8")


def test_the_examples_are_configurations() -> None:
    tracking, callbacks = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    assert TrackingConfig.model_validate(tracking["tracking"]).is_on
    (callback,) = TrainConfig.model_validate(callbacks["train"]).callbacks
    assert str(callback) == "mine.Slowest(every=5)"
    for commented in re.findall(r"# or (\{.*\})", PAGE):
        options = yaml.safe_load(commented)
        assert any(options.keys() <= one.model_fields.keys() for one in _sections()), commented
    assert f"`tracking.patience_s` ({Config().tracking.patience_s:g})" in PAGE


def _sections() -> list[Any]:
    from hnlm_ray.config import tracking

    return [tracking.MlflowConfig, tracking.TensorBoardConfig, tracking.WandbConfig]


def test_the_programs_run(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(programs) == 2
    for program in programs:
        exec(compile(program, "docs/tracking.md", "exec", dont_inherit=True), names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "fit, epoch 5", "fit, epoch 5", "fit, epoch 10", "fit, epoch 10"
    ]  # fmt: skip
