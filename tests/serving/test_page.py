"""The web page in a real browser, over the real application and two small bundles."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.config.serving import ServiceOptions
from hnlm_ray.serving.bundle.info import BundleAbout
from hnlm_ray.serving.bundle.writing import Extras, write_bundle
from hnlm_ray.serving.http.web import web_app
from hnlm_ray.serving.recommend.live import Live
from hnlm_ray.tables import ITEM_PROFILES, ITEMS, USER_PROFILES, WRITTEN_NEGATIVES
from tests.browser import NEEDS_BROWSER, Browser, browsing, problems, set_scheme, set_width
from tests.serving.conftest import make_contents

# isort: split
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

pytestmark = NEEDS_BROWSER

EVIL = """<img src=x onerror="document.title='owned'">"""
EVIL_ID, EVIL_ROW = "i5", 5
N_USERS, N_ITEMS = 30, 60
USER, OTHER = "u3", "u4"


def _write(path: Path, variant: str, item_vectors: np.ndarray) -> str:
    """Users like what is near to their vector; item 5 is titled like an attack, met by ``u3``, and the most popular."""
    rng = np.random.default_rng(11)
    seen = [rng.choice(np.arange(6, N_ITEMS), size=12, replace=False).tolist() for _ in range(N_USERS)]
    seen[3].append(EVIL_ROW)
    popularity = np.arange(N_ITEMS, 0, -1).astype(np.int64)
    popularity[EVIL_ROW] = 1000
    contents = make_contents(rng.normal(size=(N_USERS, 8)), item_vectors, seen, popularity)
    rows = contents.items.to_pylist()
    rows[EVIL_ROW] |= {"title": EVIL, "brand": EVIL, "description": EVIL}
    for row in rows:
        row["categories"] = ["Things", "Even" if row["item"] % 2 == 0 else "Odd"]
    contents = dataclasses.replace(contents, items=pa.Table.from_pylist(rows, schema=ITEMS))
    about = BundleAbout(data="toy", variant=variant, seed=0, config={}, metrics={}, code_version="0")
    write_bundle(str(path), contents, about, extras=_extras())
    return str(path)


def _extras() -> Extras:
    ok = {
        "reasoning": "",
        "status": "ok",
        "reason": "",
        "excerpt": "",
        "attempts": 1,
        "prompt_tokens": 1,
        "output_tokens": 1,
    }
    users = [{"user": row, "summary": f"Enjoys <b>thing</b> {row}.", **ok} for row in range(N_USERS)]
    items = [{"item": row, "summary": f"For people of kind {row}.", **ok} for row in range(N_ITEMS)]
    negatives = [
        {"user": 3, "item": 7, "answer": "Nearly <i>Item 8</i>", "reasoning": "Too loud.", "status": "matched",
         "negative": 8},
        {"user": 3, "item": 9, "answer": "Nothing at all", "reasoning": "", "status": "out_of_catalogue",
         "negative": None},
    ]  # fmt: skip
    return Extras(
        user_profiles=pa.Table.from_pylist(users, schema=USER_PROFILES),
        item_profiles=pa.Table.from_pylist(items, schema=ITEM_PROFILES),
        negatives=pa.Table.from_pylist(negatives, schema=WRITTEN_NEGATIVES),
    )


@contextlib.contextmanager
def _serving(app: Any) -> Iterator[str]:
    """The address of the application on a free port of this machine."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=20)


@pytest.fixture(scope="module")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(N_ITEMS, 8))
    folder = tmp_path_factory.mktemp("bundles")
    path_a = _write(folder / "a", "uniform", vectors)
    path_b = _write(folder / "b", "hnlm", vectors + 0.5 * rng.normal(size=vectors.shape))
    with _serving(web_app(Live.of({"uniform": path_a, "hnlm": path_b}), ServiceOptions())) as url:
        yield url


@pytest.fixture(scope="module")
def one_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser) -> Browser:
    """The browser on an empty page, as wide as a desk's, with nothing in its log."""
    set_width(one_browser, 1440)
    one_browser.get("about:blank")  # an address that differs in its fragment alone would not load the page again
    one_browser.get_log("browser")
    return one_browser


def _until(browser: Browser, is_so: Callable[[], Any]) -> Any:
    return WebDriverWait(browser, 30, poll_frequency=0.05).until(lambda _: is_so())


def _find(browser: Browser, selector: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, selector)


def _text(browser: Browser, selector: str) -> str:
    """What stands in the page there, whether scrolled into view or not; nothing where nothing is."""
    script = "return document.querySelector(arguments[0])?.textContent ?? ''"
    return str(browser.execute_script(script, selector))


def _lists(browser: Browser, within: str = ".results") -> list[list[str]]:
    """Ids of the items of both columns, once they have arrived."""
    script = """
        const sides = [...document.querySelectorAll(`${arguments[0]} .side`)];
        if (!sides.length || sides.some((side) => side.querySelector("[aria-busy]"))) return null;
        return sides.map((side) => [...side.querySelectorAll("button[data-item]")].map((one) => one.dataset.item));
    """
    return list(_until(browser, lambda: browser.execute_script(script, within)))


def _open(browser: Browser, url: str, fragment: str = "") -> None:
    browser.get(f"{url}/{fragment}")
    _until(browser, lambda: _text(browser, "#data"))


def _ask(url: str, route: str, bundle: str, body: dict[str, Any]) -> Any:
    answer = httpx.post(f"{url}{route}", params={"bundle": bundle}, json=body, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _expected(url: str, route: str, body: dict[str, Any]) -> list[list[str]]:
    answers = [_ask(url, route, bundle, body) for bundle in ("uniform", "hnlm")]
    return [[item["item_id"] for item in answer["items"]] for answer in answers]


@contextlib.contextmanager
def _replaced_fetch(browser: Browser, script: str) -> Iterator[None]:
    """Pages opened meanwhile call ``script``, an expression of the browser's own ``real``, instead of ``fetch``."""
    source = f"{{ const real = window.fetch.bind(window); window.fetch = {script}; }}"
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    yield
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_the_page_loads_and_works_without_a_complaint_of_the_browser(browser: Browser, page_server: str) -> None:
    _open(browser, page_server)
    _open(browser, page_server, f"#user={USER}")
    assert all(_lists(browser))
    assert problems(browser) == []  # a breach of the policy would be among them


def test_a_typed_user_shows_history_profile_and_the_lists_of_the_api(browser: Browser, page_server: str) -> None:
    _open(browser, page_server)
    _find(browser, "#user").send_keys(USER, Keys.ENTER)
    expected = _expected(page_server, "/v1/recommend", {"user_id": USER, "k": 10})
    assert _lists(browser) == expected
    assert [len(one) for one in expected] == [10, 10]
    assert expected[0] != expected[1]
    assert _text(browser, "#person blockquote") == "Enjoys <b>thing</b> 3."
    known = httpx.get(f"{page_server}/v1/users/{USER}", params={"bundle": "uniform"}, trust_env=False).json()
    shown = browser.execute_script("return [...document.querySelectorAll('#history [data-item]')].length")
    assert shown == 8
    _find(browser, "#history .link").click()
    titles = browser.execute_script(
        "return [...document.querySelectorAll('#history li')].map((one) => one.textContent)"
    )
    assert titles == [item["title"] for item in known["history"]]
    assert "13 interactions" in _text(browser, "#person")
    assert browser.current_url.endswith(f"#user={USER}")


def test_each_column_names_its_source_and_the_version_that_answered(browser: Browser, page_server: str) -> None:
    _open(browser, page_server, f"#user={USER}")
    _lists(browser)
    bundles = httpx.get(f"{page_server}/v1/bundles", trust_env=False).json()["bundles"]
    metas = browser.execute_script("return [...document.querySelectorAll('.results .meta')].map((m) => m.textContent)")
    for meta, bundle in zip(metas, bundles, strict=True):
        assert "personal" in meta
        assert bundle["version"] in meta


def test_suggestions_are_chosen_by_keyboard(browser: Browser, page_server: str) -> None:
    _open(browser, page_server)
    field = _find(browser, "#user")
    field.send_keys("u2")
    options = "return [...document.querySelectorAll('#user-options li')].map((one) => one.textContent)"
    found = _until(browser, lambda: browser.execute_script(options))
    assert found[:2] == ["u2", "u20"]
    field.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert field.get_attribute("aria-activedescendant") == "user-options-1"
    assert _find(browser, "#user-options-1").get_attribute("aria-selected") == "true"
    field.send_keys(Keys.ENTER)
    _until(browser, lambda: _text(browser, "#person h2") == "u20")
    assert field.get_attribute("aria-expanded") == "false"


def test_back_and_forward_walk_through_users_and_items(browser: Browser, page_server: str) -> None:
    _open(browser, page_server, f"#user={USER}")
    first = _lists(browser)
    _find(browser, "#user").click()  # selects what is there
    _find(browser, "#user").send_keys(OTHER, Keys.ENTER)
    _until(browser, lambda: _text(browser, "#person h2") == OTHER)
    _lists(browser)
    _find(browser, ".results [data-item]").click()
    _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#sheet[open]"))
    browser.back()
    _until(browser, lambda: not browser.find_elements(By.CSS_SELECTOR, "#sheet[open]"))
    assert _text(browser, "#person h2") == OTHER
    browser.back()
    _until(browser, lambda: _text(browser, "#person h2") == USER)
    assert _lists(browser) == first
    assert _find(browser, "#user").get_attribute("value") == USER
    browser.forward()
    _until(browser, lambda: _text(browser, "#person h2") == OTHER)


def test_marks_say_which_items_are_in_one_list_and_how_the_others_moved(browser: Browser, page_server: str) -> None:
    _open(browser, page_server, f"#user={USER}&k=20")
    left, right = _lists(browser)
    marks = browser.execute_script(
        "return [...document.querySelectorAll('.results .side')]"
        ".map((side) => [...side.querySelectorAll('.mark')].map((one) => one.textContent))"
    )
    for own, other, name, shown in ((left, right, "hnlm", marks[0]), (right, left, "uniform", marks[1])):
        for place, (item, words) in enumerate(zip(own, shown, strict=True)):
            if item not in other:
                assert words == "only here"
                continue
            shift = other.index(item) - place
            told = f"{abs(shift)} {'higher' if shift > 0 else 'lower'} than in {name}" if shift else f"as in {name}"
            assert words.endswith(told)
    assert len(browser.find_elements(By.CSS_SELECTOR, ".results path")) == len(set(left) & set(right))


def test_the_knobs_change_what_is_asked_and_stay_in_the_address(browser: Browser, page_server: str) -> None:
    _open(browser, page_server, f"#user={USER}")
    _lists(browser)
    field = _find(browser, "#k")
    field.clear()
    field.send_keys("7", Keys.TAB)
    category = _find(browser, "#category")
    category.send_keys("eve")
    _until(browser, lambda: _text(browser, "#category-options-0") == "Even")
    category.send_keys(Keys.ARROW_DOWN, Keys.ENTER)
    _find(browser, "#unseen").click()
    _find(browser, "#diversity").send_keys(*[Keys.ARROW_RIGHT] * 6)
    _find(browser, "#penalty").send_keys(*[Keys.ARROW_RIGHT] * 5)
    options = {"k": 7, "categories": ["Even"], "exclude_seen": False, "diversity": 0.3, "popularity_penalty": 0.5}
    expected = _expected(page_server, "/v1/recommend", {"user_id": USER, **options})
    _until(browser, lambda: _lists(browser) == expected)
    address = browser.current_url
    browser.get("about:blank")
    browser.get(address)
    _until(browser, lambda: _lists(browser) == expected)


def test_choosing_the_bundle_of_the_other_column_swaps_them(browser: Browser, page_server: str) -> None:
    _open(browser, page_server, f"#user={USER}")
    left, right = _lists(browser)
    _find(browser, ".results select").send_keys("hnlm")
    _until(browser, lambda: _lists(browser) == [right, left])


def test_a_click_on_an_item_shows_similar_items_and_the_explanation(browser: Browser, page_server: str) -> None:
    _open(browser, page_server, f"#user={USER}")
    item = _lists(browser)[0][0]
    _find(browser, ".results [data-item]").click()
    assert _lists(browser, "#sheet") == _expected(page_server, "/v1/similar-items", {"item_id": item, "k": 8})
    told = [_ask(page_server, "/v1/explain", name, {"user_id": USER, "item_id": item}) for name in ("uniform", "hnlm")]
    _until(browser, lambda: _text(browser, "#sheet .negatives"))
    near = browser.execute_script(
        "return [...document.querySelectorAll('#sheet .because')]"
        ".map((list) => [...list.querySelectorAll('[data-item]')].map((one) => one.dataset.item))"
    )
    assert near == [[one["item_id"] for one in answer["because"]] for answer in told]
    why = _text(browser, "#sheet .columns")
    for answer in told:
        assert f"rank {answer['rank']} " in why
        assert f"{answer['because'][0]['similarity']:.2f}" in why
    negatives = _text(browser, "#sheet .negatives")
    assert "Nearly <i>Item 8</i>" in negatives
    assert "Too loud." in negatives
    assert "Matched to nothing" in negatives
    for answer in told:
        rank = answer["negatives"][0]["rank"]
        assert ("in their history" if rank is None else f"{rank} of {N_ITEMS}") in negatives
    assert negatives.count("Too loud.") == 1  # both bundles carry it


def test_escape_closes_the_item_and_gives_the_focus_back(browser: Browser, page_server: str) -> None:
    _open(browser, page_server, f"#user={USER}")
    item = _lists(browser)[0][0]
    _find(browser, ".results [data-item]").send_keys(Keys.ENTER)
    _lists(browser, "#sheet")
    assert f"item={item}" in browser.current_url
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    _until(browser, lambda: browser.current_url.endswith(f"#user={USER}"))
    assert browser.switch_to.active_element.get_attribute("data-item") == item


def test_a_new_visitor_is_answered_from_the_items_they_like(browser: Browser, page_server: str) -> None:
    _open(browser, page_server, "#view=new")
    field = _find(browser, "#item")
    for title in ("Item 20", "Item 21"):
        field.send_keys(title)
        _until(browser, lambda words=title: _text(browser, "#item-options li") == words)
        field.send_keys(Keys.ENTER)
    expected = _expected(page_server, "/v1/fold-in", {"item_ids": ["i20", "i21"], "k": 10})
    _until(browser, lambda: _lists(browser) == expected)
    assert "folded in" in _text(browser, ".results .meta")
    address = browser.current_url
    browser.get("about:blank")
    browser.get(address)
    _until(browser, lambda: _text(browser, "#likes") == "Item 20Item 21")
    _find(browser, "#likes button").click()
    _until(browser, lambda: _lists(browser) == _expected(page_server, "/v1/fold-in", {"item_ids": ["i21"], "k": 10}))


def test_a_bundle_without_a_text_encoder_is_not_asked_about_a_text(browser: Browser, page_server: str) -> None:
    _open(browser, page_server, "#view=new&by=text")
    _find(browser, "#text").send_keys("Enjoys things.", Keys.CONTROL, Keys.ENTER)
    assert _lists(browser) == [[], []]
    assert "no text encoder" in _text(browser, ".results .side")
    assert problems(browser) == []  # a refused request would be among them


def test_an_unknown_user_gets_what_is_popular_and_no_error(browser: Browser, page_server: str) -> None:
    _open(browser, page_server)
    _find(browser, "#user").send_keys("nobody at all", Keys.ENTER)
    assert _lists(browser) == _expected(page_server, "/v1/recommend", {"user_id": "nobody at all", "k": 10})
    _until(browser, lambda: "Nothing is known about this user" in _text(browser, "#person"))
    assert _find(browser, ".results .source").get_attribute("data-source") == "popular"
    assert browser.find_elements(By.CSS_SELECTOR, ".note") == []


def test_a_title_that_looks_like_markup_is_shown_and_not_interpreted(browser: Browser, page_server: str) -> None:
    for fragment in (f"#user={USER}&item={EVIL_ID}", "#user=nobody", f"#view=new&like={EVIL_ID}"):
        browser.get("about:blank")
        _open(browser, page_server, fragment)
        _lists(browser)
        _until(browser, lambda: EVIL in _text(browser, "body"))
        time.sleep(0.2)  # an image that fails to load says so a moment later
        assert browser.title.endswith("hnlm_ray")
        assert browser.execute_script("return document.querySelectorAll('img, b, i:not(.meter i)').length") == 0


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize(
    "fragment",
    ["", f"#user={USER}&k=30", f"#user={USER}&item={EVIL_ID}", "#view=new&like=i5&like=i6", "#view=new&by=text"],
    ids=["start", "user", "item", "visitor", "text"],
)
def test_nothing_is_wider_than_the_window(browser: Browser, page_server: str, width: int, fragment: str) -> None:
    set_width(browser, width)
    _open(browser, page_server, fragment)
    if "user" in fragment or "like" in fragment:
        _lists(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.execute_script("return document.querySelector('#sheet').scrollWidth <= innerWidth")


LONG_USER, LONG_WORD = f"user-{'x' * 240}", "Unbreakable" * 20
LONG_BUNDLES = ("lightgcn_semantic_mixing_variant_00_abcde", "lightgcn_semantic_mixing_variant_01_abcde")


@pytest.fixture(scope="module")
def crowded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two bundles with names of 40 characters, ids and titles that nothing breaks, and scores of all sizes."""
    rng, folder = np.random.default_rng(3), tmp_path_factory.mktemp("crowded")
    seen = [rng.choice(N_ITEMS, size=20, replace=False).tolist() for _ in range(N_USERS)]
    paths = {}
    for number, name in enumerate(LONG_BUNDLES):
        vectors = rng.normal(size=(N_ITEMS, 8)) * 10.0**number
        titles = [f"{LONG_WORD}{item}" for item in range(N_ITEMS)]
        kinds = [[LONG_WORD] for _ in range(N_ITEMS)]
        contents = make_contents(rng.normal(size=(N_USERS, 8)) * 1234.5, vectors, seen, titles=titles, categories=kinds)
        users = contents.users.to_pylist()
        users[3]["user_id"] = LONG_USER
        contents = dataclasses.replace(contents, users=pa.Table.from_pylist(users, schema=contents.users.schema))
        about = BundleAbout(data=LONG_WORD, variant=name, seed=0, config={}, metrics={}, code_version="0")
        write_bundle(str(folder / name), contents, about, extras=_extras())
        paths[name] = str(folder / name)
    with _serving(web_app(Live.of(paths), ServiceOptions())) as url:
        yield url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(
    "fragment", [f"#user={LONG_USER}&k=30", f"#user={LONG_USER}&item=i5", "#view=new&like=i5&like=i6"]
)
def test_long_names_leave_the_page_as_wide_as_the_window(
    browser: Browser, crowded_server: str, width: int, fragment: str, scheme: str
) -> None:
    set_scheme(browser, scheme)
    set_width(browser, width)
    _open(browser, crowded_server, fragment)
    _lists(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    cut = browser.execute_script("""
        return [...document.querySelectorAll("main *, .top *")].filter((one) => !one.closest("svg, .sr, #sheet"))
          .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
          .map((one) => one.outerHTML.slice(0, 120));
    """)
    assert cut == []
    set_scheme(browser, "light")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (7, "7"), (-0.5, "-0.500"), (1.23456789, "1.235"), (-99.9999, "-100.000"), (999.99, "1000.0"),
     (1234.5678, "1,235"), (123456.7, "123,457"), (12345678.9, "12.3M"), (0.00012345, "1.2e-4"),],
)  # fmt: skip
def test_a_score_of_any_size_is_short(browser: Browser, value: float, shown: str) -> None:
    script = files("hnlm_ray.serving.http").joinpath("page", "elements.js").read_text()
    found = browser.execute_script(f"{script}\nreturn score(arguments[0]);", value)
    assert found == shown


def test_scores_are_rounded_and_fit(browser: Browser, crowded_server: str) -> None:
    _open(browser, crowded_server, f"#user={LONG_USER}&k=30")
    _lists(browser)
    scores = browser.execute_script("""
        return [...document.querySelectorAll(".results .score")]
          .map((one) => [one.textContent, one.scrollWidth <= one.clientWidth]);
    """)
    assert len(scores) == 60
    assert all(re.fullmatch(r"[-\N{MINUS SIGN}]?[\d,]+(\.\d{1,3})?", words) and fits for words, fits in scores), scores


@pytest.mark.parametrize("width", [390, 1280])
def test_the_description_of_the_interface_fits_and_has_no_complaint(
    browser: Browser, page_server: str, width: int
) -> None:
    set_width(browser, width)
    browser.get(f"{page_server}/docs")
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    cut = browser.execute_script("""
        return [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth)
          .map((one) => one.outerHTML.slice(0, 120));
    """)
    assert cut == []
    assert problems(browser) == []


def test_a_late_answer_never_replaces_a_newer_one(browser: Browser, page_server: str) -> None:
    # The answers about one user come late, and come even though the page has aborted the requests.
    slow = f"""(path, options) => String(options?.body ?? path).includes('{USER}')
        ? new Promise((done) => setTimeout(() => done(real(path, {{...options, signal: undefined}})), 700))
        : real(path, options)"""
    with _replaced_fetch(browser, slow):
        _open(browser, page_server)
        field = _find(browser, "#user")
        field.send_keys(USER, Keys.ENTER)
        field.send_keys(Keys.CONTROL, "a", Keys.NULL, OTHER, Keys.ENTER)
        expected = _expected(page_server, "/v1/recommend", {"user_id": OTHER, "k": 10})
        _until(browser, lambda: _lists(browser) == expected)
        time.sleep(1.2)
        assert _lists(browser) == expected
        assert _text(browser, "#person blockquote") == "Enjoys <b>thing</b> 4."


def test_a_refusal_is_shown_as_its_sentence_beside_the_other_answer(browser: Browser, page_server: str) -> None:
    refusing = """(path, options) => path.includes('/v1/recommend') && path.includes('hnlm')
        ? Promise.resolve(new Response('{"error": "The queue is full."}', { status: 503 })) : real(path, options)"""
    with _replaced_fetch(browser, refusing):
        _open(browser, page_server, f"#user={USER}")
        left, right = _lists(browser)
    assert (len(left), right) == (10, [])
    assert "The queue is full." in _text(browser, ".lines ~ .side")


def test_what_a_proxy_says_in_plain_text_is_not_shown_and_can_be_tried_again(
    browser: Browser, page_server: str
) -> None:
    failing = """(path, options) => path.includes('/v1/recommend') && !window.isUp
        ? Promise.resolve(new Response('Traceback: dump', { status: 502 })) : real(path, options)"""
    with _replaced_fetch(browser, failing):
        _open(browser, page_server, f"#user={USER}")
        assert _lists(browser) == [[], []]
        assert "The service answered with status 502." in _text(browser, ".results")
        assert "dump" not in _text(browser, "main")
        browser.execute_script("window.isUp = true")
        _find(browser, ".results .note button").click()
        _until(browser, lambda: all(_lists(browser)))


def test_a_service_with_a_token_asks_for_it_and_then_answers(browser: Browser, page_server: str) -> None:
    guarded = """(path, options) => options.headers.authorization === 'Bearer right' ? real(path, options)
        : Promise.resolve(new Response('{"error": "A token is needed."}', { status: 401 }))"""
    with _replaced_fetch(browser, guarded):
        browser.get(f"{page_server}/#user={USER}")
        _until(browser, lambda: _find(browser, "#gate").is_displayed())
        assert _text(browser, "#gate-reason") == "A token is needed."
        for token in ("wrong", "right"):
            _find(browser, "#token").send_keys(token, Keys.ENTER)
            _until(browser, lambda kept=token: browser.execute_script("return sessionStorage.token") == kept)
        _until(browser, lambda: _lists(browser)[0])
        assert not _find(browser, "#gate").is_displayed()
        browser.execute_script("sessionStorage.clear()")
