"""The pages in a real browser, as full as they get, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import NEEDS_BROWSER, Browser, browsing, problems, set_scheme, set_width
from tests.report.crowded import NAMES, PAGES

pytestmark = NEEDS_BROWSER

DESK, PHONE = 1280, 390

LUMINANCE = """
    const shown = (node, name) => getComputedStyle(node).getPropertyValue(name).match(/[\\d.]+/g).map(Number);
    const light = (colour) => colour.slice(0, 3).reduce((sum, part, place) => {
        const share = part / 255, weight = [0.2126, 0.7152, 0.0722][place];
        return sum + weight * (share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4);
    }, 0);
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Address of each page."""
    folder = tmp_path_factory.mktemp("pages")
    for name, page in PAGES.items():
        (folder / f"{name}.html").write_text(page(), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in PAGES}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def opened(browser: Browser, url: str, width: int) -> Browser:
    """The browser with a page at some width, with everything unfolded."""
    set_width(browser, width)
    browser.get(url)
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    return browser


@pytest.mark.parametrize("width", [DESK, 768, PHONE])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_window(browser: Browser, pages: dict[str, str], name: str, width: int) -> None:
    opened(browser, pages[name], width)
    wide, inner = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert inner == width
    assert wide <= inner
    cut = browser.execute_script("""
        const isHeld = (node) => node.closest(".scroll, svg");
        return [...document.querySelectorAll("main *")]
          .filter((node) => !isHeld(node) && node.getBoundingClientRect().right > innerWidth)
          .map((node) => node.outerHTML.slice(0, 100));
    """)
    assert cut == []


@pytest.mark.parametrize("name", PAGES)
def test_on_a_desk_every_table_is_seen_whole(browser: Browser, pages: dict[str, str], name: str) -> None:
    opened(browser, pages[name], DESK)
    cut = browser.execute_script("""
        return [...document.querySelectorAll(".scroll")].filter((one) => one.scrollWidth > one.clientWidth)
          .map((one) => [one.textContent.trim().slice(0, 40), one.scrollWidth, one.clientWidth]);
    """)
    assert cut == []


@pytest.mark.parametrize("name", PAGES)
def test_on_a_phone_names_leave_most_of_a_table_to_the_figures(
    browser: Browser, pages: dict[str, str], name: str
) -> None:
    opened(browser, pages[name], PHONE)
    shares = browser.execute_script("""
        return [...document.querySelectorAll(".scroll tbody th")]
          .map((one) => one.getBoundingClientRect().width / one.closest(".scroll").clientWidth);
    """)
    assert len(shares) >= len(NAMES)
    assert max(shares) < 0.5


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_bars_have_room_and_their_lengths_are_the_rates(browser: Browser, pages: dict[str, str], width: int) -> None:
    opened(browser, pages["report"], width)
    bars = browser.execute_script("""
        return [...document.querySelectorAll(".bars li")].map((one) => {
          const bar = one.querySelector("b").getBoundingClientRect();
          const name = one.querySelector(".name").getBoundingClientRect();
          const rate = parseFloat(one.querySelectorAll("span")[2].textContent);
          return [bar.width, rate, name.bottom, bar.top, name.right, bar.left];
        });
    """)
    assert len(bars) == len(NAMES)
    assert bars[0][0] > 200
    for length, rate, bottom, top, right, left in bars:
        assert length == pytest.approx(bars[0][0] * rate / bars[0][1], rel=0.02)
        assert right <= left or bottom <= top  # beside its name, or below it


@pytest.mark.parametrize("name", PAGES)
def test_labels_below_a_chart_do_not_overlap(browser: Browser, pages: dict[str, str], name: str) -> None:
    opened(browser, pages[name], DESK)
    overlapping = browser.execute_script("""
        const found = [];
        for (const axis of document.querySelectorAll('figure [id="matplotlib.axis_1"]')) {
          const ticks = [...axis.querySelectorAll('[id^="xtick_"]')];
          // A slanted label overlaps with the box of its neighbour and not with the label itself.
          const isLevel = (one) => !/rotate\\(-[1-9]/.test(one.innerHTML);
          const level = ticks.filter(isLevel).map((one) => one.getBoundingClientRect());
          level.slice(1).forEach((one, place) => {
            if (one.left < level[place].right) found.push(axis.textContent.replace(/\\s+/g, " "));
          });
        }
        return found;
    """)
    assert overlapping == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_text_stands_out_in_light_and_dark(browser: Browser, pages: dict[str, str], name: str, scheme: str) -> None:
    set_scheme(browser, scheme)
    opened(browser, pages[name], DESK)
    page, contrasts = browser.execute_script(
        LUMINANCE
        + """
        const behind = (node) => {
          for (let one = node; one; one = one.parentElement) {
            const colour = shown(one, "background-color");
            if (colour.length === 3 || colour[3] === 1) return light(colour);
          }
        };
        const texts = "h1, h2, p, td, th, small, li, dt, dd, summary, caption, .chip";
        const found = [...document.querySelectorAll(texts)].map((node) => {
          const [a, b] = [light(shown(node, "color")), behind(node)];
          return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.outerHTML.slice(0, 80)];
        });
        return [behind(document.body), found];
    """
    )
    assert (page < 0.05) == (scheme == "dark")
    assert min(contrasts)[0] >= 4.5, min(contrasts)
    set_scheme(browser, "light")


@pytest.mark.parametrize("name", PAGES)
def test_the_browser_has_no_complaint(browser: Browser, pages: dict[str, str], name: str, tmp_path: Path) -> None:
    problems(browser)
    opened(browser, pages[name], DESK)
    assert problems(browser) == []
