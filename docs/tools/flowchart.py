"""Draw the flowcharts of the pages as SVG, so that the site needs no script for them.

The pages hold them in Mermaid, which code hosts draw by themselves. Here the small part of that language that the pages
use is laid out in layers (Sugiyama et al., 1981): a node stands one layer behind the last of those that lead to it, a
long edge bends through the layers between, and layers are ordered by the mean place of their neighbours.
"""

from __future__ import annotations

import html
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

__all__ = ["Flowchart", "as_svg"]

_NODE = re.compile(r"^([\w/]+)\s*(?:\[\((?P<store>.+)\)\]|\(\[(?P<end>.+)\]\)|\[(?P<box>.+)\])?$")
_CHARACTER, _HEIGHT, _PADDING = 7.3, 30.0, 20.0
"""Pixels: the width of a letter, the height of a node, and what a node is wider than its label."""
_BETWEEN_LAYERS, _BETWEEN_NODES = 46.0, 16.0
_SWEEPS = 24
_SMALLEST = 0.65
"""To what share a drawing shrinks on a narrow screen; beyond that it scrolls sideways."""

_Edge = tuple[str, str]


@dataclass
class Flowchart:
    """What a flowchart says.

    Attributes:
        direction: ``LR``, ``TB`` or ``BT``.
        labels: of the nodes, by their names.
        shapes: ``box``, ``store`` or ``end``, by the same names.
        edges: from one name to another.
    """

    direction: str
    labels: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, str] = field(default_factory=dict)
    edges: list[_Edge] = field(default_factory=list)

    @classmethod
    def read(cls, text: str) -> Flowchart:
        """Read one in Mermaid.

        Raises:
            ValueError: a line is none of those that the pages use.
        """
        first, *lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
        kind, _, direction = first.partition(" ")
        if kind != "flowchart" or direction not in ("LR", "TB", "BT"):
            raise ValueError(f"a flowchart begins with `flowchart LR`, `TB` or `BT`, not with {first!r}")
        chart = cls(direction)
        for line in lines:
            names = [chart._node(part.strip()) for part in line.split("-->")]
            chart.edges += itertools.pairwise(names)
        return chart

    def _node(self, text: str) -> str:
        found = _NODE.match(text)
        if found is None:
            raise ValueError(f"{text!r} is no node of a flowchart")
        name = found[1]
        shape = next((shape for shape, label in found.groupdict().items() if label), "")
        if shape or name not in self.labels:
            self.labels[name], self.shapes[name] = found[shape] if shape else name, shape or "box"
        return name


def as_svg(text: str, title: str) -> str:
    """A flowchart in Mermaid as an SVG element, on lines without a blank one between them.

    Args:
        text: of the flowchart.
        title: what a reader hears who does not see it.

    Raises:
        ValueError: see :meth:`Flowchart.read`.
    """
    chart = Flowchart.read(text)
    layers, edges = _layered(chart)
    upright = chart.direction != "LR"
    size = {name: _PADDING + _CHARACTER * len(label) if label else 8.0 for name, label in chart.labels.items()}
    across = {name: size.get(name, 8.0) if upright else _HEIGHT for layer in layers for name in layer}
    along = [_HEIGHT if upright else max(size.get(name, 8.0) for name in layer) for layer in layers]
    across_at = _aligned(_ordered(layers, edges), edges, across)
    layer_of = {name: number for number, layer in enumerate(layers) for name in layer}
    starts = [sum(along[:number]) + number * _BETWEEN_LAYERS for number in range(len(layers))]
    length, breadth = starts[-1] + along[-1], max(across_at[name] + across[name] / 2 for name in across_at)

    def place(name: str, share: float) -> tuple[float, float]:
        """Where a node is, at a share of the way through it; a long edge passes through the whole layer."""
        layer = layer_of[name]
        depth = along[layer] if upright or name not in size else size[name]
        forward = starts[layer] + along[layer] / 2 + (share - 0.5) * depth
        forward = length - forward if chart.direction == "BT" else forward
        return (across_at[name], forward) if upright else (forward, across_at[name])

    parts = [_path(place(a, 1.0), place(b, 0.0), upright, ends=b in chart.labels) for a, b in edges]
    parts += [_line(place(name, 0.0), place(name, 1.0)) for name in across_at if name not in chart.labels]
    for name, label in chart.labels.items():
        parts.append(_box(place(name, 0.5), size[name], chart.shapes[name], label))
    width, height = (breadth, length) if upright else (length, breadth)
    least = f"min-width: {_SMALLEST * width:.0f}px"
    head = f'<svg viewBox="-2 -2 {width + 4:.0f} {height + 4:.0f}" width="{width + 4:.0f}" style="{least}" role="img"'
    return "\n".join([f'{head} aria-label="{html.escape(title)}">', *parts, "</svg>"])


def _layered(chart: Flowchart) -> tuple[list[list[str]], list[_Edge]]:
    """The names by layer, and edges between neighbouring layers; a number stands where a long edge passes."""
    before: dict[str, set[str]] = {name: set() for name in chart.labels}
    for a, b in chart.edges:
        before[b].add(a)
    depth: dict[str, int] = {}
    for name in TopologicalSorter(before).static_order():
        depth[name] = max((depth[other] + 1 for other in before[name]), default=0)
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name in chart.labels:
        layers[depth[name]].append(name)
    edges: list[_Edge] = []
    for number, (a, b) in enumerate(chart.edges):
        passed = [f"{number}:{layer}" for layer in range(depth[a] + 1, depth[b])]
        for name, layer in zip(passed, range(depth[a] + 1, depth[b]), strict=True):
            layers[layer].append(name)
        way = [a, *passed, b]
        edges += itertools.pairwise(way)
    return layers, edges


def _neighbours(edges: Iterable[_Edge]) -> tuple[Mapping[str, list[str]], Mapping[str, list[str]]]:
    before, after = defaultdict(list), defaultdict(list)
    for a, b in edges:
        after[a].append(b)
        before[b].append(a)
    return before, after


def _ordered(layers: Sequence[list[str]], edges: Sequence[_Edge]) -> list[list[str]]:
    """The layers, each ordered by the mean place of its neighbours in the layer before, then behind, and so on."""
    before, after = _neighbours(edges)
    found = [list(layer) for layer in layers]
    best, fewest = [list(layer) for layer in found], _crossings(found, after)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        near = before if forward else after
        order = range(1, len(found)) if forward else range(len(found) - 2, -1, -1)
        for number in order:
            other = found[number - 1 if forward else number + 1]
            at = {name: place for place, name in enumerate(other)}
            own = {name: place for place, name in enumerate(found[number])}
            mean = {name: _mean([at[one] for one in near[name]], own[name]) for name in found[number]}
            found[number].sort(key=lambda name, mean=mean, own=own: (mean[name], own[name]))  # type: ignore[misc]
        count = _crossings(found, after)
        if count < fewest:
            best, fewest = [list(layer) for layer in found], count
    return best


def _crossings(layers: Sequence[Sequence[str]], after: Mapping[str, list[str]]) -> int:
    total = 0
    for layer, behind in itertools.pairwise(layers):
        at = {name: place for place, name in enumerate(behind)}
        ends = [at[other] for name in layer for other in sorted(after[name], key=at.__getitem__)]
        total += sum(a > b for place, a in enumerate(ends) for b in ends[place + 1 :])
    return total


def _aligned(layers: Sequence[Sequence[str]], edges: Sequence[_Edge], size: Mapping[str, float]) -> dict[str, float]:
    """Where the middle of each node is across its layer: near to its neighbours, without touching the next node."""
    before, after = _neighbours(edges)
    at: dict[str, float] = {}
    for layer in layers:
        at |= _spread(layer, [0.0] * len(layer), size)
    for sweep in range(_SWEEPS):
        for layer in layers if sweep % 2 else reversed(layers):
            at |= _spread(
                layer, [_mean([at[one] for one in before[name] + after[name]], at[name]) for name in layer], size
            )
    least = min(at[name] - size[name] / 2 for name in at)
    return {name: value - least for name, value in at.items()}


def _spread(layer: Sequence[str], wished: Sequence[float], size: Mapping[str, float]) -> dict[str, float]:
    """Places as near to the wished ones as the sizes allow: what is pushed right and what is pushed left, averaged."""
    gaps = [(size[a] + size[b]) / 2 + _BETWEEN_NODES for a, b in itertools.pairwise(layer)]
    right, left = list(wished), list(wished)
    for place, gap in enumerate(gaps):
        right[place + 1] = max(right[place + 1], right[place] + gap)
    for place, gap in reversed([*enumerate(gaps)]):
        left[place] = min(left[place], left[place + 1] - gap)
    return {name: (a + b) / 2 for name, a, b in zip(layer, right, left, strict=True)}


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _path(start: tuple[float, float], end: tuple[float, float], upright: bool, *, ends: bool) -> str:
    (x, y), (to_x, to_y) = start, end
    half = ((to_y - y) if upright else (to_x - x)) / 2
    first, second = ((x, y + half), (to_x, to_y - half)) if upright else ((x + half, y), (to_x - half, to_y))
    curve = f"M{x:.1f} {y:.1f}C{first[0]:.1f} {first[1]:.1f} {second[0]:.1f} {second[1]:.1f} {to_x:.1f} {to_y:.1f}"
    back = 7.0 if half > 0 else -7.0
    wing = f"l-4 {-back:.0f}m4 {back:.0f}l4 {-back:.0f}" if upright else f"l{-back:.0f} -4m{back:.0f} 4l{-back:.0f} 4"
    return f'<path d="{curve}{wing if ends else ""}"/>'


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    return f'<path d="M{start[0]:.1f} {start[1]:.1f}L{end[0]:.1f} {end[1]:.1f}"/>'


def _box(middle: tuple[float, float], width: float, shape: str, label: str) -> str:
    x, y = middle
    radius = {"box": 4, "store": 4, "end": _HEIGHT / 2}[shape]
    box = f'<rect class="{shape}" x="{x - width / 2:.1f}" y="{y - _HEIGHT / 2:.1f}" width="{width:.1f}"'
    text = f'<text x="{x:.1f}" y="{y + 4.5:.1f}">{html.escape(label)}</text>'
    return f'{box} height="{_HEIGHT:.0f}" rx="{radius:.0f}"/>{text}'
