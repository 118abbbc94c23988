"""Every number of docs/small.md, and of what README.md says of the protocol `small`, recomputed from stored cases."""

import re

import pandas as pd
import pytest
from documented import (
    TITLES,
    Table,
    by_group,
    changed_by,
    compared,
    differences,
    independent,
    page,
    pairs,
    row,
    rows,
    scores,
    smallest,
    upper_line,
    worth_of_labels,
)

SMALL, SMALL_LINE = page("docs/small.md")
README, README_LINE = page("README.md")
SEVEN = ["supervised", "mt", "cps", "cmtv1", "cmtv2", "cmtv3", "ucmt"]
WITHOUT_CMTV2 = [method for method in SEVEN if method != "cmtv2"]
OTHERS = ["supervised", "mt", "ict", "mt-cutmix", "uamt"]
LESIONS = Table("isic", 9, 1815, SEVEN, protocol="small", seeds=10)
LESIONS_TWICE = Table("isic", 18, 1815, SEVEN, protocol="small", seeds=10)
POLYPS = {
    "cvc": Table("cvc", 17, 472, WITHOUT_CMTV2, "by-sequence", protocol="small"),
    "kvasir": Table("kvasir", 30, 800, WITHOUT_CMTV2, protocol="small"),
    "cvc at random": Table("cvc", 18, 490, SEVEN, protocol="small", seeds=10),
}
HEARTS = Table("acdc", 3, 20, WITHOUT_CMTV2, "ssl4mis-random", protocol="small")
ATRIA = Table("la", 3, 0, ["supervised", "mt"], "uamt", protocol="small 3D")
OTHER_METHODS = {
    "isic": Table("isic", 9, 1815, OTHERS, protocol="small"),
    "cvc at random": Table("cvc", 18, 490, OTHERS, protocol="small"),
}
AVERAGED = "Supervised, averaged weights"
BESIDE_AVERAGES = {"isic, 9": LESIONS, "isic, 18": LESIONS_TWICE, "cvc": POLYPS["cvc at random"]}
SECTIONS = {
    "Skin lesions": [LESIONS],
    "Skin lesions, twice the labels": [LESIONS_TWICE],
    "Polyps": list(POLYPS.values()),
    "Hearts by slices": [HEARTS],
    "Left atria": [ATRIA],
    "Other methods": list(OTHER_METHODS.values()),
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_tables_of_small(heading: str) -> None:
    section = re.split(r"\n##+ ", SMALL.split(f"### {heading}\n")[1])[0]
    stand = [line for line in section.splitlines() if " ± " in line]
    expected = [row(title, *cells) for table in SECTIONS[heading] for title, cells in rows(table).items()]
    assert stand == expected


def beside_averages(name: str) -> dict[str, pd.DataFrame]:
    """Scores by title (seed x case, or group of cases), with those of MT without its loss."""
    table = BESIDE_AVERAGES[name]
    averaged = scores(
        table.data, table.labeled, "mt", changed=changed_by({"lambda_max": "0.0"}), protocol="small", seeds=table.seeds
    )
    tables = {TITLES[method]: own for method, own in independent(table).items()}
    return {AVERAGED: by_group(table.data, averaged), **tables}


def test_the_tables_beside_averaged_weights() -> None:
    section = re.split(r"\n##+ ", SMALL.split("### Averaged weights alone\n")[1])[0]
    expected = [
        row(title, *cells)
        for name in BESIDE_AVERAGES
        for title, cells in differences(beside_averages(name), AVERAGED).items()
    ]
    assert [text for text in section.splitlines() if " ± " in text] == expected


def test_the_sentences_about_small() -> None:
    tables = independent(LESIONS)
    found = compared(tables, "supervised")
    shown = {method: cells.size for method, cells in found.items() if cells.corrected < 0.05}
    assert set(shown) == {"mt", "cmtv1", "cmtv3", "ucmt"}
    assert f"by {min(shown.values()):.1f} to {max(shown.values()):.1f} points" in SMALL_LINE
    assert (
        f"{min(shown.values()):.0f} to {max(shown.values()):.0f} points better than the supervised network"
        in README_LINE
    )
    few, all_pairs = smallest(tables, 6), smallest(tables, 21)
    assert (
        f"difference of {few:.1f} points from the supervised network, or of {all_pairs:.1f} between any two"
        in SMALL_LINE
    )
    assert f"a true difference of {all_pairs:.1f} points would have been found" in README_LINE
    worth = worth_of_labels(LESIONS)
    words = f"worth {worth.size:.1f} points ({worth.around.replace('+', '')})"
    assert words in SMALL_LINE
    assert words in README_LINE
    seeds = [f"{mean:.2f}" for mean in tables["supervised"].mean(axis=1)]
    assert f"scores {', '.join(seeds[:-1])} and {seeds[-1]}" in SMALL_LINE
    assert f"from {min(map(float, seeds)):.1f} to {max(map(float, seeds)):.1f}" in README_LINE


def test_the_sentences_about_twice_the_labels_at_small() -> None:
    tables = independent(LESIONS_TWICE)
    found = compared(tables, "supervised")
    gains = [cells.size for cells in found.values()]
    assert all(cells.corrected < 0.05 for cells in found.values())
    assert f"better than the supervised network**, by {min(gains):.1f} to {max(gains):.1f} points" in SMALL_LINE
    assert f"ablation gain {min(gains):.0f} to {max(gains):.0f} points, CPS among them" in SMALL_LINE
    assert f"all six methods are shown to gain {min(gains):.0f} to {max(gains):.0f} points" in README_LINE
    assert all(p >= 0.05 for pair, p in pairs(tables).items() if "supervised" not in pair)
    few, all_pairs = smallest(tables, len(tables) - 1), smallest(tables, 21)
    assert (
        f"difference of {few:.1f} points from the supervised network, or of {all_pairs:.1f} between any two"
        in SMALL_LINE
    )


def test_the_sentences_about_atria_at_small() -> None:
    tables = independent(ATRIA)
    means = {method: table.mean(axis=1).to_numpy() for method, table in tables.items()}
    one, other = ([f"{mean:.1f}" for mean in means[method]] for method in ("supervised", "mt"))
    assert (
        f"network scores {', '.join(one[:-1])} and {one[-1]}; MT scores {', '.join(other[:-1])} and {other[-1]}"
        in SMALL_LINE
    )
    assert (means["mt"] > means["supervised"]).sum() == 4
    assert compared(tables, "supervised")["mt"].corrected >= 0.05
    assert f"A true difference of {smallest(tables, 1):.1f} points would have been shown" in SMALL_LINE


def test_the_sentences_about_other_methods_at_small() -> None:
    tables = {name: independent(table) for name, table in OTHER_METHODS.items()}
    found = {name: compared(own, "supervised") for name, own in tables.items()}
    gains = [cells.size for method, cells in found["isic"].items() if method != "mt"]
    assert all(cells.corrected < 0.05 for cells in found["isic"].values())
    assert f"better than the supervised network on ISIC**, by {min(gains):.1f} to {max(gains):.1f} points" in SMALL_LINE
    assert all(cells.corrected >= 0.05 for cells in found["cvc at random"].values())
    all_pairs = pairs(tables["cvc at random"])
    against = {other: compared(tables["cvc at random"], other)["uamt"].size for other in ("mt", "mt-cutmix")}
    sizes = [f"{-size:.1f}" for size in against.values()]
    ps = [f"{all_pairs[frozenset(('uamt', other))]:.3f}" for other in against]
    words = f"by {sizes[0]} and {sizes[1]} points (p = {ps[0]} and {ps[1]}, corrected over all {len(all_pairs)} pairs)"
    assert words in SMALL_LINE
    assert all(pairs(own)[frozenset(("mt", "mt-cutmix"))] >= 0.05 for own in tables.values())
    without = compared({key: own for key, own in tables["cvc at random"].items() if key != "uamt"}, "supervised")
    assert f"the gain of MT is shown (p = {without['mt'].corrected:.3f})" in SMALL_LINE
    mix = without["mt-cutmix"]
    words = f"of MT + CutMix is then shown before the correction alone ({mix.corrected:.3f}, {mix.p:.3f} before it)"
    assert words in SMALL_LINE


def test_the_two_networks_of_uamt() -> None:
    own = {network: scores("cvc", 18, "uamt", network=network, protocol="small") for network in ("student", "teacher")}
    means = {network: table.mean(axis=1) for network, table in own.items()}
    around = {network: f"{one.min():.1f} to {one.max():.1f}" for network, one in means.items()}
    assert f"the student scores {around['student']}, and the teacher of the same runs {around['teacher']}" in SMALL_LINE
    student, teacher = (
        scores("isic", 9, "uamt", network=network, protocol="small").to_numpy().mean() for network in own
    )
    assert f"On ISIC they score {student:.2f} and {teacher:.2f}" in SMALL_LINE


def test_the_pairs_of_small() -> None:
    tables = independent(LESIONS)
    corrected = pairs(tables)
    against = {one: corrected[frozenset((one, "cps"))] for one in SEVEN if one != "cps"}
    better = {one: value for one, value in against.items() if value < 0.05}
    assert list(better) == ["mt", "cmtv1", "ucmt"]
    own = compared(tables, "cps")
    sizes = [f"{own[one].size:.1f}" for one in ("ucmt", "mt", "cmtv1")]
    ps = [f"{better[one]:.3f}" for one in ("ucmt", "mt", "cmtv1")]
    words = f"by {sizes[0]}, {sizes[1]} and {sizes[2]} points (p = {ps[0]}, {ps[1]} and {ps[2]}, corrected over all 21"
    assert words in SMALL_LINE


def test_the_sentences_about_polyps_at_small() -> None:
    found, sizes = {}, {}
    for name, table in POLYPS.items():
        tables = independent(table)
        found[name] = compared(tables, "supervised")
        sizes[name] = smallest(tables, len(tables) - 1)
    shown = {name: [method for method, cells in own.items() if cells.corrected < 0.05] for name, own in found.items()}
    assert {name: set(own) for name, own in shown.items()} == {
        "kvasir": set(), "cvc": {"cmtv1"}, "cvc at random": {"mt", "cmtv1", "cmtv2", "cmtv3"}
    }  # fmt: skip
    assert {method for method, cells in found["cvc"].items() if cells.p < 0.05} == {"mt", "cmtv1", "cmtv3"}
    gain = {name: {method: cells.size for method, cells in own.items()} for name, own in found.items()}
    assert f"CMTv1 alone is ({gain['cvc']['cmtv1']:.1f} points)" in SMALL_LINE
    assert (
        f"MT and CMTv3 gain {gain['cvc']['mt']:.0f} and {gain['cvc']['cmtv3']:.0f}, which is shown before" in SMALL_LINE
    )
    of_ucmt = [f"{gain[name]['ucmt']:+.1f}" for name in ("cvc", "cvc at random", "kvasir")]
    words = f"{of_ucmt[0]} points on CVC-ClinicDB by video, {of_ucmt[1]} at random, and {of_ucmt[2]} on Kvasir-SEG"
    assert words in SMALL_LINE
    gains = [gain["cvc at random"][method] for method in shown["cvc at random"]]
    assert f"are shown to gain at random**, by {min(gains):.1f} to {max(gains):.1f} points" in SMALL_LINE
    assert f"are shown to gain {min(gains):.0f} to {max(gains):.0f} points. With videos held out" in README_LINE
    ends = {name: upper_line(table).to_numpy().mean() for name, table in POLYPS.items()}
    assert (
        f"it ends at {ends['kvasir']:.1f} on Kvasir-SEG and at {ends['cvc']:.1f} on CVC-ClinicDB by video" in SMALL_LINE
    )
    more = worth_of_labels(POLYPS["kvasir"]).size
    assert f"all 800 labels instead of 30 are worth {more:.1f} points" in SMALL_LINE
    words = (
        f"from {sizes['kvasir']:.1f} points on for Kvasir-SEG and from {sizes['cvc']:.1f} on for CVC-ClinicDB by video"
    )
    assert f"{words}, since six videos are few, and from {sizes['cvc at random']:.1f} on at random" in SMALL_LINE
    assert f"CMTv1 is shown to gain {gain['cvc']['cmtv1']:.1f} points" in README_LINE
    assert f"where all 800 labels are worth {more:.1f}" in README_LINE


def test_mt_against_ucmt_on_cvc_at_random() -> None:
    tables = independent(POLYPS["cvc at random"])
    corrected = pairs(tables)
    size, p = compared(tables, "ucmt")["mt"].size, corrected[frozenset(("mt", "ucmt"))]
    words = f"by {size:.1f} points (p = {p:.3f}, corrected over all {len(corrected)} pairs)"
    assert words in SMALL_LINE
    assert f"MT is shown to be {size:.1f} points better than UCMT" in SMALL_LINE


def test_the_sentences_about_hearts_at_small() -> None:
    tables = independent(HEARTS)
    assert all(cells.corrected >= 0.05 for cells in compared(tables, "supervised").values())
    assert f"A true difference of {smallest(tables, len(tables) - 1):.1f} points from the supervised" in SMALL_LINE
    assert f"the labels of all 20 patients are worth {worth_of_labels(HEARTS).size:.1f} points" in SMALL_LINE


def test_the_table_of_the_readme() -> None:
    for title, (mean, around, comparison, alone) in rows(LESIONS).items():
        *difference, p = comparison.split(" (")[0].rsplit(", ", 1) if comparison else ["", ""]
        assert row(title, mean, around, ", ".join(difference), p, alone) in README
