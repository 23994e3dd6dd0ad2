"""Take the two pictures of the README from a finished run: ``python docs/tools/pictures.py runs/demo``."""

from __future__ import annotations

import socket
import sys
import tempfile
import threading
from pathlib import Path

import uvicorn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from selenium.webdriver.common.by import By  # noqa: E402 - the root is on the path by now
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

from hnlm_ray.cli.options import opened  # noqa: E402
from hnlm_ray.cli.serving import bundles_of  # noqa: E402
from hnlm_ray.config.serving import ServiceOptions  # noqa: E402
from hnlm_ray.serving.http.web import web_app  # noqa: E402
from hnlm_ray.serving.recommend.live import Live  # noqa: E402
from tests.browser import Browser, browsing, set_scheme, set_width  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1264, 800
LONGEST_S = 60


def main() -> None:
    """Serve the bundles of a run without Ray, and take pictures of the page and of the run's report."""
    run, user = Path(sys.argv[1]).resolve(), (sys.argv[2:] or ["u00017"])[0]
    options, found = opened([str(run)], [])
    app = web_app(Live.of(bundles_of(options, found)), ServiceOptions())
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    (report,) = run.glob("report/*/report.html")
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryDirectory() as profile:
        threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/#user={user}"
        with browsing(Path(profile)) as browser:
            set_width(browser, WIDTH, HEIGHT)
            set_scheme(browser, "light")
            browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
            take(browser, address, ".results [data-item]", "page.png")
            take(browser, report.as_uri(), "h1", "report.png", scrolls=True)
        server.should_exit = True


def take(browser: Browser, address: str, awaited: str, name: str, *, scrolls: bool = False) -> None:
    """A picture of a page, once an element that a selector names is there and nothing is awaited; from there on."""
    browser.get(address)
    WebDriverWait(browser, LONGEST_S).until(
        lambda page: (
            page.find_elements(By.CSS_SELECTOR, awaited) and not page.find_elements(By.CSS_SELECTOR, "[aria-busy]")
        )
    )
    if scrolls:
        browser.execute_script("arguments[0].scrollIntoView()", browser.find_element(By.CSS_SELECTOR, awaited))
    PICTURES.mkdir(exist_ok=True)
    browser.save_screenshot(str(PICTURES / name))


if __name__ == "__main__":
    main()
