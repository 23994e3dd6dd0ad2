from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from hnlm_ray.report.plots import SERIES_COLOURS, Curve, Dots, horizontal_bars, learning_curves, scatter

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


def test_bars_show_their_share_and_only_one_is_highlighted() -> None:
    svg = horizontal_bars(["uniform", "language model", "dns-8"], [0.25, 0.031, 0.5], "language model", "d")
    assert {"25.0%", "3.1%", "50.0%", "uniform", "language model", "dns-8"} <= set(texts(svg))
    assert svg.count("var(--series-1)") == 1
    assert svg.count("var(--series-0)") == 2


def test_bars_of_nothing_can_be_drawn() -> None:
    assert "0.0%" in texts(horizontal_bars(["uniform"], [0.0], "", "d"))


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


def test_a_logarithmic_axis_needs_numbers_above_zero() -> None:
    for values in ([-1.0, 2.0], [0.0], []):
        assert "<svg" in scatter([Dots(0, values, [0.5] * len(values))], "x", "y", "d", is_logarithmic=True)


def test_words_get_places_of_their_own_in_every_group() -> None:
    svg = scatter([Dots(0, ["b", "a"], [0, 1]), Dots(1, ["b", "a $x$ and much more"], [1, 0])], "kind", "y", "d")
    assert {"a", "b", "a $x$ and much mo…"} <= set(texts(svg))
    places = sorted({float(x) for x in re.findall(r'<use[^>]* x="([\d.]+)"[^>]*style="fill: var\(--series', svg)})
    assert len(places) == 3


def test_a_scatter_without_points_can_be_drawn() -> None:
    assert "<svg" in scatter([Dots(0, [], [])], "x", "y", "d")
