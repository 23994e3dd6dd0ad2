from __future__ import annotations

from typing import Any

import pytest

from hnlm_ray.config.load import load_config
from hnlm_ray.config.paths import assign, lookup, walk
from hnlm_ray.errors import ConfigError


def test_what_was_assigned_is_looked_up() -> None:
    tree: dict[str, Any] = {"train": {"workers": 1, "seeds": [0]}}
    assign(tree, "train.workers", 2)
    assign(tree, "seed", 3)
    assert tree == {"train": {"workers": 2, "seeds": [0]}, "seed": 3}
    assert (lookup(tree, "train.workers"), lookup(tree, "train")) == (2, tree["train"])
    with pytest.raises(KeyError):
        lookup(tree, "train.wrokers")


@pytest.mark.parametrize("tree", [{}, {"search": None}, {"search": {"stopping": None}}])
def test_sections_on_the_way_are_created(tree: dict[str, Any]) -> None:
    assign(tree, "search.stopping.grace_period", 5)
    assert tree == {"search": {"stopping": {"grace_period": 5}}}


def test_a_section_given_by_its_name_is_written_out() -> None:
    tree = {"sampler": "dns"}
    assign(tree, "sampler.candidates", 4)
    assert tree == {"sampler": {"name": "dns", "candidates": 4}}


@pytest.mark.parametrize("value", [0, 1.5, False, [1]])
def test_a_value_has_no_options(value: Any) -> None:
    tree = {"a": {"b": value}}
    with pytest.raises(ConfigError, match=r"a\.b\.c: 'b' is a value, not a section"):
        assign(tree, "a.b.c", 1)
    assert tree == {"a": {"b": value}}


def test_every_section_comes_before_what_is_in_it() -> None:
    assert list(walk({"a": {"b": {}, "c": {"d": 1}}, "e": None})) == ["a", "a.b", "a.c", "a.c.d", "e"]


def test_an_override_adds_to_a_section_that_is_empty_or_a_name() -> None:
    config = load_config([], ["train=null", "train.workers=2", "train.variants.new.sampler=dns",
                                "train.variants.new.sampler.candidates=4"])  # fmt: skip
    assert config.train.workers == 2
    assert config.train.variants["new"].sampler.model_dump() == {"name": "dns", "candidates": 4, "top": 1}


@pytest.mark.parametrize(
    ("first", "second", "section"), [("seed=1", "seed.x=1", "seed"), ("train=1", "train.variants.x.dim=4", "train")]
)
def test_an_override_below_a_value_is_one_sentence(first: str, second: str, section: str) -> None:
    with pytest.raises(ConfigError, match=f"{section!r} is a value, not a section") as caught:
        load_config([], [first, second])
    assert "\n" not in str(caught.value)
