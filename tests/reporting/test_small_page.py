"""Every number of docs/small.md, and of what README.md says of the protocol `small`, recomputed from stored cases."""

import re
from itertools import combinations

import pandas as pd
import pytest
from documented import (
    HALVES,
    TITLES,
    Table,
    alone,
    by_group,
    changed_by,
    compared,
    differences,
    holm,
    independent,
    listed,
    p_of,
    page,
    pairs,
    processors,
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
FIVE = ["supervised", "mt", "cps", "cmtv3", "ucmt"]
POLYPS_TWICE = {
    "cvc at random": Table("cvc", 36, 490, FIVE, protocol="small"),
    "kvasir": Table("kvasir", 60, 800, FIVE, protocol="small"),
}
ATRIA = Table("la", 3, 30, [*FIVE, "dtc"], "uamt", protocol="small 3D")
ATRIA_TWICE = Table("la", 6, 30, FIVE, "uamt", protocol="small 3D")
OTHER_METHODS = {
    "isic": Table("isic", 9, 1815, [*OTHERS, "cct", "ugcl"], protocol="small"),
    "cvc at random": Table("cvc", 18, 490, [*OTHERS, "cct", "ugcl"], protocol="small"),
}
ADVERSARIAL = {
    name: table._replace(methods=["supervised", "mt", "advsemseg", "coladv"], seeds=5)
    for name, table in (("isic", LESIONS), ("kvasir", POLYPS["kvasir"]), ("cvc at random", POLYPS["cvc at random"]))
}
ADVERSARIAL_TWICE = {
    name: table._replace(methods=["supervised", "mt", "advsemseg", "coladv"]) for name, table in POLYPS_TWICE.items()
}
AUTHORS = "AdvSemSeg, its authors' weights"
AVERAGED = "Supervised, averaged weights"
BESIDE_AVERAGES = {
    "isic, 9": LESIONS,
    "isic, 18": LESIONS_TWICE,
    "cvc": POLYPS["cvc at random"],
    "cvc by video": POLYPS["cvc"],
    "kvasir": POLYPS["kvasir"],
    "acdc": HEARTS,
    "la": ATRIA._replace(methods=FIVE),
}
TEN_SEEDS = {
    "ISIC, 9 images": LESIONS, "ISIC, 18 images": LESIONS_TWICE, "CVC-ClinicDB at random": POLYPS["cvc at random"],
}  # fmt: skip
SECTIONS = {
    "Skin lesions": [LESIONS],
    "Skin lesions, twice the labels": [LESIONS_TWICE],
    "Polyps": list(POLYPS.values()),
    "Polyps, twice the labels": list(POLYPS_TWICE.values()),
    "Hearts by slices": [HEARTS],
    "Left atria": [ATRIA, ATRIA_TWICE],
    "Other methods": list(OTHER_METHODS.values()),
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_tables_of_small(heading: str) -> None:
    section = re.split(r"\n##+ ", SMALL.split(f"### {heading}\n")[1])[0]
    stand = [line for line in section.splitlines() if " ± " in line]
    expected = [row(title, *cells) for table in SECTIONS[heading] for title, cells in rows(table).items()]
    assert stand == expected
    found = {processors(table) for table in SECTIONS[heading]} - {""}
    assert all(words in " ".join(section.split()) for words in found), found
    assert len(re.findall("kinds? of processor", section)) == len(found)


def beside_averages(name: str) -> dict[str, pd.DataFrame]:
    """Scores by title (seed x case, or group of cases), with those of MT without its loss."""
    table = BESIDE_AVERAGES[name]
    averaged = scores(
        table.data,
        table.labeled,
        "mt",
        table.split,
        changed=changed_by({"lambda_max": "0.0"}),
        protocol=table.protocol,
        seeds=table.seeds,
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


def halves(table: Table) -> dict[str, dict[str, pd.DataFrame]]:
    """Scores by half of the ten seeds and method."""
    tables = independent(table)
    return {name: {method: own.loc[seeds] for method, own in tables.items()} for name, seeds in HALVES.items()}


def test_the_table_of_both_halves_of_the_seeds() -> None:
    section = re.split(r"\n##+ ", SMALL.split("### The first five seeds and the second five\n")[1])[0]
    expected = []
    for data, table in TEN_SEEDS.items():
        first, second = (differences(own, "supervised") for own in halves(table).values())
        expected += [row(data, TITLES[one], *first[one][1:], *second[one][1:]) for one in table.methods[1:]]
    assert [line for line in section.splitlines() if line.startswith(("| ISIC", "| CVC"))] == expected


def test_the_sentences_about_both_halves_of_the_seeds() -> None:
    shown, by_pair = {}, {}
    for data, table in TEN_SEEDS.items():
        for half, own in halves(table).items():
            found, each = compared(own, "supervised"), alone(own, "supervised")
            shown[data, half] = {method for method, cells in found.items() if cells.corrected < 0.05}
            by_pair[data, half] = {method for method, p in each.items() if p < 0.05}
    nine, twice, cvc = TEN_SEEDS
    four = {"mt", "cmtv1", "cmtv3", "ucmt"}
    assert shown[nine, "first"] == shown[nine, "second"] == by_pair[nine, "second"] == four
    assert shown[twice, "first"] == shown[twice, "second"] == set(SEVEN[1:])
    assert shown[cvc, "first"] == {"mt", "cmtv1", "cmtv2", "cmtv3"}
    assert shown[cvc, "second"] == {"mt", "cps", "cmtv1", "cmtv3"}
    assert not any(own for key, own in by_pair.items() if key != (nine, "second"))


def ps_of(values: list[float]) -> str:
    """Several p values in a sentence."""
    words = [p_of(value) for value in values]
    return f"p {words[0]} each" if set(words) == {"below 0.001"} else f"p = {listed(words)}"


def by_points(sizes: list[float]) -> str:
    """Sizes in a sentence."""
    return f"by {listed([f'{size:.1f}' for size in sizes])} points"


def test_the_sentences_about_small() -> None:
    tables = independent(LESIONS)
    found, by_pair = compared(tables, "supervised"), alone(tables, "supervised")
    shown = {method: cells.size for method, cells in found.items() if cells.corrected < 0.05}
    assert set(shown) == {"mt", "cmtv1", "cmtv2", "cmtv3", "ucmt"}
    assert {method for method, p in by_pair.items() if p < 0.05} == set(shown) - {"cmtv2"}
    assert (
        f"by {min(shown.values()):.1f} to {max(shown.values()):.1f} points; all but CMTv2 by their pair" in SMALL_LINE
    )
    most = [shown[method] for method in shown if method != "cmtv2"]
    assert f"gain {min(most):.0f} to {max(most):.0f} points** on the supervised network" in SMALL_LINE
    assert f"{min(most):.0f} to {max(most):.0f} points better than the supervised network" in README_LINE
    few, all_pairs = smallest(tables, 6), smallest(tables, 21)
    words = f"difference of {few:.1f} points from the supervised network, or of {all_pairs:.1f} between any two"
    assert words in SMALL_LINE
    assert f"a true difference of {all_pairs:.1f} points would have been found" in README_LINE
    worth = worth_of_labels(LESIONS)
    words = f"worth {worth.size:.1f} points ({worth.around.replace('+', '')})"
    assert words in SMALL_LINE
    assert words in README_LINE
    seeds = [f"{mean:.1f}" for mean in sorted(tables["supervised"].mean(axis=1))]
    for text in (SMALL_LINE, README_LINE):
        assert f"move the supervised network from {seeds[0]} to {seeds[-1]}" in text
    other = scores("isic", 9, "cps", network="student2", protocol="small", seeds=10).to_numpy().mean()
    assert f"Its other student scores {other:.2f}" in SMALL_LINE


def test_the_pairs_of_small() -> None:
    tables = independent(LESIONS)
    corrected, own = pairs(tables), compared(tables, "cps")
    named = ["cmtv1", "mt", "ucmt"]
    sizes, ps = [own[one].size for one in named], [corrected[frozenset((one, "cps"))] for one in named]
    assert f"better than CPS**, {by_points(sizes)} ({ps_of(ps)}, corrected over all 21 pairs)" in SMALL_LINE
    assert corrected[frozenset(("cmtv3", "cps"))] < 0.05
    best = {"mt", "cmtv1", "cmtv3", "ucmt"}
    assert all(p >= 0.05 for pair, p in corrected.items() if pair <= best)


def test_the_students_of_cmtv2_are_those_of_cps() -> None:
    """With nine images all seeds of both were trained on the same kind of processor."""
    for student in ("student1", "student2"):
        one, other = (scores("isic", 9, m, network=student, protocol="small", seeds=10) for m in ("cps", "cmtv2"))
        assert one.equals(other)


def test_the_sentences_about_twice_the_labels_at_small() -> None:
    tables = independent(LESIONS_TWICE)
    found = compared(tables, "supervised")
    gains = [cells.size for cells in found.values()]
    assert all(cells.corrected < 0.05 for cells in found.values())
    assert all(p < 0.05 for p in alone(tables, "supervised").values())
    assert f"better than the supervised network**, by {min(gains):.1f} to {max(gains):.1f} points" in SMALL_LINE
    assert f"ablation gain {min(gains):.0f} to {max(gains):.0f} points, CPS among them" in SMALL_LINE
    assert (
        f"all six methods are shown to gain {min(gains):.0f} to {max(gains):.0f} points, CPS among them" in README_LINE
    )
    assert f"better than it with 18 images of ISIC, by {found['cps'].size:.1f}" in SMALL_LINE
    corrected, own = pairs(tables), compared(tables, "cps")
    better = [one for one in own if one != "supervised" and corrected[frozenset((one, "cps"))] < 0.05]
    assert better == ["mt", "cmtv1", "cmtv3"]
    ps = [corrected[frozenset((one, "cps"))] for one in better]
    words = f"better than CPS**, {by_points([own[one].size for one in better])} ({ps_of(ps)}, corrected over all 21"
    assert words in SMALL_LINE
    shown = {pair for pair, p in corrected.items() if p < 0.05 and "supervised" not in pair}
    assert shown == {frozenset((one, "cps")) for one in better}
    few, all_pairs = smallest(tables, len(tables) - 1), smallest(tables, 21)
    words = f"difference of {few:.1f} points from the supervised network, or of {all_pairs:.1f} between any two"
    assert words in SMALL_LINE
    each = holm({
        frozenset((one, other)): compared({one: tables[one], other: tables[other]}, one)[other].p
        for one, other in combinations(tables, 2)
    })  # fmt: skip
    p, size = each[frozenset(("mt", "ucmt"))], compared(tables, "ucmt")["mt"].size
    assert f"By its pair alone, MT is better than UCMT ({size:.1f} points, p = {p:.3f})" in SMALL_LINE


def test_the_sentences_about_averaged_weights() -> None:
    tables = {name: beside_averages(name) for name in BESIDE_AVERAGES}
    found = {name: compared(own, AVERAGED) for name, own in tables.items()}
    by_pair = {name: alone(own, AVERAGED) for name, own in tables.items()}
    cvc = found["cvc"]
    assert not [title for title, own in cvc.items() if own.size > 0 and own.corrected < 0.05]
    assert f"They score {-cvc['Supervised'].size:.1f} points more than the supervised network" in SMALL_LINE
    assert cvc["Supervised"].corrected < 0.05
    assert f"gains {-cvc['Supervised'].size:.1f} points, and no method is shown to be better" in SMALL_LINE
    assert f"gain {-cvc['Supervised'].size:.1f}. - **CPS is shown to be worse" in SMALL_LINE
    assert f"gains {-cvc['Supervised'].size:.1f}, and no method is shown to be better than that" in README_LINE
    worse = [title for title, own in cvc.items() if own.corrected < 0.05 and title != "Supervised"]
    assert worse == ["CPS", "UCMT"]
    words = f"worse than they are, {by_points([-cvc[title].size for title in worse])}. A true difference of "
    assert f"{words}{smallest(tables['cvc'], 7):.1f} would have been shown" in SMALL_LINE
    four = ["MT", "CMTv1", "CMTv3", "UCMT"]
    around = {}
    for name in ("isic, 9", "isic, 18"):
        assert all(found[name][title].corrected < 0.05 and by_pair[name][title] < 0.05 for title in four)
        sizes = [found[name][title].size for title in four]
        around[name] = f"by {min(sizes):.1f} to {max(sizes):.1f}"
    assert f"{around['isic, 9']} points with nine images and {around['isic, 18']} with 18, and by their" in SMALL_LINE
    sizes = [found["isic, 9"][title].size for title in four]
    assert f"are, by {min(sizes):.0f} to {max(sizes):.0f} points with nine images" in SMALL_LINE
    assert f"shown to be {min(sizes):.0f} to {max(sizes):.0f} points better than that" in README_LINE
    twice = found["isic, 18"]
    shown = [own.size for title, own in twice.items() if own.size > 0 and own.corrected < 0.05]
    assert len(shown) == 5
    assert twice["CPS"].corrected >= 0.05
    assert found["isic, 9"]["CMTv2"].corrected >= 0.05
    assert by_pair["isic, 18"]["CMTv2"] < 0.05
    assert f"With 18 so is CMTv2, by {twice['CMTv2'].size:.1f}" in SMALL_LINE
    words = f"but CPS are shown to be better than averaged weights, by {min(shown):.0f} to {max(shown):.0f}"
    assert words in README_LINE
    others = ("cvc by video", "kvasir", "acdc", "la")
    assert all(own.corrected >= 0.05 for name in others for own in found[name].values())
    one, on = compared(independent(POLYPS["cvc"]), "supervised")["cmtv1"], found["cvc by video"]["CMTv1"]
    words = f"CMTv1's gain on CVC-ClinicDB by video, {one.size:.1f} points on the supervised network, is {on.size:.1f}"
    assert f"{words} on averaged weights ({on.around})" in SMALL_LINE
    sizes = [f"{smallest(tables[name], len(tables[name]) - 1):.1f}" for name in others]
    assert f"True differences of {listed(sizes)} points would have been shown" in SMALL_LINE
    atria, cmt = found["la"]["Supervised"], found["la"]["CMTv3"]
    assert atria.p < 0.05 <= atria.corrected
    assert found["la"]["MT"].size < 0 < cmt.size
    assert "On LA, averaged weights alone score more than MT and less than CMTv3" in SMALL_LINE
    words = f"On LA they score {-atria.size:.1f} points more than it, shown before the correction alone; CMTv3 scores"
    assert f"{words} {cmt.size:.1f} more than they do ({cmt.around})" in SMALL_LINE
    student, supervised = (
        scores("cvc", 18, method, changed=changed, network=network, protocol="small", seeds=10).to_numpy().mean()
        for method, changed, network in (
            ("mt", changed_by({"lambda_max": "0.0"}), "student"), ("supervised", "{}", ""),
        )
    )  # fmt: skip
    assert f"scores {student:.2f} on CVC-ClinicDB, where the supervised network scores {supervised:.2f}" in SMALL_LINE
    less = [
        (scores("cvc", 18, method, protocol="small", seeds=10)
         - scores("cvc", 18, method, network=network, protocol="small", seeds=10)).to_numpy().mean()
        for method, networks in (("mt", ["student"]), *((f"cmtv{n}", ["student1", "student2"]) for n in (1, 2, 3)))
        for network in networks
    ]  # fmt: skip
    assert f"CMTv3 score {min(less):.0f} to {max(less):.0f} points less than their teachers" in SMALL_LINE


def test_the_sentences_about_atria_at_small() -> None:
    tables = independent(ATRIA)
    means = {method: table.mean(axis=1).to_numpy() for method, table in tables.items()}
    assert f"network scores {listed([f'{mean:.1f}' for mean in means['supervised']])}. MT and CMTv3" in SMALL_LINE
    higher = {method: int((own > means["supervised"]).sum()) for method, own in means.items()}
    assert (higher["mt"], higher["cmtv3"]) == (4, 4)
    found = compared(tables, "supervised")
    assert all(cells.corrected >= 0.05 for cells in found.values())
    assert {method for method, cells in found.items() if cells.p < 0.05} == {"cmtv3"}
    cmt = found["cmtv3"]
    words = f"CMTv3 gains {cmt.size:.1f} points, which is shown before the correction alone ({cmt.corrected:.3f}, "
    assert f"{words}{cmt.p:.3f} before it)" in SMALL_LINE
    p = pairs(tables)
    shown = {pair for pair, value in p.items() if value < 0.05}
    assert shown == {frozenset(("dtc", other)) for other in ("cmtv3", "mt")}
    better = compared(tables, "dtc")
    sizes = [f"{better[other].size:.1f}" for other in ("cmtv3", "mt")]
    ps = [f"{p[frozenset(('dtc', other))]:.3f}" for other in ("cmtv3", "mt")]
    words = f"by {listed(sizes)} points (p = {listed(ps)}, corrected over all 15 pairs)"
    assert f"**DTC is shown to be worse than CMTv3 and MT**, {words}" in SMALL_LINE
    ends = upper_line(ATRIA).mean(axis=1)
    words = f"the labels of all 30 scans are worth {worth_of_labels(ATRIA).size:.1f} points. With them the five seeds"
    assert f"{words} differ less, from {ends.min():.1f} to {ends.max():.1f}" in SMALL_LINE
    assert f"A true difference of {smallest(tables, 5):.1f} points would have been shown" in SMALL_LINE


def test_the_sentences_about_atria_with_six_scans() -> None:
    three, six = independent(ATRIA), independent(ATRIA_TWICE)
    found = compared(six, "supervised")
    cps = found["cps"]
    assert all(cells.corrected >= 0.05 for cells in found.values())
    assert [method for method, cells in found.items() if cells.p < 0.05] == ["cps"]
    words = (
        f"CPS gains {cps.size:.1f} points, which is shown before the correction alone ({cps.corrected:.3f}, {cps.p:.3f}"
    )
    assert f"{words} before it)" in SMALL_LINE
    assert (six["cps"].mean(axis=1) > six["supervised"].mean(axis=1)).all()
    assert (
        f"A true difference of {smallest(six, 4):.1f} points would have been shown with 80 % power. - Six" in SMALL_LINE
    )
    own = six["supervised"].mean(axis=1)
    more = own.mean() - three["supervised"].to_numpy().mean()
    assert f"Six scans instead of three are worth {more:.1f} points to the supervised network" in SMALL_LINE
    assert f"Its seeds differ less, from {own.min():.1f} to {own.max():.1f}" in SMALL_LINE


def test_the_sentences_about_other_methods_at_small() -> None:
    tables = {name: independent(table) for name, table in OTHER_METHODS.items()}
    found = {name: compared(own, "supervised") for name, own in tables.items()}
    gains = [found["isic"][method].size for method in ("ict", "mt-cutmix", "uamt")]
    shown = {method for method, cells in found["isic"].items() if cells.corrected < 0.05}
    assert shown == {"mt", "ict", "mt-cutmix", "uamt"}
    below, corrected = compared(tables["isic"], "mt"), pairs(tables["isic"])
    words = [f"{-below[method].size:.1f}" for method in ("cct", "ugcl")]
    ps = [f"{corrected[frozenset(('mt', method))]:.3f}" for method in ("cct", "ugcl")]
    words = f"by {listed(words)} points (p = {listed(ps)}, corrected over all {len(corrected)} pairs)"
    assert f"both are shown to be worse than MT there, {words}" in SMALL_LINE
    assert f"better than the supervised network on ISIC**, by {min(gains):.1f} to {max(gains):.1f} points" in SMALL_LINE
    assert all(cells.corrected >= 0.05 for cells in found["cvc at random"].values())
    all_pairs = pairs(tables["cvc at random"])
    worse = [("uamt", "mt"), ("ugcl", "mt"), ("cct", "mt"), ("cct", "mt-cutmix")]
    assert {pair for pair, p in all_pairs.items() if p < 0.05} == {frozenset(pair) for pair in worse}
    sizes = [f"{-compared(tables['cvc at random'], other)[one].size:.1f}" for one, other in worse]
    ps = listed([f"{all_pairs[frozenset(pair)]:.3f}" for pair in worse])
    words = (
        f"by {listed(sizes[:3])} points, and CCT worse than MT + CutMix, by {sizes[3]} (p = {ps}, corrected over all"
    )
    assert f"{words} {len(all_pairs)} pairs)" in SMALL_LINE
    twice = independent(Table("isic", 18, 1815, ["supervised", "cct"], protocol="small"))
    assert compared(twice, "supervised")["cct"].p >= 0.05
    own = [f"{twice[method].to_numpy().mean():.2f}" for method in ("cct", "supervised")]
    assert f"it scores {own[0]}, and the supervised network of the same seeds {own[1]}" in SMALL_LINE
    assert all(pairs(own)[frozenset(("mt", "mt-cutmix"))] >= 0.05 for own in tables.values())
    fewer = {key: own for key, own in tables["cvc at random"].items() if key in OTHERS[:4]}
    without = compared(fewer, "supervised")
    assert without["mt"].corrected < 0.05
    assert f"Without these three, it is (p = {without['mt'].corrected:.3f})" in SMALL_LINE
    mix = without["mt-cutmix"]
    words = f"of MT + CutMix is then shown before the correction alone ({mix.corrected:.3f}, {mix.p:.3f} before it)"
    assert words in SMALL_LINE


def beside_adversaries(name: str) -> dict[str, pd.DataFrame]:
    """Scores by title (seed x case, or group of cases) of the adversarial methods, and of AdvSemSeg at its weights."""
    table = ADVERSARIAL[name]
    found = {TITLES[method]: own for method, own in independent(table).items()}
    authors = scores(
        table.data, table.labeled, "advsemseg", changed=changed_by({"lambda_max": "0.1"}), protocol="small", seeds=5
    )
    colored = found.pop("ColAdv")
    return {**found, AUTHORS: by_group(table.data, authors), "ColAdv": colored}


def test_the_tables_of_adversarial_methods() -> None:
    section = re.split(r"\n##+ ", SMALL.split("### Adversarial methods\n")[1])[0]
    expected = [
        row(title, *cells)
        for name in ADVERSARIAL
        for title, cells in differences(beside_adversaries(name), "Supervised").items()
    ]
    expected += [
        row(TITLES[method], *cells)
        for table in ADVERSARIAL_TWICE.values()
        for method, cells in differences(independent(table), "supervised").items()
    ]
    assert [text for text in section.splitlines() if " ± " in text] == expected


def test_the_sentences_about_adversarial_methods() -> None:
    tables = {name: beside_adversaries(name) for name in ADVERSARIAL}
    found = {name: compared(own, "Supervised") for name, own in tables.items()}
    three = ["AdvSemSeg", AUTHORS, "ColAdv"]
    words = "AdvSemSeg and ColAdv were trained on another kind of processor than the other rows."
    assert {processors(table) for table in ADVERSARIAL.values()} == {words}
    assert "The adversarial methods were trained on another kind of processor than the other rows." in SMALL_LINE
    assert all(own[title].size < 0 or own[title].corrected >= 0.05 for own in found.values() for title in three)
    lower = [("AdvSemSeg", "cvc at random")]
    worse = [(title, name) for name, own in found.items() for title in three if own[title].corrected < 0.05]
    assert worse == lower
    cvc = found["cvc at random"]
    by_pair = alone(tables["cvc at random"], "Supervised")["AdvSemSeg"]
    one, other = cvc["AdvSemSeg"], cvc[AUTHORS]
    words = (
        f"at random**, by {-one.size:.1f} points (p = {one.corrected:.3f}, pair alone {by_pair:.3f}). With its authors'"
    )
    assert (
        f"{words} weights it scores {-other.size:.1f} points lower, which is not shown ({other.corrected:.3f})"
        in SMALL_LINE
    )
    for name, words in (("isic", "on ISIC, by {} points (p = {}"), ("cvc at random", "on CVC-ClinicDB by {} (p = {}")):
        p, below = pairs(tables[name]), compared(tables[name], "MT")
        ps = [p[frozenset(("MT", title))] for title in three]
        assert all(value < 0.05 for value in ps)
        ps_in_words = listed([f"{value:.3f}" if value >= 0.001 else "below 0.001" for value in ps])
        assert words.format(listed([f"{-below[title].size:.1f}" for title in three]), ps_in_words) in SMALL_LINE
    (worst,) = (pair for pair, p in pairs(tables["kvasir"]).items() if p < 0.05)
    assert worst == {"MT", "AdvSemSeg"}
    below, p = compared(tables["kvasir"], "MT")["AdvSemSeg"].size, pairs(tables["kvasir"])[worst]
    assert f"On Kvasir-SEG AdvSemSeg alone is, by {-below:.1f} (p = {p:.3f})" in SMALL_LINE
    one, by_pair = found["kvasir"]["AdvSemSeg"], alone(tables["kvasir"], "Supervised")["AdvSemSeg"]
    words = f"by {-one.size:.1f} points, is shown there by its pair alone ({by_pair:.3f}; {one.corrected:.3f} by the"
    assert words in SMALL_LINE
    power = listed([f"{smallest(own, 4):.1f}" for own in tables.values()])
    assert f"differences of {power} points from the supervised network would have been shown" in SMALL_LINE


def test_the_sentences_about_adversarial_methods_with_twice_the_labels() -> None:
    tables = [independent(table) for table in ADVERSARIAL_TWICE.values()]
    found, by_pair = ([test(own, "supervised") for own in tables] for test in (compared, alone))
    shown = [{method for method, cells in own.items() if cells.corrected < 0.05} for own in found]
    assert shown == [{"advsemseg", "coladv"}, {"advsemseg"}]
    sizes = listed([f"{-own['advsemseg'].size:.1f}" for own in found])
    ps = [p_of(own["advsemseg"].corrected) for own in found]
    pair = [f"{own['advsemseg']:.3f}" for own in by_pair]
    words = f"on both**, by {sizes} points (p {listed(ps)}, pair alone {listed(pair)}), and ColAdv on CVC-ClinicDB, by "
    one = found[0]["coladv"]
    assert f"{words}{-one.size:.1f} (p = {one.corrected:.3f}, pair alone {by_pair[0]['coladv']:.3f})" in SMALL_LINE
    assert f"True differences of {listed([f'{smallest(own, 3):.1f}' for own in tables])} points" in SMALL_LINE


def test_the_two_networks_of_uamt() -> None:
    own = {network: scores("cvc", 18, "uamt", network=network, protocol="small") for network in ("student", "teacher")}
    means = {network: table.mean(axis=1) for network, table in own.items()}
    around = {network: f"{one.min():.1f} to {one.max():.1f}" for network, one in means.items()}
    assert f"the student scores {around['student']}, and the teacher of the same runs {around['teacher']}" in SMALL_LINE
    student, teacher = (
        scores("isic", 9, "uamt", network=network, protocol="small").to_numpy().mean() for network in own
    )
    assert f"On ISIC they score {student:.2f} and {teacher:.2f}" in SMALL_LINE


def test_the_sentences_about_polyps_at_small() -> None:
    found, sizes = {}, {}
    for name, table in POLYPS.items():
        tables = independent(table)
        found[name] = compared(tables, "supervised")
        sizes[name] = smallest(tables, len(tables) - 1)
    shown = {name: [method for method, cells in own.items() if cells.corrected < 0.05] for name, own in found.items()}
    assert {name: set(own) for name, own in shown.items()} == {
        "kvasir": set(), "cvc": {"cmtv1"}, "cvc at random": {"mt", "cps", "cmtv1", "cmtv2", "cmtv3"}
    }  # fmt: skip
    assert {method for method, cells in found["cvc"].items() if cells.p < 0.05} == {"mt", "cmtv1", "cmtv3"}
    gain = {name: {method: cells.size for method, cells in own.items()} for name, own in found.items()}
    assert f"CMTv1 is shown to gain {gain['cvc']['cmtv1']:.1f} points.** MT and CMTv3 gain " in SMALL_LINE
    assert f"{gain['cvc']['mt']:.0f} and {gain['cvc']['cmtv3']:.0f}, which is shown before the correction" in SMALL_LINE
    of_ucmt = [f"{gain[name]['ucmt']:+.1f}" for name in ("cvc", "cvc at random", "kvasir")]
    words = f"{of_ucmt[0]} points on CVC-ClinicDB by video, {of_ucmt[1]} at random, and {of_ucmt[2]} on Kvasir-SEG"
    assert words in SMALL_LINE
    at_random = independent(POLYPS["cvc at random"])
    better = [method for method in shown["cvc at random"] if gain["cvc at random"][method] > 0]
    assert all(alone(at_random, "supervised")[method] < 0.05 for method in shown["cvc at random"])
    gains = [gain["cvc at random"][method] for method in better]
    assert f"are shown to gain at random**, by {min(gains):.1f} to {max(gains):.1f} points" in SMALL_LINE
    assert f"CMTv2 and CMTv3 are shown to gain {min(gains):.0f} to {max(gains):.0f} points. But the" in README_LINE
    assert f"supervised network at random**, by {-gain['cvc at random']['cps']:.1f} points" in SMALL_LINE
    assert f"CVC-ClinicDB split at random**, by {-gain['cvc at random']['cps']:.1f} points" in SMALL_LINE
    corrected, over_ucmt = pairs(at_random), compared(at_random, "ucmt")
    assert ps_of([corrected[frozenset((method, "ucmt"))] for method in better]) == "p below 0.001 each"
    gaps = [over_ucmt[method].size for method in better]
    words = f"CMTv3 at random**, by {min(gaps):.1f} to {max(gaps):.1f} points (p below 0.001 each"
    assert words in SMALL_LINE
    assert f"MT is shown to be {over_ucmt['mt'].size:.1f} points better than UCMT" in SMALL_LINE
    kvasir = independent(POLYPS["kvasir"])
    three = [("mt", "cps"), ("cmtv1", "cps"), ("cmtv1", "ucmt")]
    p = pairs(kvasir)
    assert {pair for pair, value in p.items() if value < 0.05} == {frozenset(pair) for pair in three}
    gaps = [f"{compared(kvasir, other)[one].size:.1f}" for one, other in three]
    words = f"better than CPS**, by {gaps[0]} and {gaps[1]} points, and CMTv1 better than UCMT, by {gaps[2]} ("
    assert f"{words}{ps_of([p[frozenset(pair)] for pair in three])}, corrected over all {len(p)} pairs)" in SMALL_LINE
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
    assert f"where all 800 labels are worth {more:.1f}" in README_LINE


def test_the_sentences_about_polyps_with_twice_the_labels() -> None:
    tables = {name: independent(table) for name, table in POLYPS_TWICE.items()}
    found = {name: compared(own, "supervised") for name, own in tables.items()}
    for own in found.values():
        assert {method for method, cells in own.items() if cells.corrected < 0.05} == {"cps", "ucmt"}
    by_pair = {
        (name, method) for name, own in tables.items() for method, p in alone(own, "supervised").items() if p < 0.05
    }
    assert by_pair == {("kvasir", "ucmt")}
    worth = {name: worth_of_labels(table) for name, table in POLYPS_TWICE.items()}
    one, other = (f"{own.size:.1f}" for own in worth.values())
    around = [own.around for own in worth.values()]
    assert f"worth {one} points ({around[0]}) on CVC-ClinicDB and {other} ({around[1]})" in SMALL_LINE
    sizes = [f"{smallest(own, 4):.1f}" for own in tables.values()]
    assert f"True differences of {sizes[0]} and {sizes[1]} points would have been shown" in SMALL_LINE
    less = [f"{-own[method].size:.1f}" for own in found.values() for method in ("cps", "ucmt")]
    words = f"by {less[0]} and {less[1]} points on CVC-ClinicDB and by {less[2]} and {less[3]} on Kvasir-SEG"
    assert words in SMALL_LINE


def test_the_sentences_about_hearts_at_small() -> None:
    tables = independent(HEARTS)
    assert all(cells.corrected >= 0.05 for cells in compared(tables, "supervised").values())
    assert f"A true difference of {smallest(tables, len(tables) - 1):.1f} points from the supervised" in SMALL_LINE
    assert f"the labels of all 20 patients are worth {worth_of_labels(HEARTS).size:.1f} points" in SMALL_LINE


def test_the_table_of_the_readme() -> None:
    for title, (mean, around, comparison, by_pair) in rows(LESIONS).items():
        *difference, p = comparison.split(" (")[0].rsplit(", ", 1) if comparison else ["", ""]
        assert row(title, mean, around, ", ".join(difference), p, by_pair) in README
