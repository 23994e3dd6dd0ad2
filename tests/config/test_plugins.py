"""Classes of one's own by path and by entry point, and one sentence for those that cannot be."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from hnlm_ray.config.load import load_config
from hnlm_ray.config.plugins import CustomOptions
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.errors import ConfigError
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training.fit import fit

MODULE = """
from hnlm_ray.samplers.candidates import UnseenItems
from hnlm_ray.samplers.protocol import candidate_scores, chosen_items
from hnlm_ray.models.losses import bpr


class Best:
    needs_layers = needs_batch = False

    def __init__(self, setting, candidates):
        self._items, self._candidates = UnseenItems(setting.train, setting.seed, setting.device), candidates

    def __call__(self, scene):
        drawn = self._items.draw(scene.users, scene.places, scene.epoch, self._candidates)
        return chosen_items(scene, drawn.gather(1, candidate_scores(scene, drawn).argmax(dim=1, keepdim=True)))


def scaled(gaps, by=1.0):
    return by * bpr(gaps)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working folder."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def variant(**options: object) -> VariantConfig:
    return VariantConfig.model_validate({"dim": 4, "epochs": 2, "batch_size": 64, **options})


def test_a_sampler_and_a_loss_of_ones_own_do_what_they_say(module: str) -> None:
    train, valid = random_world(30, 20, 0.2, 1)
    own = {"sampler": {"class": f"{module}.Best", "candidates": 8}, "loss": {"class": f"{module}:scaled", "by": 1.0}}
    mine = fit(train, valid, variant(**own), 0)
    dns = fit(train, valid, variant(sampler={"name": "dns", "candidates": 8}), 0)
    assert np.array_equal(mine.item_vectors, dns.item_vectors)
    twice = fit(train, valid, variant(**{**own, "loss": {"class": f"{module}.scaled", "by": 2.0}}), 0)
    assert twice.progress.history[0].loss > 1.9 * mine.progress.history[0].loss


def test_it_is_written_out_and_read_back_also_where_the_module_is_not(module: str, tmp_path: Path) -> None:
    read = variant(sampler={"class": f"{module}.Best", "candidates": 8})
    assert str(read.sampler) == f"{module}.Best(candidates=8)"
    assert isinstance(read.sampler, CustomOptions)
    assert len(read.sampler.source) == 8
    (tmp_path / f"{module}.py").write_text(MODULE + "\n")
    changed = VariantConfig.model_validate(read.model_dump(mode="json"))
    assert isinstance(changed.sampler, CustomOptions)
    assert changed.sampler.source != read.sampler.source  # other code, other fits
    (tmp_path / f"{module}.py").unlink()
    assert VariantConfig.model_validate(read.model_dump(mode="json")) == read


def test_an_entry_point_gives_it_a_name(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("best_of", f"{module}:Best", "hnlm_ray.samplers")
    monkeypatch.setattr(
        "hnlm_ray.config.plugins.entry_points",
        lambda group, name: [point] if (group, name) == (point.group, point.name) else [],
    )
    named = load_config([], ["train.variants={a: {sampler: {name: best_of, candidates: 3}}, b: {sampler: best_of}}"])
    assert named.train.variants["a"].sampler == variant(sampler={"class": f"{module}.Best", "candidates": 3}).sampler
    assert str(named.train.variants["b"].sampler) == f"{module}.Best"
    assert str(variant(sampler="dns").sampler) == "dns"  # the package's own names come first


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "sampler",
            {"class": "no.such.Thing"},
            r"sampler\.class=no\.such\.Thing cannot be loaded \(ModuleNotFoundError",
        ),
        ("sampler", {"class": "{module}.Worst"}, "cannot be loaded .AttributeError"),
        ("sampler", {"class": "{module}.Best"}, "does not take 1 argument.s. and no options .missing"),
        ("sampler", {"class": "{module}.Best", "size": 3}, "does not take 1 argument.s. and size"),
        ("loss", {"class": "no.such.loss"}, r"loss\.class=no\.such\.loss cannot be loaded"),
        ("backbone", {"class": "no.such.Backbone"}, r"backbone\.class=no\.such\.Backbone cannot be loaded"),
    ],
)
def test_what_cannot_be_loaded_or_made_is_one_sentence(module: str, option: str, value: dict, message: str) -> None:
    train, valid = random_world(30, 20, 0.2, 1)
    given = {key: one.format(module=module) if isinstance(one, str) else one for key, one in value.items()}
    with pytest.raises(ConfigError, match=message):
        fit(train, valid, variant(**{option: given}), 0)


def test_reading_a_configuration_imports_nothing(module: str) -> None:
    read = variant(sampler={"class": f"{module}.Best"})
    assert isinstance(read.sampler, CustomOptions)
    assert read.sampler.source
    assert module not in sys.modules


@pytest.mark.parametrize("path", ["3x", "a b.c", "os.system('x')", "name", ""])
def test_a_path_is_names_with_points(path: str) -> None:
    with pytest.raises(ConfigError, match=r"sampler\.path: String should match"):
        load_config([], [f'train.variants={{a: {{sampler: {{class: "{path}"}}}}}}'])
