"""The live pages in a real browser: they refresh, show the pictures behind points, and fit a desktop and a phone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from browser import contrasts, open_browser, prefer, requests, resize
from handwritten import write_run
from served import HOSTILE, change, example, serving, write_full_run

from ssl_bench.store import RunFolder, Store, write_pictures


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    write_full_run(store, "mt", 1, [0.5, 0.75, 1.0])
    write_full_run(store, "cps", 1, [0.75, 0.5, 0.25])
    hostile = write_full_run(store, "ucmt", 1, [0.5, 0.5, 0.5])
    change(hostile, spec={"method": HOSTILE, "benchmark": "unbreakable" * 30})
    hostile.log.write_text(HOSTILE + "unbreakable" * 40)
    write_pictures(hostile.examples, [example(HOSTILE)])
    running = RunFolder(store.folder(write_run(store, "mt", 2, [0.5], status="running")).path)
    (running.path / ".lock").touch()
    report(running, 3)
    return store


def report(folder: RunFolder, done: int) -> None:
    told = {"task": "training", "done": done, "total": 300, "text": "loss 0.25", "speed": 2.0, "host": "elsewhere"}
    folder.progress.write_text(json.dumps(told))


def names(store: Store) -> dict[str, str]:
    """Methods and seeds of runs, and their ids."""
    found = {}
    for path in store.root.glob("runs/*/*/*/run.json"):
        seed = json.loads(path.read_text())["spec"]["seed"]
        found[f"{path.parts[-3]} {seed}"] = path.parent.name
    return found


def comes_to(browser: Any, script: str) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 10).until(lambda one: one.execute_script(f"return {script}"))


@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_are_legible_and_load_from_this_server_alone(
    opened: Any, store: Store, size: str, scheme: str
) -> None:
    resize(opened, size)
    prefer(opened, scheme)
    known = names(store)
    chosen = "&".join(f"run={name}" for name in known.values())
    with serving(store.root, every=30) as site:
        requests(opened)
        for address in ("/", f"/compare?{chosen}", *(f"/runs/{name}.html" for name in known.values()), "/report"):
            opened.get(site + address)
            widths = opened.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
            assert widths[0] <= widths[1], address
            assert opened.execute_script("return [...document.images].every((one) => one.naturalWidth > 0)"), address
            assert not opened.execute_script("return 'injected' in window")
            low = {text: ratio for text, ratio in contrasts(opened).items() if ratio < 4.5}
            assert low == {}, address
        assert all(asked.startswith(site) for asked in requests(opened))
        assert [entry for entry in opened.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_page_refreshes_itself_and_keeps_what_was_chosen(opened: Any, store: Store) -> None:
    resize(opened, "desktop")
    known = names(store)
    with serving(store.root, every=0.2) as site:
        opened.get(site)
        box = opened.find_element("css selector", f"input[value='{known['cps 1']}']")
        box.click()
        report(RunFolder(store.root / "runs" / "isic" / "mt" / known["mt 2"]), 150)
        assert comes_to(opened, "document.body.innerText.includes('150/300')")
        assert opened.find_element("css selector", f"input[value='{known['cps 1']}']").is_selected()
        opened.find_element("css selector", f"input[value='{known['mt 1']}']").click()
        opened.find_element("css selector", ".act button").click()
        assert comes_to(opened, "document.querySelectorAll('.chosen li').length === 2")
    comes_to(opened, "document.body.classList.contains('lost')")  # the server has ended, and the page says so


def test_points_show_the_pictures_of_their_cases(opened: Any, store: Store) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    resize(opened, "desktop")
    known = names(store)
    with serving(store.root, every=30) as site:
        opened.get(f"{site}/compare?run={known['mt 1']}&run={known['cps 1']}")
        points = opened.find_elements("css selector", "a.case")
        assert [point.get_attribute("class") for point in points].count("case pictured") == 2
        assert len(points) == 3
        pictured = next(point for point in points if "0: 50 and 75" in (point.get_attribute("aria-label") or ""))
        ActionChains(opened).move_to_element(pictured).perform()
        loaded = "[...document.querySelectorAll('#case img')].filter((one) => one.naturalWidth > 0).length === 2"
        assert comes_to(opened, loaded)
        text = opened.find_element("id", "case").text
        assert "DSC [%] 50.0" in text
        assert "DSC [%] 75.0" in text
        other = next(point for point in points if point.get_attribute("class") == "case")
        opened.execute_script("arguments[0].focus()", other)  # by keyboard
        assert comes_to(opened, "document.querySelectorAll('#case .nopicture').length === 2")


def test_without_its_script_a_point_leads_to_a_page(opened: Any, store: Store) -> None:
    known = names(store)
    opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        with serving(store.root, every=30) as site:
            opened.get(f"{site}/compare?run={known['mt 1']}&run={known['cps 1']}")
            opened.get(urljoin(site, opened.find_element("css selector", "a.case.pictured").get_dom_attribute("href")))
            assert opened.find_element("tag name", "h1").text.startswith("Case ")
            assert len(opened.find_elements("css selector", ".cases img")) == 2
    finally:
        opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
