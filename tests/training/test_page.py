"""docs/training.md names every section with its defaults, and its programs run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hnlm_ray.config.backbones import Backbone
from hnlm_ray.config.losses import Loss
from hnlm_ray.config.paths import lookup
from hnlm_ray.config.samplers import Sampler
from hnlm_ray.config.section import kinds
from hnlm_ray.config.semantic import SemanticOptions
from hnlm_ray.config.tree import TrainConfig
from hnlm_ray.config.variants import VariantConfig

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
PARTS = {"Backbones": Backbone, "Samplers": Sampler, "Losses": Loss}
SECTIONS = [(title, section) for title, union in PARTS.items() for section in kinds(union).values()]


@pytest.mark.parametrize(("title", "section"), SECTIONS, ids=lambda part: getattr(part, "__name__", part))
def test_every_section_stands_there_with_its_defaults(title: str, section: Any) -> None:
    chapter = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    fields = {name: field.default for name, field in section.model_fields.items()}
    (line,) = [line for line in chapter.splitlines() if line.startswith(f"| `{fields['name']}` |")]
    options = {f"{name}={default}" for name, default in fields.items() if name != "name"}
    assert set(re.findall(r"`(\w+=[^`]+)`", line)) == options


def test_every_general_setting_that_the_page_names_exists() -> None:
    for name in ("semantic", "l2_on", "positives", "init_std"):
        assert name in VariantConfig.model_fields
        assert f"`{name}" in PAGE
    tree = SemanticOptions().model_dump()
    for path in re.findall(r"`semantic\.([a-z.]+)", PAGE):
        lookup(tree, path)


def test_the_example_is_a_configuration() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    train = TrainConfig.model_validate(yaml.safe_load(text)["train"])
    assert str(train.variants["dns"].sampler) == "dns(candidates=32)"
    assert len(train.variants) == 4


def test_the_programs_run() -> None:
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(programs) == 3
    names: dict[str, Any] = {}
    for program in programs:
        exec(compile(program, "docs/training.md", "exec", dont_inherit=True), names)
    assert {"SecondBest", "TwoHops"} <= set(names)
