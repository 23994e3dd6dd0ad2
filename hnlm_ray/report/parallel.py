"""Parallel coordinates: one line per trial through its value of every option, down to what it gave.

The axes lie below each other, so that a phone shows as many options as a wide screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hnlm_ray.report.plots import CARD, GRID, INK, MUTED, linear_ticks, logarithmic_ticks, series_colour, short, svg

__all__ = ["Axis", "numbers_axis", "parallel_coordinates", "words_axis"]

_HEIGHT = 0.62
"""Inches from one axis to the next."""


@dataclass(frozen=True)
class Axis:
    """One option, or the figure that trials are compared by.

    Attributes:
        name: stands above the axis.
        places: of each trial, from 0 at the left to 1; None where the trial has no such option.
        ticks: places and labels.
    """

    name: str
    places: Sequence[float | None]
    ticks: Sequence[tuple[float, str]]


def numbers_axis(name: str, values: Sequence[float | None], *, is_logarithmic: bool = False) -> Axis:
    """An axis of numbers, from the least to the largest value.

    Args:
        name: stands above the axis.
        values: of each trial.
        is_logarithmic: whether to space the values by magnitude, as long as all are above 0.
    """
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    is_logarithmic = is_logarithmic and low > 0

    def place(value: float) -> float:
        if low == high:
            return 0.5
        if is_logarithmic:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    ticks = logarithmic_ticks(low, high) if is_logarithmic else linear_ticks(known) if known else []
    shown = [(place(min(max(tick, low), high)), f"{tick:.12g}") for tick in ticks]
    return Axis(name, [None if value is None else place(value) for value in values], shown)


def words_axis(name: str, values: Sequence[str | None], words: Sequence[str]) -> Axis:
    """An axis of choices at even distances.

    Args:
        name: stands above the axis.
        values: of each trial.
        words: the choices in their order; other values come after them, by the alphabet.
    """
    known = sorted({value for value in values if value is not None})
    order = list(dict.fromkeys([*words, *known]))
    places = {word: (at + 0.5) / len(order) for at, word in enumerate(order)}
    every = math.ceil(sum(len(short(word)) + 2 for word in order) / 52) if order else 1
    shown = [(places[word], short(word)) for word in order[::every]]
    return Axis(name, [None if value is None else places[value] for value in values], shown)


def parallel_coordinates(axes: Sequence[Axis], marked: Sequence[int], description: str) -> str:
    """A chart as an ``<svg>`` element, 290 points wide and 45 high for each axis.

    Args:
        axes: with as many places each; the last one's are known of every trial.
        marked: trials that are drawn in colour over the others, best first; the first one is drawn thicker.
        description: text for screen readers.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.0, _HEIGHT * len(axes) + 0.15))
    figure.subplots_adjust(left=0.05, right=0.95, top=1.0, bottom=0.0)
    plot = figure.add_subplot()
    plot.set_axis_off()
    plot.set_xlim(-0.01, 1.01)
    plot.set_ylim(-len(axes) + 0.4, 0.75)
    behind = {"facecolor": CARD, "edgecolor": "none", "alpha": 0.8, "pad": 0.8}  # lines go on behind words
    for row, axis in enumerate(axes):
        plot.axhline(-row, color=GRID, linewidth=1.2, zorder=0)
        plot.text(
            0,
            0.34 - row,
            short(axis.name),
            color=INK,
            fontsize=9,
            fontweight="bold",
            va="center",
            zorder=4,
            bbox=behind,
        )
        for place, label in axis.ticks:
            plot.plot([place, place], [-row - 0.05, -row + 0.05], color=MUTED, linewidth=0.8, zorder=1)
            side = "left" if place < 0.08 else "right" if place > 0.92 else "center"
            plot.text(place, -row - 0.22, label, color=MUTED, fontsize=8, ha=side, va="center", zorder=4, bbox=behind)
    best = {trial: rank for rank, trial in enumerate(marked)}
    for trial in [*(one for one in range(len(axes[-1].places)) if one not in best), *reversed(marked)]:
        points = [(at, -row) for row, axis in enumerate(axes) if (at := axis.places[trial]) is not None]
        colour = series_colour(0) if trial not in best else series_colour(2 if best[trial] == 0 else 1)
        width, alpha = (0.9, 0.55) if trial not in best else (2.4 if best[trial] == 0 else 1.4, 0.95)
        x, y = zip(*points, strict=True)
        plot.plot(x, y, color=colour, linewidth=width, alpha=alpha, marker="o", markersize=2.2, zorder=2)
    return svg(figure, description, description)
