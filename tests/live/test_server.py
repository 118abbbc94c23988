"""The server of a store over HTTP: its pages, what it refuses, and that data stays text."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from conftest import Call, assert_error
from handwritten import cases_file, write_run
from PIL import Image
from served import HOSTILE, change, example, get, serving, write_full_run

import ssl_bench
from ssl_bench.live.comparison import by_case, sides_of
from ssl_bench.live.pictures import PREDICTION, TRUTH, case_png
from ssl_bench.live.report_sites import ReportSites, Site
from ssl_bench.live.server import host_names
from ssl_bench.live.snapshot import StoreReader
from ssl_bench.store import RunFolder, Store, write_pictures


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Runs of every state, hostile and damaged ones among them; to be read only."""
    store = Store(tmp_path_factory.mktemp("served") / "results")
    write_full_run(store, "mt", 1, [0.5, 0.75, 1.0])
    write_full_run(store, "mt", 2, [0.25, 0.5, None])
    write_full_run(store, "cps", 1, [0.75, 0.75, 0.75], hyper={})
    hostile = write_full_run(store, "ucmt", 1, [0.5, 0.5, 0.5])
    change(hostile, spec={"method": HOSTILE, "benchmark": HOSTILE}, provenance={"command": HOSTILE, HOSTILE: HOSTILE})
    hostile.log.write_text(f"\x1b[31m{HOSTILE}\x1b[0m\n{HOSTILE}")
    hostile.traceback.write_text(HOSTILE)
    hostile.curves.write_text(f'iteration,"{HOSTILE.replace(chr(34), chr(34) * 2)}",loss1\n10,1,2\n20,2,3\n')
    write_pictures(hostile.examples, [example(HOSTILE)])
    failed = RunFolder(store.folder(write_run(store, "cct", 1, [0.5], status="failed")).path)
    change(failed, error=HOSTILE)
    running = RunFolder(store.folder(write_run(store, "cct", 2, [0.5], status="running")).path)
    (running.path / ".lock").touch()
    running.progress.write_text(json.dumps(
        {"task": HOSTILE, "done": 3, "total": 9, "text": HOSTILE, "speed": 1.5, "host": "elsewhere"}
    ))  # fmt: skip
    broken = store.root / "runs" / "isic" / "mt" / "0123456789abcdef"
    broken.mkdir()
    (broken / "run.json").write_text(f'{{"format": "{HOSTILE}"')
    return store


@pytest.fixture(scope="module")
def site(store: Store) -> Iterator[str]:
    with serving(store.root) as address:
        yield address


def ids(store: Store) -> list[str]:
    return sorted(path.parent.name for path in store.root.glob("runs/*/*/*/run.json"))


def run_of(store: Store, method: str, seed: int) -> str:
    for path in store.root.glob(f"runs/isic/{method}/*/run.json"):
        if f'"seed": {seed},' in path.read_text():
            return path.parent.name
    raise AssertionError(method)


class Page(HTMLParser):
    """The tags of a page, all its text, and what it loads or leads to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "action"):
                self.addresses.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_all_runs_are_listed_with_their_states(site: str, store: Store) -> None:
    status, text, headers = get(f"{site}/")
    page = Page(text)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    for name in ids(store):
        assert f"/runs/{name}.html" in page.addresses
    assert "all 7" in page.text
    for word in ("running 1", "failed 1", "damaged 1", "finished 4", "1.5 it/s", "4s left", "3/9"):
        assert word in page.text, word
    places = [page.text.index(f"{state} ", page.text.index("finished 4")) for state in ("running", "failed", "damaged")]
    assert places == sorted(places)


def test_runs_are_filtered(site: str, store: Store) -> None:
    def shown(query: str) -> set[str]:
        return set(re.findall(r'name="run" value="([0-9a-f]+)"', get(f"{site}/?{query}")[1]))

    assert shown("method=cps") == {run_of(store, "cps", 1)}
    assert len(shown("state=finished&method=mt")) == 2
    assert len(shown("dataset=isic")) == 6
    assert shown(f"method={quote(HOSTILE)}") == {run_of(store, "ucmt", 1)}
    assert shown("method=nobody") == set()


def test_every_link_leads_to_a_page_of_this_server(site: str, store: Store) -> None:
    seen, ahead = set[str](), ["/"]
    chosen = "&".join(f"run={name}" for name in ids(store))
    ahead.append(f"/compare?{chosen}")
    while ahead:
        address = ahead.pop()
        seen.add(address)
        status, text, headers = get(site + address)
        assert status == 200, address
        if headers["Content-Type"].startswith("text/html"):
            for link in Page(text).addresses:
                parts = urlsplit(link)
                assert (parts.scheme, parts.netloc) == ("", ""), link
                assert link.startswith(("/", "#")), link
                target = f"{parts.path}?{parts.query}" if parts.query else parts.path
                if target and target not in seen and not target.startswith(("/report/", "/?")):
                    ahead.append(target)
    for kind in ("/live.js", "/live.css", "/style.css", "/sort.js", "/report", "/case?", ".png"):
        assert any(kind in address for address in seen), kind


def test_what_stands_in_the_store_stays_text(site: str, store: Store) -> None:
    name = run_of(store, "ucmt", 1)
    others = [run_of(store, "mt", 1), run_of(store, "cct", 1), "0123456789abcdef", run_of(store, "cct", 2)]
    addresses = ["/", f"/compare?run={name}&run={'&run='.join(others)}", f"/runs/{name}.html"]
    addresses += [f"/runs/{other}.html" for other in others]
    addresses += [f"/case?run={name}&case={quote(HOSTILE)}", f"/?method={quote(HOSTILE)}&state={quote(HOSTILE)}"]
    for address in addresses:
        status, text, _ = get(site + address)
        page = Page(text)
        assert status == 200
        assert page.tags.count("script") == 2, address  # the page's own
        assert "window.injected" in text or "0123456789abcdef" in address or address == f"/runs/{others[0]}.html", (
            address
        )
        assert "<script>window" not in text
        assert "<img src=x" not in text
        assert "49" not in page.text or "{{ 7 * 7 }}" in page.text
        assert "\x1b" not in text


def test_a_finished_run_has_curves_scores_cases_and_facts(site: str, store: Store) -> None:
    name = run_of(store, "mt", 1)
    text = get(f"{site}/runs/{name}.html")[1]
    page = Page(text)
    for word in ("Losses", "Disagreement", "Entropy", "Validation: DSC [%]", "75.00", "Specification", "a device"):
        assert word in page.text, word
    assert text.count('class="chart"') == 4
    assert text.count("<polyline") == 2 + 1 + 1 + 1  # two losses
    assert [address for address in page.addresses if address.endswith("/cases/1.png")]
    assert "best, worst" in page.text


def test_a_damaged_run_says_what_is_wrong(site: str) -> None:
    status, text, _ = get(f"{site}/runs/0123456789abcdef.html")
    assert status == 200
    assert "not a run's description" in Page(text).text


def test_a_picture_shows_both_borders() -> None:
    one = example("0", shape=(200, 200))
    pixels = np.asarray(Image.open(io.BytesIO(case_png(one))))
    assert pixels.shape == (400, 400, 3)
    for mask, colour in ((one.truth, TRUTH), (one.prediction, PREDICTION)):
        drawn = (pixels == colour).all(axis=2)
        y, x = np.nonzero(drawn)
        rows, columns = np.nonzero(mask)
        assert 100 < drawn.sum() < 2000
        for found, inside in ((y, rows), (x, columns)):  # the border's extent is that of the mask
            assert 1 <= 2 * inside.min() - found.min() <= 3
            assert 1 <= found.max() - (2 * inside.max() + 1) <= 3
    same = example("0")
    same.truth[:] = same.prediction
    both = np.asarray(Image.open(io.BytesIO(case_png(same))))
    assert all((both == colour).all(axis=2).sum() > 100 for colour in (TRUTH, PREDICTION))
    volume = case_png(example("0").__class__("0", "drawn", 3, one.image[..., 0], one.truth, one.prediction))
    assert Image.open(io.BytesIO(volume)).size == (400, 400)


def test_pictures_are_sent_by_number(site: str, store: Store) -> None:
    name = run_of(store, "mt", 1)
    status, _, headers = get(f"{site}/runs/{name}/cases/1.png")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    for number in ("2", "-1", "99999999999999999999", "x", "1.5"):
        assert get(f"{site}/runs/{name}/cases/{number}.png")[0] == 404, number


def test_settings_that_differ_are_listed_and_no_others(site: str, store: Store) -> None:
    chosen = f"run={run_of(store, 'mt', 1)}&run={run_of(store, 'mt', 2)}"
    text = get(f"{site}/compare?{chosen}")[1]
    settings = text[text.index("Settings that differ") : text.index("Case by case")]
    assert re.findall(r'scope="row"[^>]*>\s*([a-z_.]+)', settings) == ["seed"]


def test_the_scatter_has_the_means_of_the_common_cases(store: Store) -> None:
    runs = {run.spec.method + str(run.spec.seed): run for run in store.runs([]) if run.spec.benchmark == "isic"}
    chosen = {"A": runs["mt1"], "B": runs["mt2"], "C": runs["cps1"]}
    sides = {side.name.partition(":")[0] if side.runs[1:] else side.title[0]: side for side in sides_of(chosen)}
    assert sides.keys() == {"A", "B", "C", "method"}
    found = by_case(sides["A"], sides["B"], "dsc", {"0"}, ["a", "b"])
    assert [(point.case, point.x, point.y) for point in found.points] == [("0", 50.0, 25.0), ("1", 75.0, 50.0)]
    assert [point.has_pictures for point in found.points] == [True, False]
    assert any("-25.00 on average, above 0 on 0, below on 2" in note for note in found.notes)
    assert any("1 case without a value" in note for note in found.notes)
    assert found.chart is not None
    assert all(f">{letter}, DSC [%]</text>" in found.chart.svg for letter in "AB")
    mean = by_case(sides["method"], sides["C"], "dsc", set(), [])
    assert [(point.x, point.y) for point in mean.points] == [(37.5, 75.0), (62.5, 75.0)]
    assert any("1 case without a value for each run and class" in note for note in mean.notes)
    assert by_case(sides["A"], sides["C"], "jaccard", set(), []).points == ()


def test_a_side_is_chosen_in_the_address(site: str, store: Store) -> None:
    names = [run_of(store, "mt", 1), run_of(store, "mt", 2), run_of(store, "cps", 1)]
    chosen = "&".join(f"run={name}" for name in names)
    text = get(f"{site}/compare?{chosen}&x=method:mt&y={names[2]}&metric=dsc")[1]
    assert 'value="method:mt" selected' in text
    assert f'value="{names[2]}" selected' in text
    assert text.count('class="case') == 2
    for query in ("x=nothing&y=nothing", "metric=nothing", "x=method:", f"x={names[0]}&y={names[0]}"):
        assert get(f"{site}/compare?{chosen}&{query}")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../run.json", "/runs/../../run.json", "/runs/%2e%2e%2f%2e%2e%2fetc%2fpasswd.html", "/runs/..html",
        "/runs/isic/mt", "/runs/", "/runs", "/live.css/../server.py", "/templates/live.css", "/%2e%2e/%2e%2e/etc/hosts",
        "//etc/passwd", "/report/..%2f..%2fetc/passwd", "/report/paper/..%2f..%2f..%2fetc%2fpasswd",
        "/report/paper/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/report/nothing@else/index.html", "/report/isic@mini/.hidden",
        "/runs/0123456789abcdef/cases/0.png", "/runs/0123456789abcde0.html", "/compare?run=../../etc", "/case?run=%00",
        "/runs/%00.html", "/favicon.ico/x", "/.lock", "/runs/0123456789ABCDEF.html",
    ],
)  # fmt: skip
def test_nothing_outside_the_pages_is_sent(site: str, path: str) -> None:
    status, text, _ = get(site + path)
    assert status == 404
    assert "root:" not in text
    assert "Index of" not in text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_other_names_are_refused(site: str, host: str) -> None:
    status, text, _ = get(f"{site}/", Host=host)
    assert status == 400
    assert "runs" not in text.lower()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9999", "LOCALHOST"])
def test_its_own_names_are_accepted(site: str, host: str) -> None:
    assert get(f"{site}/", Host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/compare", "/nowhere", "/report/paper/index.html"])
def test_only_get_is_answered(site: str, method: str, path: str) -> None:
    assert get(site + path, method)[0] == 405


def test_every_answer_forbids_what_the_pages_do_not_need(site: str) -> None:
    for path in ("/", "/nowhere", "/live.js", "/compare"):
        headers = get(site + path)[2]
        policy = dict(part.split(maxsplit=1) for part in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers
        assert "server" not in headers


def test_a_page_that_has_not_changed_is_not_sent_again(site: str, store: Store) -> None:
    address = f"{site}/runs/{run_of(store, 'mt', 1)}.html"
    tag = get(address)[2]["ETag"]
    assert get(address, **{"If-None-Match": tag})[:2] == (304, "")


def test_the_store_may_change_while_it_is_served(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.root.mkdir()
    with serving(store.root, every=0.01) as site:
        assert "No runs" in get(f"{site}/")[1]
        folder = write_full_run(store, "mt", 1, [0.5])
        page = f"{site}/runs/{folder.path.name}.html"
        assert wait(lambda: "50.00" in get(f"{site}/")[1])
        change(folder, status="running")
        assert wait(lambda: "interrupted" in get(page)[1])
        for path in folder.path.iterdir():
            path.unlink()
        folder.path.rmdir()
        assert wait(lambda: get(page)[0] == 404)
        assert "No runs" in get(f"{site}/")[1]


DAMAGES = (b"", b"\xff\xfe\x00" * 40, b"iteration,dsc\n1,x\n", b"{}", b"network,case\na,b\n")


@pytest.mark.parametrize("name", ["run.json", "curves.csv", "validation_curve.csv", "examples.npz", "cases", "log.txt"])
def test_no_damage_is_an_error_of_the_server(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "results")
    folders = [write_full_run(store, "mt", seed, [0.5, 0.75]) for seed in (1, 2)]
    path = cases_file(folders[0].path) if name == "cases" else folders[0].path / name
    first, second = (folder.path.name for folder in folders)
    addresses = ("/", f"/runs/{first}.html", f"/compare?run={first}&run={second}", f"/case?run={first}&case=0")
    with serving(store.root, every=0.01) as site:
        for content in DAMAGES:
            path.write_bytes(content)
            answers = [get(site + address) for address in addresses]
            assert [status for status, _, _ in answers] == [200] * 4, content
            assert get(f"{site}/runs/{first}/cases/0.png")[0] in (200, 404)
            if name in ("run.json", "examples.npz", "cases") or (name != "log.txt" and content == DAMAGES[2]):
                assert any(word in answers[1][1] for word in ("cannot be read", "not a run", "altered")), content


def test_why_a_report_cannot_be_made_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    write_run(store, "mt", 1, [0.5])
    with serving(store.root, settings={"iterations": 0}) as site:
        address = f"{site}/report/isic%40mini/index.html"
        assert "being made" in get(address)[1]
        assert wait(lambda: "cannot be made" in get(address)[1], seconds=60)
        assert "iterations" in get(address)[1]


def test_an_earlier_report_is_not_shown_as_that_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = tmp_path / "index.html"
    earlier.write_text("the report of before")
    site = Site(files={"index.html": earlier})
    monkeypatch.setattr(ReportSites, "ask", lambda *_: site)
    store = Store(tmp_path / "results")
    write_run(store, "mt", 1, [0.5])
    with serving(store.root) as address:
        assert "the report of before" in get(f"{address}/report/isic%40mini/index.html")[1]
        site.error = "a card is wrong"
        text = get(f"{address}/report/isic%40mini/index.html")[1]
        assert "cannot be made" in text
        assert "a card is wrong" in text


@pytest.mark.slow
def test_nothing_is_left_of_a_report_that_cannot_be_made(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    write_run(store, "mt", 1, [0.5])
    snapshot = StoreReader(store.root).snapshot()
    with ReportSites(store.root, settings={"iterations": 0}) as sites:
        choice = sites.choices(snapshot)[0]
        site = sites.ask(choice, snapshot)
        assert wait(lambda: site.error, seconds=60)
        assert not list(Path(sites._folder.name).iterdir())


@pytest.mark.slow
def test_a_report_is_made_when_it_is_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    folder = write_full_run(store, "mt", 1, [0.5, 0.75])
    before = sorted(str(path) for path in store.root.rglob("*"))
    with serving(store.root) as site:
        assert "isic, protocol mini: 1 finished run" in Page(get(f"{site}/report")[1]).text
        address = f"{site}/report/isic%40mini/index.html"
        assert "being made" in get(address)[1]
        assert get(f"{site}/report/isic%40mini/style.css")[0] == 404
        assert wait(lambda: "being made" not in get(address)[1], seconds=120)
        assert "What was found" in get(address)[1]
        assert folder.path.name in get(f"{site}/report/isic%40mini/runs/index.html")[1]
        assert get(f"{site}/report/isic%40mini/.ssl-bench-report")[0] == 404
        assert get(f"{site}/report/isic%40mini/style.css")[0] == 200
    assert sorted(str(path) for path in store.root.rglob("*")) == before


def test_names_of_hosts() -> None:
    assert host_names("127.0.0.1", []) == sorted(["127.0.0.1", "localhost", "::1", "[::1]"])
    assert {"box.lan", "0:0::1", "[0:0::1]"} <= set(host_names("127.0.0.1", ["box.lan", "0:0::1"]))
    assert "192.0.2.7" in host_names("192.0.2.7", [])
    assert not {"*", "0.0.0.0", ""} & set(host_names("0.0.0.0", []))


def test_mistakes(call: Call, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    assert_error(call("serve", "--results-root", "nowhere"), "--results-root: no folder at nowhere")
    assert_error(call("serve", "--results-root", tmp_path, "--allow-host", "*"), "--allow-host", "'*'")
    assert_error(call("serve", "--results-root", tmp_path, "--every", "0"), "--every")
    assert_error(call("serve", "--results-root", tmp_path, "--card", "none.toml"), "none.toml")
    assert_error(call("serve", "--results-root", tmp_path, "--card", "demo"), "--card: expected a .toml file")
    assert_error(call("serve", "--results-root", tmp_path, "--set", "no_such_field=1"), "--set no_such_field")
    with pytest.raises(ssl_bench.UserError, match="--port 70000: cannot be listened on"):
        ssl_bench.serve(tmp_path, port=70000)


def test_a_port_that_is_taken_is_an_error(call: Call, store: Store, site: str) -> None:
    port = str(urlsplit(site).port)
    assert_error(call("serve", "--results-root", store.root, "--port", port), f"--port {port}", "cannot be listened on")


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_missing_package_is_one_line(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    import sys

    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert_error(call("serve", "--results-root", tmp_path), package, "pip install 'ssl-bench[serve]'")


def wait(holds: object, seconds: float = 20.0) -> bool:
    """Whether a condition comes to hold."""
    assert callable(holds)
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
