"""docs/training.md names every section with its defaults, and its programs run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hnlm_ray.config.backbones import Backbone
from hnlm_ray.config.load import load_config
from hnlm_ray.config.losses import Loss
from hnlm_ray.config.paths import lookup
from hnlm_ray.config.samplers import Sampler
from hnlm_ray.config.section import kinds
from hnlm_ray.config.semantic import SemanticOptions
from hnlm_ray.config.tree import Config, TrainConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.run.trials import draw_trials

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
PARTS = {"Backbones": Backbone, "Samplers": Sampler, "Losses": Loss}
SECTIONS = [(title, section) for title, union in PARTS.items() for section in kinds(union).values()]


@pytest.mark.parametrize(("title", "section"), SECTIONS, ids=lambda part: getattr(part, "__name__", part))
def test_every_section_stands_there_with_its_defaults(title: str, section: Any) -> None:
    chapter = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    fields = section.model_fields
    (line,) = [line for line in chapter.splitlines() if line.startswith(f"| `{fields['name'].default}` |")]
    options = {f"{name}={one.default}" for name, one in fields.items() if name != "name" and not one.is_required()}
    assert set(re.findall(r"`(\w+=[^`]+)`", line)) == options
    assert all(f"`{name}`" in line for name, one in fields.items() if one.is_required())


def test_every_general_setting_that_the_page_names_exists() -> None:
    for name in ("semantic", "l2_on", "positives", "init_std"):
        assert name in VariantConfig.model_fields
        assert f"`{name}" in PAGE
    tree = SemanticOptions().model_dump()
    for path in re.findall(r"`semantic\.([a-z.]+)", PAGE):
        lookup(tree, path)


def test_the_examples_are_a_configuration_and_a_search_over_it(tmp_path: Path) -> None:
    variants, sequences, ensemble, voted, graph, guard, features, search, own = re.findall(
        r"```yaml\n(.*?)```", PAGE, re.DOTALL
    )
    with_times = Config.model_validate({**yaml.safe_load(sequences), "serve": {"variant": "sasrec"}})
    assert str(with_times.train.variants["sasrec"].loss) == "gbce(calibration=0.0)"
    with_features = {**yaml.safe_load(features), "serve": {"variant": "plain"}}
    with_features["data"] |= {"format": "table", "path": "x"}
    assert Config.model_validate(with_features).data.features.users.columns == ("age", "country")
    for text, expected in (
        (ensemble, {"graph", "both"}),
        (voted, {"graph", "voted"}),
        (graph, {"graph"}),
        (guard, {"graph", "ease", "ours"}),
    ):
        tree = yaml.safe_load(text)
        assert set(Config.model_validate({**tree, "serve": {"variant": "graph"}}).train.variants) == expected
    mine = TrainConfig.model_validate(yaml.safe_load(own)["train"]).variants
    assert str(mine["second"].sampler) == "mine.SecondBest(candidates=16)"
    train = TrainConfig.model_validate(yaml.safe_load(variants)["train"])
    assert str(train.variants["dns"].sampler) == "dns(candidates=32)"
    assert len(train.variants) == 4
    paths = [tmp_path / "variants.yaml", tmp_path / "search.yaml"]
    for path, text in zip(paths, (variants, search), strict=True):
        path.write_text(text, encoding="utf-8")
    config = load_config(paths)
    drawn = draw_trials(config)
    assert len(drawn) == 3 * config.search.trials
    assert {"dim", "learning_rate", "sampler.candidates", "loss"} == {
        path.removeprefix("train.variants.dns.") for one in drawn for path in one.parameters if one.variant == "dns"
    }


def test_the_programs_run() -> None:
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(programs) == 5
    names: dict[str, Any] = {}
    for program in programs:
        exec(compile(program, "docs/training.md", "exec", dont_inherit=True), names)
    assert {"SecondBest", "TwoHops"} <= set(names)
