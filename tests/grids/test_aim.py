"""The paper's tables and figures as grids: against the paper's own words, and aimed at other data."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from conftest import REPOSITORY

from ssl_bench.cards import all_grids, load_grid
from ssl_bench.declarations import declare
from ssl_bench.errors import UserError
from ssl_bench.grids.aim import Target, aim, places
from ssl_bench.method import find_method, load_methods
from ssl_bench.reporting.published import published

METHODS = {name: declare(method) for name, method in load_methods().items()}
GRIDS = {f"{grid.exhibit} {grid.number}": grid for grid in all_grids()}


def entries(table: int) -> list[dict[str, str]]:
    paths = sorted((REPOSITORY / "results/published").glob("*.csv"))
    return [row for path in paths for row in csv.DictReader(path.open()) if int(row["table"]) == table]


def test_every_table_and_figure_of_the_paper_has_its_card() -> None:
    assert list(GRIDS) == [f"table {n}" for n in (1, 2, 3, 4, 5)] + [f"figure {n}" for n in (1, 3, 4, 5)]


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_every_published_number_stands_in_exactly_one_cell(number: int) -> None:
    grid = load_grid("table", str(number))
    shown = [
        one.value
        for row in grid.rows
        for column in grid.columns
        for metric in grid.metrics
        if (one := published(grid, row, column, metric)) is not None
    ]
    assert Counter(shown) == Counter(float(entry["value"]) for entry in entries(number))
    assert len(shown) == len(grid.rows) * len(grid.columns) * len(grid.metrics)  # and no cell is empty


def test_published_numbers_by_hand() -> None:
    """Read off the paper's text."""
    cells = {
        (1, "UCMT (U-Net)", "10%", "dsc"): 83.33, (1, "UCMT", "10%", "dsc"): 88.46,
        (1, "UGCL (U-Net)", "5%", "dsc"): 72.67,
        (2, "AdvSemSeg", "15%", "dsc"): 56.88, (3, "UCMT", "20%", "95hd"): 6.31, (3, "MC-Net", "10%", "asd"): 2.18,
        (4, "Supervised", "5%", "dsc"): 83.31, (4, "CMTv2", "5%", "dsc"): 87.48,
    }  # fmt: skip
    for (number, title, share, metric), value in cells.items():
        grid = load_grid("table", str(number))
        (row,) = [row for row in grid.rows if row.title == title]
        column = next(column for column in grid.columns if column.labeled == share)
        one = published(grid, row, column, metric)
        assert one is not None
        assert one.value == value
    table5 = load_grid("table", "5")
    lines = [
        [published(table5, row, column, "dsc").value for column in table5.columns]  # type: ignore[union-attr]
        for row in table5.rows
    ]
    assert lines == [
        [87.95, 88.22, 88.12, 87.96, 88.08], [87.65, 88.15, 87.80, 87.54, 87.90], [87.86, 87.92, 88.03, 88.01, 87.87],
    ]  # fmt: skip


def test_rows_that_the_paper_copied_are_marked() -> None:
    copied = {
        row.title
        for grid in GRIDS.values()
        for row in grid.rows
        for column in grid.columns
        if (one := published(grid, row, column, grid.metrics[0])) is not None and one.is_copied
    }
    assert copied == {
        "UGCL (U-Net)", "AdvSemSeg", "ColAdv", "UA-MT", "SASSNet", "LG-ER-MT", "DUWM", "DTC", "MC-Net",
    }  # fmt: skip


RUNS = {
    "table 1": ({"mt", "cct", "cps", "ugcl", "cmtv3", "ucmt"}, {("isic", "5%"), ("isic", "10%")}, 14),
    "table 2": (
        {"advsemseg", "coladv", "mt", "cct", "cps", "cmtv3", "ucmt"},
        {(d, s) for d in ("kvasir", "cvc") for s in ("15%", "30%")}, 28,
    ),
    "table 3": (
        {"uamt", "sassnet", "lg-er-mt", "duwm", "dtc", "mcnet", "mt", "cps", "cmtv3", "ucmt"},
        {("la", "10%"), ("la", "20%")}, 20,
    ),
    "table 4": ({"supervised", "mt", "cps", "cmtv1", "cmtv2", "cmtv3", "ucmt"}, {("isic", "5%")}, 7),
    "table 5": ({"ucmt"}, {("isic", "5%")}, 15),
    "figure 1": ({"mt", "cps", "ucmt"}, {("isic", s) for s in ("2%", "5%", "10%", "20%")}, 12),
    "figure 3": (
        {"ucmt", "ucmt-cutmix"}, {(d, s) for d in ("isic", "la") for s in ("2%", "5%", "10%", "20%")}, 16,
    ),
    "figure 4": (
        {"supervised", "mt", "cps", "cmtv3", "ucmt"},
        {("kvasir", "15%"), ("cvc", "15%"), ("isic", "5%"), ("la", "10%")}, 20,
    ),
    "figure 5": ({"ucmt"}, {("isic", "5%")}, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_the_runs_of_an_exhibit_are_those_of_the_paper(name: str) -> None:
    grid, (methods, data, count) = GRIDS[name], RUNS[name]
    found = [place for row in places(grid, Target(), METHODS) for place in row if place is not None]
    assert {place.method for place in found} == methods
    assert {(place.benchmark.name, place.column.labeled) for place in found} == data
    assert len(found) == count
    assert {place.protocol for place in found} == {"paper"}


def test_a_method_for_images_alone_has_no_run_on_volumes(tmp_path: Path) -> None:
    card = tmp_path / "own.toml"
    card.write_text(
        'kind = "table"\ntitle = "both"\ncolumns = [{ dataset = "demo", labeled = "10%" }, '
        '{ dataset = "demo3d", labeled = "10%" }]\n'
        'rows = [{ title = "CTCT", method = "ctct" }, { title = "MT", method = "mt" }]\n'
    )
    found = places(load_grid("table", str(card)), Target(), METHODS)
    assert [[place is not None for place in row] for row in found] == [[True, False], [True, True]]


def test_table_5_asks_for_every_k_and_r_of_umix() -> None:
    found = [place for row in places(load_grid("table", "5"), Target(), METHODS) for place in row if place is not None]
    assert [(p.wanted.hyperparameters["r"], p.wanted.hyperparameters["k"]) for p in found] == [
        (r, k) for r in (16, 4, 8) for k in (1, 2, 3, 4, 5)
    ]


def test_the_u_net_rows_ask_for_their_authors_u_net_and_the_others_for_the_papers_network() -> None:
    networks = {
        row.title: place.wanted.protocol.network  # type: ignore[union-attr]
        for row, (place, _) in zip(
            load_grid("table", "1").rows, places(load_grid("table", "1"), Target(), METHODS), strict=True
        )
        if place is not None
    }
    assert networks.pop("UCMT (U-Net)") == "unet-small"
    assert networks.pop("UGCL (U-Net)") == "unet"
    assert set(networks.values()) == {"deeplabv3plus"}


# ----------------------------------------------------------------------------------------------------------- aiming


def columns(name: str, **target: object) -> list[tuple[str, str]]:
    grid = aim(GRIDS[name], Target(**target), METHODS)  # type: ignore[arg-type]
    return [(column.dataset, column.labeled) for column in grid.columns]


def test_a_grid_shows_the_part_on_a_data_set_of_its_own() -> None:
    assert columns("table 2", datasets=("cvc",)) == [("cvc", "15%"), ("cvc", "30%")]
    assert columns("table 2", datasets=("cvc",), labeled=("30%",)) == [("cvc", "30%")]
    assert columns("figure 3", datasets=("la",)) == [("la", s) for s in ("2%", "5%", "10%", "20%")]


def test_a_grid_takes_another_data_set_in_the_place_of_its_first_with_that_ones_shares() -> None:
    assert columns("table 1", datasets=("kvasir",)) == [("kvasir", "15%"), ("kvasir", "30%")]
    assert columns("table 4", datasets=("kvasir",)) == [("kvasir", "15%")]
    assert columns("table 5", datasets=("demo",)) == [("demo", "2%")] * 5
    assert columns("table 2", datasets=("demo",)) == [("demo", "2%"), ("demo", "10%")]
    assert columns("figure 1", datasets=("kvasir",), labeled=("15%",)) == [("kvasir", "15%")]


def test_shares_of_ones_own_are_those_asked_for_in_their_order() -> None:
    assert columns("table 4", labeled=("20%", "90")) == [("isic", "20%"), ("isic", "90")]
    assert columns("table 5", labeled=("10%",)) == [("isic", "10%")] * 5
    assert columns("table 3", labeled=("16",)) == [("la", "16")]


def scaling(folder: Path, scale: float) -> str:
    path = folder / "few.toml"
    path.write_text(f'extends = "mini"\nname = "few"\ntitle = "few"\nlabeled_scale = {{ isic = {scale} }}\n')
    return str(path)


def test_a_protocol_scales_the_shares_of_a_grid_which_keeps_the_papers_numbers(tmp_path: Path) -> None:
    target = Target(protocol=scaling(tmp_path, 0.1))
    grid = aim(GRIDS["table 1"], target, METHODS)
    assert [column.labeled for column in grid.columns] == ["0.5%", "1%"]
    row = next(row for row in grid.rows if row.title == "MT")
    kept = [published(grid, row, column, "dsc") for column in grid.columns]
    assert kept == [published(grid, row, column, "dsc") for column in GRIDS["table 1"].columns]
    assert {place.wanted.labeled for row in places(grid, target, METHODS) for place in row if place} == {"0.5%", "1%"}


def test_no_protocol_scales_a_share_that_is_asked_for_or_all_or_a_number(tmp_path: Path) -> None:
    few = scaling(tmp_path, 0.1)
    asked = aim(GRIDS["table 1"], Target(labeled=("5%",), protocol=few), METHODS)
    assert [(column.labeled, column.published) for column in asked.columns] == [("5%", "")]
    columns = [GRIDS["table 1"].columns[0].model_copy(update={"labeled": text}) for text in ("100%", "7", "7%")]
    own = GRIDS["table 1"].model_copy(update={"columns": tuple(columns)})
    assert [column.labeled for column in aim(own, Target(protocol=few), METHODS).columns] == ["100%", "7", "0.7%"]


def test_a_scale_is_of_one_data_set(tmp_path: Path) -> None:
    target = Target(datasets=("kvasir",), protocol=scaling(tmp_path, 0.1))
    assert [column.labeled for column in aim(GRIDS["table 1"], target, METHODS).columns] == ["15%", "30%"]


def test_a_scale_of_no_data_set_is_refused() -> None:
    with pytest.raises(UserError, match=r"--set labeled_scale: .* such as isic; found 'iisic'"):
        aim(GRIDS["table 1"], Target(protocol="mini", settings={"labeled_scale": {"iisic": 0.5}}), METHODS)


def test_a_setting_precedes_the_cards_scale(tmp_path: Path) -> None:
    target = Target(protocol=scaling(tmp_path, 0.1), settings={"labeled_scale": {"isic": 0.5}})
    assert [column.labeled for column in aim(GRIDS["table 1"], target, METHODS).columns] == ["2.5%", "5%"]


def test_a_row_for_2d_alone_is_no_place_on_volumes() -> None:
    target = Target(datasets=("demo3d",))
    rows = places(aim(GRIDS["table 1"], target, METHODS), target, METHODS)
    titles = [row.title for row, own in zip(GRIDS["table 1"].rows, rows, strict=True) if all(p is None for p in own)]
    assert titles == ["UGCL (U-Net)", "UCMT (U-Net)"]


def test_settings_go_to_the_methods_that_know_them_and_never_over_the_grids_own() -> None:
    target = Target(settings={"k": 3, "network": "unet", "iterations": 7})
    for grid, others in ((GRIDS["table 1"], "unet"), (GRIDS["table 5"], "unet")):
        for row, own in zip(grid.rows, places(aim(grid, target, METHODS), target, METHODS), strict=True):
            for column, place in zip(grid.columns, own, strict=True):
                if place is None:
                    continue
                assert place.wanted.protocol.iterations == 7
                assert place.wanted.protocol.network == row.settings.get("network", others)
                assert place.wanted.hyperparameters.get("k") == (
                    None if place.method != "ucmt" else column.settings.get("k", 3)
                )


def test_a_setting_that_nobody_knows_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"--set q: neither a protocol field nor a hyperparameter of a method in Table 3"
    ):
        aim(GRIDS["table 3"], Target(settings={"q": 1}), METHODS)
    with pytest.raises(UserError, match=r"--set k"):  # of UCMT, which Figure 4 has, and Table 4's methods know it too
        aim(GRIDS["table 4"].model_copy(update={"rows": GRIDS["table 4"].rows[:2]}), Target(settings={"k": 1}), METHODS)


@pytest.mark.parametrize(("exhibit", "known"), [("table", "1, 2, 3, 4, 5"), ("figure", "1, 3, 4, 5")])
def test_an_unknown_number_is_told_the_known_ones(exhibit: str, known: str) -> None:
    with pytest.raises(UserError, match=f"--{exhibit}: expected one of {known}, or a .toml file; found '9'"):
        load_grid(exhibit, "9")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('upper_line = "all"', r"upper_line: expected one of the .* methods .*; found 'all'"),
        (
            'rows = [{ title = "m", method = "mtt" }]',
            r"row 'm': expected one of the .* methods .*; found 'mtt'; did you mean mt\?",
        ),
        ('rows = [{ title = "m", method = "mt", settings = { ema_decai = 0.9 } }]', r"row 'm': ema_decai is neither"),
        ('rows = [{ title = "m", method = "mt", settings = { k = 2 } }]', r"row 'm': k is neither"),  # UCMT's
        ('rows = [{ title = "a row", settings = { k = 2 } }]', r"row 'a row': k is neither"),
        (
            'rows = [{ method = "mt", settings = { labeled_scale = { demo = 0.5 } } }]',
            r"row 'mt': labeled_scale: expected",
        ),
        ('columns = [{ dataset = "demo", labeled = "5%", settings = { k = 2 } }]', r"column 'demo 5%': k is neither"),
    ],
)
def test_what_a_card_says_of_methods_and_settings_is_for_somebody(line: str, named: str, tmp_path: Path) -> None:
    lines = {
        "kind": 'kind = "table"',
        "title": 'title = "Two decays"',
        "columns": 'columns = [{ dataset = "demo", labeled = "5%" }]',
        "rows": 'rows = [{ title = "m", method = "mt" }]',
    }
    lines[line.split(" = ")[0]] = line
    card = tmp_path / "mine.toml"
    card.write_text("\n".join(lines.values()))
    with pytest.raises(UserError, match=rf"--table {card}: {named}"):
        aim(load_grid("table", str(card)), Target(), METHODS)


def test_a_figure_of_shares_has_a_place_for_each_once(tmp_path: Path) -> None:
    column = '{ dataset = "demo", labeled = "5%", settings = { image_size = 64 } }'
    card = tmp_path / "mine.toml"
    card.write_text(f"""
        kind = "shares"
        title = "Two sizes"
        columns = [{column}, {column.replace("64", "96")}]
        rows = [{{ title = "m", method = "mt" }}]
    """)
    with pytest.raises(UserError, match="kind 'shares' allows only one column for each data set and share"):
        load_grid("figure", str(card))


def test_on_another_data_set_a_title_stays_where_it_names_settings_alone() -> None:
    grid = GRIDS["table 5"]
    first, second = grid.columns[:2]
    grid = grid.model_copy(update={"columns": (first.model_copy(update={"title": "Skin", "settings": {}}), second)})
    assert [column.title for column in aim(grid, Target(datasets=("isic",)), METHODS).columns] == ["Skin", "k = 2"]
    assert [column.title for column in aim(grid, Target(datasets=("demo",)), METHODS).columns] == ["", "k = 2"]


def test_a_data_set_of_ones_own_can_stand_in_a_grid(tmp_path: Path) -> None:
    card = tmp_path / "mine.toml"
    text = (REPOSITORY / "benchmarks/datasets/kvasir.toml").read_text()
    card.write_text(text.replace('"kvasir"', '"mine"', 1).replace('["15%", "30%"]', '["7%"]'))
    assert columns("table 1", datasets=(str(card),)) == [(str(card), "7%")]


def test_a_table_of_ones_own_is_named_by_its_file(tmp_path: Path) -> None:
    card = tmp_path / "decays.toml"
    card.write_text("""
kind = "table"
title = "Two decays"
baseline = "mt"
columns = [{ dataset = "demo", labeled = "5%" }]
rows = [{ title = "as it is", method = "mt" }, { title = "slow", method = "mt", settings = { ema_decay = 0.999 } }]
""")
    grid = load_grid("table", str(card))
    assert (grid.name, grid.label, grid.option) == ("Table decays", "decays", str(card))
    aimed = aim(grid, Target(), METHODS)
    assert (aimed.name, aimed.option) == (grid.name, grid.option)
    assert [place.wanted.protocol.ema_decay for (place,) in places(aimed, Target(), METHODS) if place] == [0.99, 0.999]
    with pytest.raises(
        UserError, match=r"--figure: expected a figure, found the table .*decays.toml \(kind = 'table'\)"
    ):
        load_grid("figure", str(card))
    with pytest.raises(UserError, match=r"--table: .*; found no file nowhere.toml"):
        load_grid("table", "nowhere.toml")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "benchmarks/studies").glob("*.toml")), ids=lambda path: path.stem)
def test_the_studies_are_tables_of_different_runs(path: Path) -> None:
    target = Target()  # under the card's own protocol
    aimed = aim(load_grid("table", str(path)), target, METHODS)
    cells = [place.wanted for row in places(aimed, target, METHODS) for place in row if place]
    assert len({str(cell) for cell in cells}) == len(cells)


def test_every_row_of_the_study_reaches_the_weight_that_it_is_about() -> None:
    target = Target()  # the card says `mini`
    aimed = aim(load_grid("table", str(REPOSITORY / "benchmarks/studies/ucmt-protocol.toml")), target, METHODS)
    for row in places(aimed, target, METHODS):
        for place in filter(None, row):
            assert place.protocol == "mini"
            protocol = place.wanted.protocol.resolved(place.benchmark, 800, "cpu")
            assert protocol.iterations is not None
            length = protocol.iterations_per_epoch(800) * (
                0 if isinstance(protocol.rampup_epochs, str) else protocol.rampup_epochs
            )
            assert length <= protocol.iterations / find_method("ucmt").updates_per_iteration
