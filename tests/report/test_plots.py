from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from hnlm_ray.report.plots import SERIES_COLOURS, Curve, Dots, learning_curves, scatter

NAMESPACE = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter(f"{NAMESPACE}text")]


def test_a_chart_takes_its_colours_and_font_from_the_page() -> None:
    svg = learning_curves([Curve(index, [0, 1], [0.1, 0.2]) for index in range(3)], "epoch", "loss", "a chart")
    assert not re.search(r"#[0-9a-fA-F]{6}", svg)
    assert "font-family" not in svg
    assert {f"var(--series-{index})" for index in range(3)} <= set(re.findall(r"var\(--series-\d\)", svg))


def test_a_chart_is_one_scalable_element_that_can_be_read_out() -> None:
    svg = learning_curves([Curve(0, [0, 1], [0.1, 0.2])], "epoch", "loss", 'of "x" & y')
    root = ET.fromstring(svg)
    assert root.tag == f"{NAMESPACE}svg"
    assert root.attrib["aria-label"] == 'of "x" & y'
    assert "viewBox" in root.attrib
    assert "width" not in root.attrib
    assert {"epoch", "loss"} <= set(texts(svg))


def test_equal_input_gives_equal_bytes() -> None:
    charts = [learning_curves([Curve(0, [0, 1], [0.1, 0.2])], "epoch", "loss", "d") for _ in range(2)]
    assert charts[0] == charts[1]


def test_two_charts_share_no_clip_path() -> None:
    one = learning_curves([Curve(0, [0, 1], [0.1, 0.2])], "epoch", "loss", "d")
    two = learning_curves([Curve(0, [0, 1], [0.1, 0.2])], "seconds", "loss", "d")
    ids = [set(re.findall(r'<clipPath id="([^"]+)"', svg)) for svg in (one, two)]
    assert ids[0]
    assert ids[0].isdisjoint(ids[1])


def test_a_fit_of_one_epoch_and_one_without_validation_can_be_drawn() -> None:
    svg = learning_curves([Curve(0, [0], [0.5]), Curve(1, [], [])], "epoch", "loss", "d")
    assert "<use" in svg  # a line of one point is shown as a marker


def test_colours_repeat_with_another_dash() -> None:
    svg = learning_curves([Curve(0, [0, 1], [0, 1]), Curve(SERIES_COLOURS, [0, 1], [1, 0])], "x", "y", "d")
    lines = re.findall(r'style="fill: none; stroke[^"]*var\(--series-0\)[^"]*"', svg)
    assert len(lines) == 2
    assert sum("dasharray" in line for line in lines) == 1


def test_points_that_span_magnitudes_stand_on_a_logarithmic_axis() -> None:
    narrow = scatter([Dots(0, [1.0, 2.0], [0, 1])], "rate", "y", "d")
    wide = scatter([Dots(0, [1e-4, 1e-1], [0, 1])], "rate", "y", "d")
    assert "1.2" in texts(narrow)
    assert [text for text in texts(wide) if text.startswith("0.0") and text != "0.0"] == ["0.0001", "0.001", "0.01"]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1e-8, 3e-5, 1.0], ["1e-08", "1e-06", "0.0001", "0.01", "1"]),
        ([0.0021, 0.03], ["0.005", "0.01", "0.02"]),
        ([0.0031, 0.0042], ["0.0031", "0.0042"]),
        ([0.02], ["0.02"]),
        ([0.0, 1e-4, 1e-2], ["0", "0.0001", "0.001", "0.01"]),
        ([8, 512], ["10", "100"]),
    ],
)
def test_a_logarithmic_axis_has_few_plain_labels(values: list[float], labels: list[str]) -> None:
    svg = scatter([Dots(0, values, [0.5] * len(values))], "rate", "y", "d", is_logarithmic=True)
    found = texts(svg)
    assert found[: found.index("rate")] == labels


def test_integers_have_integer_ticks() -> None:
    for values in ([1], [1, 2], [1, 2, 3], list(range(1, 31))):
        curve = texts(learning_curves([Curve(0, values, [0.5] * len(values))], "trials", "y", "d"))
        dots = texts(scatter([Dots(0, values, [0.5] * len(values))], "trials", "y", "d"))
        for found in (curve, dots):
            ticks = found[: found.index("trials")]
            assert 1 <= len(ticks) <= 7
            assert all(tick.lstrip("\N{MINUS SIGN}").isdigit() for tick in ticks)


def test_a_single_value_has_a_single_tick() -> None:
    for value in (0.123, 3, 1e-7):
        found = texts(scatter([Dots(0, [value] * 3, [0.1, 0.2, 0.3])], "x", "y", "d"))
        assert len(found[: found.index("x")]) == 1


def test_a_logarithmic_axis_needs_numbers_above_zero() -> None:
    for values in ([-1.0, 2.0], [0.0], []):
        assert "<svg" in scatter([Dots(0, values, [0.5] * len(values))], "x", "y", "d", is_logarithmic=True)


@pytest.mark.parametrize("values", [(0.0, 2e-5), (1_234_567.0, 9_876_543.0), (0.1, 0.35), (-3.5, 1e6), (0.001, 0.0014)])
def test_labels_of_a_linear_axis_have_room(values: tuple[float, float]) -> None:
    found = texts(scatter([Dots(0, values, [0.5, 0.6])], "rate", "y", "d", is_logarithmic=False))
    labels = found[: found.index("rate")]
    assert len(labels) >= 2
    assert len(set(labels)) == len(labels)
    assert sum(map(len, labels)) <= 36
    assert all(values[0] <= float(label.replace("\N{MINUS SIGN}", "-")) <= values[1] for label in labels)


def test_words_stand_in_the_given_order_and_slanted_where_they_are_long() -> None:
    group = Dots(0, ["128", "32", "64"], [0.1, 0.2, 0.3])
    found = texts(scatter([group], "dim", "y", "d", words=["32", "64", "128"]))
    assert found[: found.index("dim")] == ["32", "64", "128"]
    words = [f"a rather long option {number}" for number in range(5)]
    slanted = scatter([Dots(0, words, [0.1] * 5)], "kind", "y", "d")
    assert set(words) <= set(texts(slanted))
    assert slanted.count("rotate(-30)") >= 5
    short = scatter([Dots(0, ["a", "b"], [0.1] * 2)], "kind", "y", "d")
    assert "rotate(-30)" not in short


def test_bounds_of_strata_are_broken_where_they_are_long() -> None:
    long = ["1,000\N{EN DASH}123,456"] * 5
    svg = learning_curves([Curve(0, range(5), [0.1] * 5)], "x", "y", "d", long)
    found = " ".join(text.strip() for text in texts(svg))
    assert long[0] not in found
    assert found.count("1,000\N{EN DASH}") == found.count("123,456") == 5


def test_dots_of_another_round_of_colours_have_another_shape() -> None:
    shapes = []
    for series in (0, SERIES_COLOURS, 2 * SERIES_COLOURS):
        svg = scatter([Dots(series, [1.0], [0.5])], "x", "y", "d")
        shapes.append(re.findall(r'PathCollection_1">\s*<defs>\s*<path id="\w+" d="([^"]+)"', svg)[0])
    assert len(set(shapes)) == 3


def test_words_get_places_of_their_own_in_every_group() -> None:
    svg = scatter([Dots(0, ["b", "a"], [0, 1]), Dots(1, ["b", "a $x$ and much more"], [1, 0])], "kind", "y", "d")
    assert {"a", "b", "a $x$ and much more"} <= set(texts(svg))
    places = sorted({float(x) for x in re.findall(r'<use[^>]* x="([\d.]+)"[^>]*style="fill: var\(--series', svg)})
    assert len(places) == 3


def test_a_scatter_without_points_can_be_drawn() -> None:
    assert "<svg" in scatter([Dots(0, [], [])], "x", "y", "d")
