"""Draws charts as inline SVG that takes its colours and font from the page.

Matplotlib draws with placeholder colours, which are then replaced by CSS variables, so that one figure suits the light
and the dark page. Text of users or models is not drawn.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "CARD",
    "GRID",
    "INK",
    "MUTED",
    "SERIES_COLOURS",
    "Curve",
    "Dots",
    "learning_curves",
    "linear_ticks",
    "logarithmic_ticks",
    "scatter",
    "series_colour",
    "short",
    "svg",
]

SERIES_COLOURS = 6
"""The page defines ``--series-0`` (the baseline) to ``--series-5``."""

_DASHES, _MARKERS = ("-", "--", ":"), ("o", "s", "^")
"""Of each round of colours; the legend of the pages draws the same."""

_ROOM = 42
"""Characters that fit below a chart."""

# Placeholders that the page's own colours take the place of.
INK, MUTED, GRID, CARD = "#00aa01", "#00aa02", "#00aa03", "#00aa04"
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    CARD: "var(--card)",
    **{f"#00bb0{index}": f"var(--series-{index})" for index in range(SERIES_COLOURS)},
}


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Attributes:
        series: number of the variant; after :data:`SERIES_COLOURS` colours repeat with another dash and another dot.
        x: positions.
        y: as many values.
    """

    series: int
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Dots:
    """The points of one variant in a scatter chart.

    Attributes:
        series: as in :class:`Curve`.
        x: positions; or words, each of which gets a position.
        y: as many values.
        label: text beside each point.
    """

    series: int
    x: Sequence[float | str]
    y: Sequence[float]
    label: str = ""


def learning_curves(
    curves: Sequence[Curve], x_label: str, y_label: str, description: str, ticks: Sequence[str] = ()
) -> str:
    """A line chart as an ``<svg>`` element, 290 by 200 points.

    Args:
        curves: the lines.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis.
        description: text for screen readers.
        ticks: labels of the positions 0, 1, ... if these are not numbers.
    """
    figure, axes = _grid(x_label, y_label)
    for curve in curves:
        colour, dash, dot = _look(curve.series)
        marker = dot if ticks or len(curve.x) == 1 else ""
        axes.plot(curve.x, curve.y, color=colour, linestyle=dash, linewidth=1.8, marker=marker, markersize=4.5)
    axes.margins(x=0.05 if ticks else 0.01)
    if ticks:
        broken = [tick.replace("\N{EN DASH}", "\N{EN DASH}\n") for tick in ticks]
        axes.set_xticks(range(len(ticks)), ticks if _fit(ticks) else broken)
    else:
        _set_ticks(axes, [x for curve in curves for x in curve.x])
    return svg(figure, f"{x_label} {y_label}", description)


def scatter(
    groups: Sequence[Dots],
    x_label: str,
    y_label: str,
    description: str,
    *,
    is_logarithmic: bool | None = None,
    words: Sequence[str] = (),
) -> str:
    """A scatter chart as an ``<svg>`` element.

    Args:
        groups: the points.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis.
        description: text for screen readers.
        is_logarithmic: draw positions on a logarithmic axis if they are numbers of 0 or more; None for those above 0
            that span magnitudes.
        words: the positions in their order, where these are words; others come after them, by the alphabet.
    """
    figure, axes = _grid(x_label, y_label)
    values = [x for group in groups for x in group.x]
    numbers = [x for x in values if not isinstance(x, str)]
    places: dict[str, int] = {}
    if len(numbers) < len(values):
        order = dict.fromkeys([*words, *sorted(set(map(str, values)))])
        places = {word: place for place, word in enumerate(order)}
        _set_words(axes, list(places))
    for group in groups:
        colour, _, marker = _look(group.series)
        x = [places[str(value)] if places else value for value in group.x]
        axes.scatter(x, group.y, color=colour, marker=marker, s=22, alpha=0.85, linewidths=0)
        for point in zip(x, group.y, strict=True) if group.label else ():
            axes.annotate(short(group.label), point, (4, 3), textcoords="offset points", color=MUTED, fontsize=8.5)
    if not places:
        spans = bool(numbers) and 0 < 20 * min(numbers) < max(numbers)
        _set_ticks(axes, numbers, is_logarithmic=spans if is_logarithmic is None else is_logarithmic)
    return svg(figure, f"{x_label} {y_label}", description)


def _set_words(axes: Axes, words: Sequence[str]) -> None:
    """Words below the horizontal axis, slanted where they do not fit beside each other."""
    labels, every = [short(word) for word in words], math.ceil(len(words) / 24)
    slant = 0 if _fit(labels) else 30 if len(words) <= 8 else 60
    axes.set_xticks(range(0, len(words), every), labels[::every], rotation=slant, ha="right" if slant else "center")
    axes.set_xlim(-0.5, len(words) - 0.5)


def _set_ticks(axes: Axes, values: Sequence[float], *, is_logarithmic: bool = False) -> None:
    """Few ticks on the horizontal axis, with plain labels: whole numbers where all values are integers."""
    from matplotlib.ticker import FormatStrFormatter, NullLocator

    positive = [value for value in values if value > 0]
    if not is_logarithmic or not positive or min(values) < 0:
        if values:
            axes.set_xticks(linear_ticks(values))
            axes.xaxis.set_major_formatter(FormatStrFormatter("%.12g"))
        return
    ticks = logarithmic_ticks(min(positive), max(positive))
    if min(values) == 0:  # has no logarithm: a stretch of linear axis leads to it
        axes.set_xscale("symlog", linthresh=min(positive))
        ticks = [0.0, *ticks]
    else:
        axes.set_xscale("log")
    axes.set_xticks(ticks)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))


def linear_ticks(values: Sequence[float]) -> list[float]:
    """Round ticks among the values, as many as have room for their labels, up to seven."""
    from matplotlib.ticker import MaxNLocator

    low, high = min(values), max(values)
    if low == high:  # a locator would split what rounding leaves between the two
        return [low]
    are_whole = all(isinstance(value, int) for value in values)
    for count in range(6, 0, -1):
        locator = MaxNLocator(count, steps=[1, 2, 5, 10], integer=are_whole, min_n_ticks=1)
        found = [float(tick) for tick in locator.tick_values(low, high)]
        reach = 1e-9 * max(abs(low), abs(high))
        ticks = [tick for tick in found if low - reach <= tick <= high + reach]
        if ticks and _fit([f"{tick:.12g}" for tick in ticks]):
            return ticks
    return [low]


def _fit(labels: Sequence[str]) -> bool:
    """Whether labels at even distances fit beside each other below a chart."""
    room = _ROOM / max(len(labels), 1)
    return all((len(one) + len(other)) / 2 + 1.5 <= room for one, other in itertools.pairwise(labels))


def logarithmic_ticks(low: float, high: float) -> list[float]:
    """Two to five ticks from ``low`` to ``high``: powers of ten, or beside them their multiples by 2 and 5."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        ticks = [tick for tick in ticks if low <= tick * (1 + 1e-9) and tick <= high * (1 + 1e-9)]
        if len(ticks) > 1:
            return ticks[:: math.ceil(len(ticks) / 5)]
    return sorted({low, high})


def short(word: str) -> str:
    """A shortened label; a dollar sign is escaped, since it would start a formula."""
    return (word if len(word) <= 28 else f"{word[:27]}\N{HORIZONTAL ELLIPSIS}").replace("$", r"\$")


def series_colour(series: int) -> str:
    """The placeholder for the colour of a series."""
    return f"#00bb0{series % SERIES_COLOURS}"


def _look(series: int) -> tuple[str, str, str]:
    """Colour, dash and dot of a series."""
    rounds = series // SERIES_COLOURS % len(_DASHES)
    return series_colour(series), _DASHES[rounds], _MARKERS[rounds]


def _grid(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """An empty chart over horizontal lines, with its vertical axis named in the title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.0, 2.8), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(which="both", colors=MUTED, labelsize=8.5, length=0)
    axes.set_xlabel(x_label, color=MUTED)
    axes.set_title(y_label, color=INK, loc="left", fontsize=10, fontweight="bold")
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    return figure, axes


def svg(figure: Figure, salt: str, description: str) -> str:
    """The figure without prologue, size and date, so that the same input gives the same bytes."""
    import matplotlib as mpl
    from markupsafe import escape

    # Text stays text and so takes the page's font; the salt keeps the ids of two figures apart.
    buffer = StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r"font-family:[^;\"]*;?", "", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1).strip()
