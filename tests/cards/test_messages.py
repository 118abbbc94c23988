"""What a card's errors say: the nearest key in any table, each wrong value once, and the card that was meant."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Call

from ssl_bench.cards import Benchmark, load_benchmark, load_protocol, parse_card, read_toml
from ssl_bench.errors import UserError
from ssl_bench.folders import BENCHMARKS_DIR


def with_value(name: str, place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A built-in card's data with one more value."""
    data = copy.deepcopy(read_toml(BENCHMARKS_DIR / "datasets" / f"{name}.toml"))
    inner: Any = data
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    return data


@pytest.mark.parametrize(
    ("name", "place", "value", "expected"),
    [
        ("kvasir", ("files", "mask_treshold"), 3, "files.mask_treshold: unknown key; did you mean mask_threshold?"),
        ("la", ("volumes", 0, "intensty"), "zscore", "volumes.0.intensty: unknown key; did you mean intensity?"),
        ("kvasir", ("splits", "random", "sed"), 1, "splits.random.sed: unknown key; did you mean seed?"),
        ("kvasir", ("splits", "test"), {"test": 1, "tset": 2}, "splits.test.tset: unknown key; did you mean test?"),
        ("kvasir", ("download", "page_"), "x", "download.page_: unknown key; did you mean page?"),
        ("kvasir", ("files", "qqq"), 3, "files.qqq: unknown key"),
        ("kvasir", ("labeled",), ["120%"], "labeled: expected more than 0 and at most 100%, found '120%'"),
        ("kvasir", ("splits", "random", "test"), "120%",
         "splits.random.test: expected more than 0 and at most 100%, found '120%'"),
        ("kvasir", ("labeled",), [10],
         'labeled: expected a list of shares or numbers in quotes, such as ["5%", "90"], found [10]'),
        ("kvasir", ("labeled",), "10%",
         'labeled: expected a list of shares or numbers in quotes, such as ["5%", "90"], found \'10%\''),
    ],
)  # fmt: skip
def test_an_error_suggests_the_nearest_key_and_names_a_value_once(
    name: str, place: tuple[str | int, ...], value: Any, expected: str
) -> None:
    with pytest.raises(UserError) as raised:
        parse_card(Benchmark, with_value(name, place, value), "card.toml")
    assert str(raised.value) == f"card.toml: {expected}"


def test_a_protocols_tables_suggest_keys_too() -> None:
    with pytest.raises(UserError, match=r"views\.student11: unknown key; did you mean student1\?"):
        load_protocol("mini", {"views.student11": "weak"})


@pytest.mark.parametrize(
    ("name", "file", "hint"),
    [("good", "good.toml", "; did you mean good.toml?"), ("kvasr", None, "; did you mean kvasir?"), ("zzz", None, "")],
)
def test_an_unknown_name_suggests_the_card_that_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str | None, hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if file is not None:
        Path(file).write_text("")
    with pytest.raises(UserError) as raised:
        load_benchmark(name)
    assert str(raised.value).endswith(f" or a .toml file, found '{name}'{hint}")


def test_a_card_of_ones_own_names_no_download(tmp_path: Path, call: Call) -> None:
    text = (BENCHMARKS_DIR / "datasets" / "kvasir.toml").read_text().replace('name = "kvasir"', 'name = "mine"')
    Path("mine.toml").write_text(re.sub(r"(?s)\[download\].*?(?=\[splits)", "", text))
    code, out, err = call("data", "download", "mine.toml", "--data-root", tmp_path / "data")
    assert (code, out) == (2, "")
    assert err == (
        "error: mine.toml: this card names no download; get the files from https://datasets.simula.no/kvasir-seg/ and "
        "put them below --data-root, or add [download] with page, unpack_to, and archives or instructions\n"
    )
    assert not (tmp_path / "data").exists()


def test_the_help_of_report_names_the_table_of_ones_own_data(call: Call) -> None:
    code, out, _ = call("report", "--help")
    assert code == 0
    assert "report --table 4 --dataset my_data.toml" in " ".join(out.replace("│", " ").split())
