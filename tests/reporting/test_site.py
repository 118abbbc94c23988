"""The static site: what it writes and refuses, that data stays text, and how it behaves in a real browser."""

from __future__ import annotations

import base64
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from browser import SIZES, contrasts, open_browser, prefer, requests, resize

from ssl_bench.errors import UserError
from ssl_bench.reporting.canvas import STYLE, render
from ssl_bench.reporting.draw_lines import Panel, line_figure
from ssl_bench.reporting.drawn import NARROW
from ssl_bench.reporting.site import ExhibitPage, Picture, RunPage, write_site
from ssl_bench.reporting.table import Cell, Table

HOSTILE = """<script>window.injected = 1</script>"'><img src=x onerror="injected = 1">&lt; & {{ 7 * 7 }} </title>"""
LONG = "unbreakable" * 40
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="2000" height="100"><rect width="2000" height="100"/></svg>'
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
RUNS = ("0a1b", "2c3d", "4e5f")
OVERVIEW = Table("Tables and figures", ["Exhibit", "Runs"], [["Table 4", "3"], ["Figure 1", "0"]], frozenset({"Runs"}))
ABLATION = Table(
    "Ablation",
    ["Method", "Note", "DSC\n[%]", "Seeds"],
    [
        ["MT", "b", Cell("85.50 ± 0.20", 85.5, "second", RUNS[:2]), "2"],
        ["CPS", "a 10", Cell("9.25", 9.25, runs=RUNS[2:]), "10"],
        ["CCT", "", "no run", "0"],
        ["UCMT", "a 2", Cell("85.50", 85.5, "best"), "3"],
        ["  lesion", "", "70.00", ""],
        ["UGCL", "c", "—", "—"],
        ["CMT", "b", Cell("inf", math.inf), "2/1"],
    ],
    frozenset({"DSC\n[%]", "Seeds"}),
    ["Trained by `ssl-bench run`, or not."],
)


def run_page(name: str, seed: int) -> RunPage:
    facts = (("Specification", (("seed", str(seed)), ("method", "mt"))), ("Provenance", (("torch", "2.11"),)))
    return RunPage(name, f"mt · seed {seed}", facts, (Picture("Curves", f"curves-{name}", {"svg": SVG}),))


EXHIBITS = (
    ExhibitPage(
        "table-4",
        "Table 4",
        "Table 4. Ablation",
        (ABLATION, replace(ABLATION, title="Statistics")),
        (Picture("Means", "table-4-forest", {"svg": SVG}),),
        finding="CPS leads; `ssl-bench run` shows more.",
        further=(Picture("Ranks", "table-4-ranking", {"svg": SVG}, "Of resamples."),),
        thumbnail=Picture("Small", "table-4-thumbnail", {"svg": SVG}),
    ),
    ExhibitPage(
        "figure-1", "Figure 1", "Figure 1. Curves", pictures=(Picture("Curves", "figure-1", {"png": PNG, "svg": SVG}),)
    ),
    ExhibitPage(
        "figure-4",
        "Figure 4",
        "Figure 4. Cases",
        pictures=(Picture("Cases", "figure-4", {"pdf": b"f", "png": PNG}),),
        finding="No run.",
        is_measured=False,
    ),
)
PAGES = tuple(run_page(name, seed) for seed, name in enumerate(RUNS, start=1))
HOSTILE_TABLE = Table(
    f"t{HOSTILE}",
    ["Method", f"c\n{HOSTILE}", LONG],
    [
        [f"m{HOSTILE}", Cell(f"v{HOSTILE}", 1.0, "best", RUNS[:2]), Cell(f"w{HOSTILE}", 1.0, "second", RUNS[2:])],
        [f"  {LONG}", Cell(LONG, runs=RUNS), LONG],
    ],
    notes=[f"n{HOSTILE}", f"`{LONG}`"],
)
HOSTILE_EXHIBIT = ExhibitPage(
    "hostile",
    f"l{HOSTILE}",
    f"e{HOSTILE}",
    (HOSTILE_TABLE,),
    (Picture(f"a{HOSTILE}", "hostile", {"svg": SVG}),),
    (f"x{HOSTILE}", LONG),
    f"g{HOSTILE} `{LONG}` {LONG}",
)
HOSTILE_UNMEASURED = replace(HOSTILE_EXHIBIT, slug="unmeasured", pictures=(), is_measured=False)
HOSTILE_RUN = RunPage("bad", f"r{HOSTILE}", ((f"h{HOSTILE}", ((f"k{HOSTILE}", f"f{HOSTILE}"), (LONG, LONG))),))
LONG_RUN = RunPage("long", LONG, ((LONG, ((LONG, LONG),)),), (Picture(LONG, "long", {"svg": SVG}),))


def write_good(folder: Path) -> Path:
    write_site(folder, "Report", OVERVIEW, EXHIBITS, PAGES)
    return folder


def write_hostile(folder: Path) -> Path:
    overview = replace(HOSTILE_TABLE, title=f"o{HOSTILE}")
    write_site(folder, f"s{HOSTILE}", overview, (HOSTILE_EXHIBIT, HOSTILE_UNMEASURED), (*PAGES, HOSTILE_RUN, LONG_RUN))
    return folder


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both, to be read only."""
    folder = tmp_path_factory.mktemp("sites")
    return {"good": write_good(folder / "good"), "hostile": write_hostile(folder / "hostile")}


class Page(HTMLParser):
    """A page's elements, each as tag, attributes and all its text; elements that do not nest are an error."""

    VOID = frozenset({"meta", "link", "br", "img"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(path.read_text())
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs), []))
        if tag not in self.VOID:
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, _, text in self.open:
            text.append(data)

    def texts(self, tag: str) -> list[str]:
        return ["".join(text).strip() for name, _, text in self.elements if name == tag]

    def attributes(self, name: str) -> list[str]:
        return [value for _, attributes, _ in self.elements if (value := attributes.get(name)) is not None]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------------------ files


def test_a_page_stands_for_each_exhibit_and_run_with_its_pictures_beside(sites: dict[str, Path]) -> None:
    found = contents(sites["good"])
    runs = {f"runs/{name}.html" for name in RUNS} | {f"pictures/curves-{name}.svg" for name in RUNS}
    exhibits = {"table-4.html", "figure-1.html", "figure-4.html", "pictures/figure-1.png", "pictures/figure-1.svg"}
    rest = {"index.html", "runs/index.html", "style.css", "sort.js", ".ssl-bench-report"}
    exhibits |= {f"pictures/table-4-{name}.svg" for name in ("forest", "ranking", "thumbnail")}
    assert set(found) == runs | exhibits | rest | {"pictures/figure-4.pdf", "pictures/figure-4.png"}
    assert (found["pictures/figure-1.svg"], found["pictures/figure-4.pdf"]) == (SVG, b"f")


@pytest.mark.parametrize("name", ["good", "hostile"])
def test_every_address_is_relative_and_leads_to_a_file(sites: dict[str, Path], name: str) -> None:
    folder = sites[name]
    for path in folder.rglob("*.html"):
        page = Page(path)
        addresses = page.attributes("href") + page.attributes("src")
        assert len(addresses) > 5
        for address in addresses:
            parts = urlsplit(address)
            assert not parts.scheme
            assert not parts.netloc
            assert not parts.path or (path.parent / unquote(parts.path)).is_file(), address
            assert not parts.fragment or parts.fragment in page.attributes("id")
    assets = (folder / "style.css").read_text() + (folder / "sort.js").read_text()
    assert not any(word in assets for word in ("url(", "@import", "http", "fetch", "import("))


def test_every_page_is_in_english_with_one_first_heading_and_leads_to_all_others(sites: dict[str, Path]) -> None:
    folder = sites["good"]
    expected = ["Overview", "Table 4", "Figure 1", "Figure 4", "Runs"]
    for path in folder.rglob("*.html"):
        page = Page(path)
        assert page.elements[0][:2] == ("html", {"lang": "en"})
        assert len(page.texts("h1")) == 1
        assert page.texts("nav") == ["\n".join(["", *expected, ""]).strip()]
        assert len(set(page.attributes("id"))) == len(page.attributes("id"))
        assert page.attributes("aria-current") == ([] if path.stem in RUNS else ["page"])
    assert Page(folder / "table-4.html").texts("title") == ["Table 4. Ablation · Report"]


def test_the_page_shows_svg_where_there_is_one_and_links_every_format(sites: dict[str, Path]) -> None:
    folder = sites["good"]
    page = Page(folder / "figure-1.html")
    assert (page.attributes("src"), page.attributes("alt")) == (["sort.js", "pictures/figure-1.svg"], ["Curves"])
    assert {"pictures/figure-1.png", "pictures/figure-1.svg"} <= set(page.attributes("href"))
    page = Page(folder / "figure-4.html")
    assert page.attributes("src")[1:] == ["pictures/figure-4.png"]
    assert {"pictures/figure-4.png", "pictures/figure-4.pdf"} <= set(page.attributes("href"))
    assert "pictures/figure-1.svg" in Page(folder / "index.html").attributes("src")


def test_an_overview_row_leads_to_its_exhibit(sites: dict[str, Path]) -> None:
    page = (sites["good"] / "index.html").read_text()
    assert '<th scope="row" class="short"><a href="table-4.html">Table 4</a></th>' in page


def test_the_index_begins_with_what_was_found_and_folds_away_what_is_not_measured(sites: dict[str, Path]) -> None:
    text = (sites["good"] / "index.html").read_text()
    content = text.partition("</h1>")[2]
    assert content.split("<h2")[1].startswith(' id="findings">What was found')
    shown, folded = content.partition("<details>")[0], content.partition("<details>")[2].partition("</details>")[0]
    assert "<p>CPS leads; <code>ssl-bench run</code> shows more.</p>" in shown
    assert [label for label in ("Table 4", "Figure 1", "Figure 4") if f"{label}. " in shown] == ["Table 4", "Figure 1"]
    assert "Not measured, or without pictures: 1" in folded
    assert '<a href="figure-4.html">Figure 4. Cases</a>' in folded
    assert "<p>No run.</p>" in folded
    assert "pictures/figure-4" not in text


def test_a_tables_page_begins_with_its_picture_and_ends_with_the_others(sites: dict[str, Path]) -> None:
    text = (sites["good"] / "table-4.html").read_text()
    places = [text.index(part) for part in ("table-4-forest.svg", "<table", "table-4-ranking.svg", "Of resamples.")]
    assert places == sorted(places)
    index = (sites["good"] / "index.html").read_text()
    assert 'src="pictures/table-4-thumbnail.svg"' in index  # rather than the first picture
    assert "table-4-forest" not in index


def test_one_of_a_thing_is_not_called_several(tmp_path: Path) -> None:
    for count, words in ((1, "from 1 finished run ("), (2, "from 2 finished runs (")):
        write_site(tmp_path / str(count), "Report", OVERVIEW, (), PAGES[:count])
        assert words in (tmp_path / str(count) / "index.html").read_text()


def test_a_report_without_anything_measured_has_no_empty_section(tmp_path: Path) -> None:
    write_site(tmp_path, "Report", Table("Tables", ["Exhibit"], []), EXHIBITS[2:], ())
    page = Page(tmp_path / "index.html")
    assert page.texts("h2") == []
    assert page.texts("table") == []
    assert page.texts("summary") == ["Not measured, or without pictures: 1"]


def test_a_number_leads_to_its_run_and_several_runs_are_listed(sites: dict[str, Path]) -> None:
    text = (sites["good"] / "table-4.html").read_text()
    cells = [part.partition("</td>")[0] for part in text.split("<td")]
    (one,) = [cell for cell in cells if ">9.25<" in cell][:1]
    assert 'href="runs/4e5f.html"' in one
    assert "popover" not in one
    (two,) = [cell for cell in cells if "85.50 ± 0.20" in cell][:1]
    assert [name for name in RUNS if f'href="runs/{name}.html"' in two] == ["0a1b", "2c3d"]
    assert all(word in two for word in ("mt · seed 1</a>", "<code>0a1b</code>", "mt · seed 2</a>", "<code>2c3d</code>"))
    (none,) = [cell for cell in cells if ">no run" in cell][:1]
    assert "<" not in none


def test_best_is_bold_second_underlined_and_a_command_in_code(sites: dict[str, Path]) -> None:
    page = Page(sites["good"] / "table-4.html")
    assert (page.texts("b"), page.texts("u")) == (["85.50"] * 2, ["85.50 ± 0.20"] * 2)
    assert "Trained by ssl-bench run, or not." in page.texts("li")
    assert "ssl-bench run" in page.texts("code")


def test_a_run_page_has_every_fact(sites: dict[str, Path]) -> None:
    page = Page(sites["good"] / "runs/2c3d.html")
    assert (page.texts("h1"), page.texts("code")) == (["mt · seed 2"], ["2c3d"])
    assert page.texts("h2") == ["Specification", "Provenance"]
    facts = list(zip(page.texts("dt"), page.texts("dd"), strict=True))
    assert facts == [("seed", "2"), ("method", "mt"), ("torch", "2.11")]


def test_a_row_that_is_not_a_number_has_none_to_sort_by(tmp_path: Path) -> None:
    rows = [[Cell(str(value), value)] for value in (1.5, math.inf, -math.inf, math.nan, 0.0, 1e-9)]
    table = Table("t", ["x"], [*rows, ["12"], ["3/2"], [""]], frozenset({"x"}))
    write_site(tmp_path, "Report", table, (), ())
    found = Page(tmp_path / "index.html").attributes("data-number")
    assert found == ["1.5", "Infinity", "-Infinity", "0.0", "1e-09", "12.0"]


def test_a_report_of_nothing_is_a_page(tmp_path: Path) -> None:
    write_site(tmp_path, "Report", Table("Tables", ["Exhibit"], []), (), ())
    assert Page(tmp_path / "index.html").texts("h1") == ["Report"]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    assert contents(write_good(tmp_path / "a")) == contents(write_good(tmp_path / "b"))
    before = contents(tmp_path / "a")
    assert contents(write_good(tmp_path / "a")) == before


# ------------------------------------------------------------------------------------------------- earlier contents


def test_an_earlier_report_is_replaced_and_its_other_pages_removed(tmp_path: Path) -> None:
    write_hostile(tmp_path / "a")
    (tmp_path / "a/pictures/kept").mkdir()
    (tmp_path / "a/notes.txt").write_text("of the user")
    found = contents(write_good(tmp_path / "a"))
    assert found.pop("notes.txt") == b"of the user"
    assert found == contents(write_good(tmp_path / "b"))


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "index.html" in contents(write_good(tmp_path / "empty"))


def test_a_folder_of_somebody_elses_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.html").write_text("years of work")
    message = f"--html: expected an empty folder or an earlier report, found {tmp_path} with thesis.html in it"
    with pytest.raises(UserError) as caught:
        write_good(tmp_path)
    assert str(caught.value) == message
    assert contents(tmp_path) == {"thesis.html": b"years of work"}


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(UserError, match="expected an empty folder or an earlier report, found the file"):
        write_good(tmp_path / "file")


# ------------------------------------------------------------------------------------------------ data stays text


def test_data_never_becomes_markup(sites: dict[str, Path]) -> None:
    tags = set[str]()
    names = set[str]()
    for path in sites["hostile"].rglob("*.html"):
        page = Page(path)
        scripts = [(attributes, text) for tag, attributes, text in page.elements if tag == "script"]
        assert [(set(attributes), text) for attributes, text in scripts] == [({"src", "defer"}, [])]
        assert all("pictures/" in source or source.endswith("sort.js") for source in page.attributes("src"))
        tags |= {tag for tag, _, _ in page.elements}
        names |= {name for _, attributes, _ in page.elements for name in attributes}
    good = [Page(path) for path in sites["good"].rglob("*.html")]
    assert tags == {tag for page in good for tag, _, _ in page.elements}
    assert names == {name for page in good for _, attributes, _ in page.elements for name in attributes}


def test_data_reads_as_it_was_given(sites: dict[str, Path]) -> None:
    folder = sites["hostile"]
    page = Page(folder / "hostile.html")
    assert page.texts("title") == [f"e{HOSTILE} · s{HOSTILE}"]
    assert (page.texts("h1"), page.texts("h2")) == ([f"e{HOSTILE}"], [f"t{HOSTILE}"])
    assert page.texts("th") == ["Method", f"c{HOSTILE}", LONG, f"m{HOSTILE}", LONG]
    assert (page.texts("b"), page.texts("u")) == ([f"v{HOSTILE}"], [f"w{HOSTILE}"])
    assert {f"n{HOSTILE}", f"x{HOSTILE}"} <= set(page.texts("li"))
    assert page.attributes("alt") == [f"a{HOSTILE}"]
    assert Page(folder / "index.html").texts("p").count(f"g{HOSTILE} {LONG} {LONG}") == 2  # measured, and folded away
    page = Page(folder / "runs/bad.html")
    assert page.texts("h1") == [f"r{HOSTILE}"]
    assert (page.texts("h2"), page.texts("dt")[0], page.texts("dd")[0]) == tuple(
        [f"h{HOSTILE}"] if letter == "h" else f"{letter}{HOSTILE}" for letter in "hkf"
    )
    assert f"r{HOSTILE}" in Page(folder / "runs/index.html").attributes("title")


@pytest.mark.parametrize("name", ["../up", "a b", "A", "a.html", "", "a\n", "é", "-/-", '"', "index", "0a1b"])
def test_a_name_that_is_no_file_name_or_is_taken_is_refused(tmp_path: Path, name: str) -> None:
    first = PAGES[0]
    with pytest.raises(ValueError, match="expected"):
        write_site(tmp_path, "Report", OVERVIEW, (), (first, replace(first, hash=name)))
    slugs = (replace(EXHIBITS[0], slug="0a1b"), replace(EXHIBITS[0], slug=name))
    with pytest.raises(ValueError, match="expected"):
        write_site(tmp_path, "Report", OVERVIEW, slugs, PAGES)
    if name != "index":
        pictures = (Picture("p", "0a1b", {"svg": SVG}), Picture("p", name, {"svg": SVG}))
        with pytest.raises(ValueError, match="expected"):
            write_site(tmp_path, "Report", OVERVIEW, (ExhibitPage("figure-1", "Figure 1", "f", pictures=pictures),), ())
    assert not contents(tmp_path)


@pytest.mark.parametrize("files", [{}, {"pdf": b""}, {"svg": b"", "../x": b""}])
def test_a_picture_that_cannot_be_shown_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="expected"):
        write_site(
            tmp_path,
            "Report",
            OVERVIEW,
            (ExhibitPage("figure-1", "Figure 1", "f", pictures=(Picture("p", "p", files),)),),
            (),
        )


def test_a_number_of_a_run_without_a_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a page for each run .* found none for 4e5f"):
        write_site(tmp_path, "Report", OVERVIEW, EXHIBITS, PAGES[:2])


# --------------------------------------------------------------------------------------------------- in the browser


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(params=list(SIZES))
def browser(opened: Any, request: pytest.FixtureRequest) -> Any:
    resize(opened, request.param)
    return opened


def names(browser: Any) -> str:
    """The first table's first column."""
    return browser.execute_script(
        "return [...document.querySelector('tbody').rows].map((row) => row.cells[0].innerText.trim()).join(' ')"
    )


def headings(browser: Any) -> list[Any]:
    return browser.find_elements("css selector", "section:first-of-type thead button")


def sorted_by(browser: Any) -> list[str | None]:
    return [button.find_element("xpath", "..").get_attribute("aria-sort") for button in headings(browser)]


def test_no_page_has_an_error_asks_the_network_or_scrolls_sideways(opened: Any, sites: dict[str, Path]) -> None:
    opened.get_log("browser")
    requests(opened)
    for path in sorted(path for site in sites.values() for path in site.rglob("*.html")):
        opened.get(path.as_uri())
        for size, (width, _) in SIZES.items():
            resize(opened, size)
            found = opened.execute_script("""
                const page = document.scrollingElement;
                const every = [...document.querySelectorAll("body *:not(.scroll *, .thumb *, .skip)")];
                const outside = every.filter((element) =>
                    element.checkVisibility() && element.getBoundingClientRect().right > page.clientWidth + 1);
                const broken = [...document.images].filter((image) => !image.naturalWidth);
                return [page.clientWidth, page.scrollWidth, outside.map((element) => element.outerHTML),
                    broken.map((image) => image.src), window.injected];""")
            assert found == [width, width, [], [], None], path
    assert opened.get_log("browser") == []
    asked = requests(opened)
    assert len(asked) > 30
    assert [address for address in asked if not address.startswith("file:")] == []


def test_a_thumbnail_is_shown_at_its_own_size_three_a_row_or_one_on_a_phone(opened: Any, tmp_path: Path) -> None:
    smallest = min(value for key, value in STYLE.items() if key.endswith("size"))  # points
    figure = render(line_figure([Panel("t", "x", "y", ())], NARROW), "svg")
    exhibits = [
        ExhibitPage(f"figure-{i}", f"Figure {i}", "f", thumbnail=Picture("a", f"p-{i}", {"svg": figure}))
        for i in range(4)
    ]
    write_site(tmp_path, "Report", OVERVIEW, exhibits, ())
    for size, columns in (("desktop", 3), ("phone", 1)):
        opened.get((tmp_path / "index.html").as_uri())
        resize(opened, size)
        images = opened.execute_script("""return [...document.querySelectorAll(".thumb img")].map((image) =>
            [image.getBoundingClientRect().left, image.width, image.parentElement.clientWidth]);""")
        assert len({round(left) for left, _, _ in images}) == columns
        assert all(width / (NARROW * 72) * smallest >= 9 for _, width, _ in images)  # in CSS pixels
        assert all(width <= room + 1 for _, width, room in images)  # nothing is cut off


def test_a_figure_on_a_phone_keeps_its_size_and_scrolls(opened: Any, sites: dict[str, Path]) -> None:
    opened.get((sites["good"] / "figure-1.html").as_uri())
    resize(opened, "phone")
    found = opened.execute_script("""const box = document.querySelector("figure .scroll");
        box.scrollLeft = 50; return [box.querySelector("img").width, box.scrollLeft, box.clientWidth];""")
    assert found[0] == 672  # 7 inches
    assert found[1] == 50
    assert found[2] < 390


def test_a_wide_table_scrolls_in_its_box(browser: Any, sites: dict[str, Path]) -> None:
    browser.get((sites["hostile"] / "hostile.html").as_uri())
    moved = "const box = document.querySelector('section .scroll'); box.scrollLeft = 200; return box.scrollLeft"
    assert browser.execute_script(moved) == 200


def test_a_heading_sorts_by_value_or_text_up_and_down_with_what_is_empty_last(
    browser: Any, sites: dict[str, Path]
) -> None:
    browser.get((sites["good"] / "table-4.html").as_uri())
    _, note, dsc, seeds = headings(browser)
    assert names(browser) == "MT CPS CCT UCMT lesion UGCL CMT"
    assert sorted_by(browser) == [None] * 4
    dsc.click()
    assert names(browser) == "CPS MT UCMT lesion CMT CCT UGCL"
    assert sorted_by(browser) == [None, None, "ascending", None]
    dsc.click()
    assert names(browser) == "CMT MT UCMT lesion CPS CCT UGCL"
    assert sorted_by(browser) == [None, None, "descending", None]
    note.click()  # CMT and MT are alike, and stay as they are
    assert names(browser) == "UCMT lesion CPS CMT MT UGCL CCT"
    assert sorted_by(browser) == [None, "ascending", None, None]
    note.click()
    assert names(browser) == "UGCL CMT MT CPS UCMT lesion CCT"
    seeds.click()
    assert names(browser) == "CCT MT UCMT lesion CPS CMT UGCL"
    other = browser.find_elements("css selector", "section:nth-of-type(2) tbody th")
    assert [cell.text for cell in other] == ["MT", "CPS", "CCT", "UCMT", "lesion", "UGCL", "CMT"]


def test_a_heading_is_reached_and_sorts_by_keyboard(browser: Any, sites: dict[str, Path]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser.get((sites["good"] / "table-4.html").as_uri())
    method = headings(browser)[0]
    for _ in range(12):  # the links above, and the box that scrolls
        ActionChains(browser).send_keys(Keys.TAB).perform()
        if browser.switch_to.active_element == method:
            break
    for key, direction, expected in (
        (Keys.ENTER, "ascending", "CCT CMT CPS MT UCMT lesion UGCL"),
        (Keys.SPACE, "descending", "UGCL UCMT lesion MT CPS CMT CCT"),
    ):
        ActionChains(browser).send_keys(key).perform()
        assert (names(browser), sorted_by(browser)[0]) == (expected, direction)
    assert browser.switch_to.active_element == method


@pytest.mark.parametrize(("size", "with_script"), [("desktop", True), ("phone", False)])
def test_numbers_lead_to_the_pages_of_their_runs(
    opened: Any, sites: dict[str, Path], tmp_path: Path, size: str, with_script: bool
) -> None:
    resize(opened, size)
    site = shutil.copytree(sites["good"], tmp_path / "site")
    page = site / "table-4.html"
    if not with_script:
        page.write_text(page.read_text().replace('<script src="sort.js" defer></script>', ""))
    opened.get(page.as_uri())
    assert bool(headings(opened)) == with_script
    opened.find_element("link text", "9.25").click()
    assert opened.current_url == (site / "runs/4e5f.html").as_uri()
    opened.back()
    button = opened.find_element("css selector", "td button")
    listed = button.find_element("xpath", "following-sibling::div")
    assert not listed.is_displayed()
    button.click()
    assert listed.is_displayed()
    assert [link.text for link in listed.find_elements("css selector", "a")] == ["mt · seed 1", "mt · seed 2"]
    box, width = listed.rect, opened.execute_script("return document.scrollingElement.clientWidth")
    assert 0 <= box["x"] < box["x"] + box["width"] <= width
    listed.find_elements("css selector", "a")[1].click()
    assert opened.current_url == (site / "runs/2c3d.html").as_uri()
    assert opened.find_element("css selector", "h1").text == "mt · seed 2"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_that_wcag_asks_for(opened: Any, sites: dict[str, Path], scheme: str) -> None:
    resize(opened, "desktop")
    prefer(opened, scheme)
    for name in ("index.html", "table-4.html", "figure-1.html", "runs/2c3d.html"):
        opened.get((sites["good"] / name).as_uri())
        for button in opened.find_elements("css selector", "td button")[:1]:
            button.click()
        ratios = contrasts(opened)
        assert len(ratios) > 8
        assert {text: ratio for text, ratio in ratios.items() if ratio < 4.5} == {}
    ground = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
