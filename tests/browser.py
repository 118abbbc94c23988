"""A headless browser for tests of pages; a test that asks for it is skipped where there is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@contextmanager
def open_browser(profile: Path) -> Iterator[Any]:
    """A Selenium driver of Chromium with an empty profile, that keeps its console and its requests."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium")
    from selenium.webdriver.chrome.service import Service

    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no chromium with its chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield opened
    finally:
        opened.quit()


def resize(browser: Any, size: str) -> None:
    """Give it the window of a desktop, or the screen of a phone."""
    width, height = SIZES[size]
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"},
    )


def prefer(browser: Any, scheme: str) -> None:
    """Prefer a light or dark colour scheme."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def requests(browser: Any) -> list[str]:
    """The addresses asked for since the last call, but for those of the page that a new browser shows."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [one["request"]["url"] for one in asked if not one["documentURL"].startswith("chrome:")]


def contrasts(browser: Any) -> dict[str, float]:
    """By text, the contrast of each visible one with what is behind it, by WCAG 2's formula."""
    found = browser.execute_script("""
        const texts = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility() &&
            [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()));
        return texts.map((element) => {
            let behind = element;
            while (behind && getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)")
                behind = behind.parentElement;
            return [element.innerText, getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
        });""")
    ratios: dict[str, float] = {}
    for text, *colours in found:
        darker, lighter = sorted(map(_luminance, colours))
        ratios[text] = min(ratios.get(text, 21.0), (lighter + 0.05) / (darker + 0.05))
    return ratios


def _luminance(colour: str) -> float:
    assert colour.startswith("rgb("), colour
    channels = [int(part) / 255 for part in colour[4:-1].split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
