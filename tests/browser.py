"""A real browser for tests of pages, without a window."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
NEEDS_BROWSER = pytest.mark.skipif(
    not (CHROMIUM.exists() and DRIVER.exists()), reason=f"no {CHROMIUM} or no {DRIVER} (Debian: chromium-driver)"
)

Browser = webdriver.Chrome

_ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextlib.contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile in a folder."""
    options = Options()
    options.binary_location = str(CHROMIUM)
    for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield browser
    finally:
        browser.quit()


def set_width(browser: Browser, width: int, height: int = 900) -> None:
    """The size of the page in CSS pixels, whatever the least size of a window is."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def set_scheme(browser: Browser, scheme: str) -> None:
    """Prefer ``light`` or ``dark`` pages."""
    features: list[dict[str, Any]] = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def problems(browser: Browser) -> list[str]:
    """What the browser complained about since this was last asked."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
