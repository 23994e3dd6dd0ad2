"""Parallel coordinates, one axis below the other."""

from __future__ import annotations

import re

import pytest

from hnlm_ray.report.parallel import numbers_axis, parallel_coordinates, words_axis


def test_numbers_stand_at_their_distance_or_that_of_their_magnitudes() -> None:
    assert numbers_axis("l2", [1.0, 2.0, None, 3.0]).places == [0.0, 0.5, None, 1.0]
    assert numbers_axis("l2", [0.01, 0.1, 1.0], is_logarithmic=True).places == pytest.approx([0.0, 0.5, 1.0])
    assert numbers_axis("l2", [0.0, 0.5, 1.0], is_logarithmic=True).places == [0.0, 0.5, 1.0]
    assert numbers_axis("l2", [0.3, 0.3]).places == [0.5, 0.5]
    assert numbers_axis("l2", [0.3, 0.3]).ticks == [(0.5, "0.3")]


def test_words_stand_in_the_order_of_the_choices() -> None:
    axis = words_axis("sampler", ["dns", None, "uniform", "later"], ["uniform", "dns"])
    assert axis.places == pytest.approx([0.5, None, 1 / 6, 5 / 6])
    assert [label for _, label in axis.ticks] == ["uniform", "dns", "later"]


def test_long_words_are_thinned_out_until_they_fit() -> None:
    axis = words_axis("sampler", ["a"], [f"a sampler with a long name {place}" for place in range(6)])
    assert 0 < len(axis.ticks) <= 2


def test_every_trial_is_a_line_with_the_marked_ones_last() -> None:
    axes = [
        numbers_axis("learning_rate", [0.1, 0.2, 0.3]),
        words_axis("item_text", ["yes", None, "no"], ["no", "yes"]),
        numbers_axis("validation NDCG@20", [0.1, 0.3, 0.2]),
    ]
    figure = parallel_coordinates(axes, [1], "Trials of <mf>")
    colours = re.findall(r"fill: none; stroke: var\(--series-(\d)\)", figure)
    assert colours == ["0", "0", "2"]
    assert 'aria-label="Trials of &lt;mf&gt;"' in figure
    for words in ("learning_rate", "item_text", "yes", "0.2", "validation NDCG@20"):
        assert f">{words}</text>" in figure
    assert figure == parallel_coordinates(axes, [1], "Trials of <mf>")
