"""Every number of docs/ucmt-at-small.md: recomputed from stored cases, and those of claims by the package itself."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from conftest import REPOSITORY
from documented import (
    HALVES,
    Difference,
    alone,
    by_group,
    cases_of,
    changed_by,
    compared,
    differences,
    listed,
    page,
    pairs,
    row,
    scores,
    smallest,
    spread,
)

import ssl_bench
from ssl_bench.reporting.claim_verdicts import ClaimTest
from ssl_bench.reporting.claims import ClaimsReport
from ssl_bench.statistics.holm import holm

PAGE, LINE = page("docs/ucmt-at-small.md")
_, SMALL_LINE = page("docs/small.md")
_, README_LINE = page("README.md")
NO_MIX = {"boxes": 1, "low": 1e-9, "high": 1e-9}
WEAK = {"views.labeled_mixed": "weak"}
BOTH = {"teacher_source": "[0.5, 0.5]"}

Side = tuple[str, dict[str, Any]]  # a method, and the settings that differ from the protocol and its own

PARTS: dict[str, Side] = {
    "UCMT": ("ucmt", {}),
    "CutMix instead of UMIX": ("ucmt-cutmix", {}),
    "No mix": ("ucmt-cutmix", NO_MIX),
    "Labelled images weakly augmented": ("ucmt", WEAK),
    "No mix, labelled images weakly augmented": ("ucmt-cutmix", NO_MIX | WEAK),
    "No second step (CMTv3)": ("cmtv3", {}),
}
GUIDANCE: dict[str, Side] = {
    "UCMT": ("ucmt", {}),
    "UMIX of random regions": ("ucmt", {"umix_regions": "random"}),
    "CutMix, boxes of UMIX's size": ("ucmt-cutmix", {"boxes": 4, "low": 0.015625, "high": 0.015625}),
    "CutMix": ("ucmt-cutmix", {}),
}
OF_POLYPS: dict[str, Side] = {
    "UCMT": ("ucmt", {}),
    "UMIX of random regions": GUIDANCE["UMIX of random regions"],
    **{title: side for title, side in PARTS.items() if title != "UCMT"},
}
POLYPS = {"kvasir": 30, "cvc": 18}
OF_TEACHERS: dict[str, dict[str, Any]] = {
    "the teacher's decay is 0.999 (paper)": {"ema_decay": "0.999"},
    "no warm-up of the teacher's average (paper states none)": {"ema_warmup": "False"},
    "the teacher is in evaluation mode, its buffers are averaged": {"teacher_mode": "eval", "teacher_buffers": "ema"},
}
CHANGES: dict[str, dict[str, Side]] = {
    "UCMT": {
        "nothing": ("ucmt", {}),
        **{title: ("ucmt", changes) for title, changes in OF_TEACHERS.items()},
        "UMIX at once, not in place (paper)": ("ucmt", {"umix_order": "simultaneous"}),
        "uncertainty after the first update (paper)": ("ucmt", {"uncertainty_from": "after-update"}),
        "the teacher runs again on mixed images (paper)": ("ucmt", {"step2_teacher": "run-again"}),
        "lambda's ramp-up over a fifth of the run (released code)": ("ucmt", {"rampup_epochs": "0.222"}),
    },
    "teacher": {
        "nothing": ("ucmt", {}),
        "the teacher averages both students (paper, equation 6)": ("ucmt", BOTH),
        "both students start with the same weights, and the teacher averages them": (
            "ucmt", BOTH | {"student_init": "same"},
        ),
    },
    "CPS": {
        "nothing": ("cps", {}),
        "mean of both directions, not their sum (released code)": ("cps", {"unsupervised_reduction": "mean"}),
        "lambda's ramp-up over a fifth of the run (released code)": ("cps", {"rampup_epochs": "0.444"}),
    },
    "MT": {
        "nothing": ("mt", {}),
        **{title: ("mt", changes) for title, changes in OF_TEACHERS.items()},
        "lambda's ramp-up over a fifth of the run (released code)": ("mt", {"rampup_epochs": "0.444"}),
    },
}  # fmt: skip


def of_sides(labeled: int, sides: dict[str, Side], seeds: int = 5) -> dict[str, pd.DataFrame]:
    """Scores on ISIC by title (seed x case)."""
    return {
        title: scores("isic", labeled, method, changed=changed_by(settings), protocol="small", seeds=seeds)
        for title, (method, settings) in sides.items()
    }


def against_ucmt(sides: dict[str, Side], seeds: int = 5) -> list[str]:
    nine, twice = (differences(of_sides(labeled, sides, seeds), "UCMT") for labeled in (9, 18))
    return [row(title, *nine[title], *twice[title]) for title in sides]


def on_polyps(data: str) -> dict[str, pd.DataFrame]:
    """Scores by title (seed x case), of CVC-ClinicDB (seed x video)."""
    return {
        title: by_group(data, scores(data, POLYPS[data], method, changed=changed_by(settings), protocol="small"))
        for title, (method, settings) in OF_POLYPS.items()
    }


def of_parts_on_polyps() -> list[str]:
    kvasir, cvc = (differences(on_polyps(data), "UCMT") for data in POLYPS)
    return [row(title, *kvasir[title], *cvc[title]) for title in OF_POLYPS]


def of_parts() -> list[str]:
    return against_ucmt(PARTS)


def of_guidance() -> list[str]:
    return against_ucmt(GUIDANCE, seeds=10)


def of_changes() -> list[str]:
    found = [differences(of_sides(18, sides), "nothing") for sides in CHANGES.values()]
    return [row(title, *cells) for table in found for title, cells in table.items()]


def of_regions() -> list[str]:
    return [row(f"1/{r}", *(spread(regions(k, r)) for k in range(1, 6))) for r in (16, 4, 8)]


SHARES = (3, 9, 18, 36)
OF_SHARES: dict[str, Side] = {"Supervised": ("supervised", {}), "UCMT": ("ucmt", {}), "CutMix": ("ucmt-cutmix", {})}


def of_shares() -> list[str]:
    found = {labeled: differences(of_sides(labeled, OF_SHARES), "Supervised") for labeled in SHARES}
    return [row(str(labeled), own["Supervised"][0], *own["UCMT"], *own["CutMix"]) for labeled, own in found.items()]


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("The second step", of_parts),
        ("The second step on polyps", of_parts_on_polyps),
        ("What chooses the regions", of_guidance),
        ("Numbers of labels", of_shares),
        ("The paper and its code", of_changes),
        ("Regions: k and r", of_regions),
    ],
)
def test_the_tables(heading: str, expected: Callable[[], list[str]]) -> None:
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    assert [text for text in section.splitlines() if " ± " in text] == expected()


def test_the_sentences_about_parts() -> None:
    nine, twice = (of_sides(labeled, PARTS) for labeled in (9, 18))
    title = "No mix, labelled images weakly augmented"
    both, by_pair = compared(nine, "UCMT")[title], alone(nine, "UCMT")[title]
    assert both.corrected < 0.05 <= by_pair
    seeds = [f"{value:.1f}" for value in (nine[title] - nine["UCMT"]).mean(axis=1)]
    words = f"alone (pair alone: p = {by_pair:.3f}): the seeds differ by {', '.join(seeds[:-1])} and {seeds[-1]}"
    assert words in LINE
    assert f"UCMT is shown to score {-both.size:.1f} points lower with nine images" in LINE
    assert f"images together are worth {-both.size:.1f} points** to the second update" in LINE
    assert {title for title, one in compared(nine, "UCMT").items() if one.corrected < 0.05} == {
        "No mix, labelled images weakly augmented"
    }
    worse = [("UCMT", "CutMix instead of UMIX"), ("No second step (CMTv3)", "CutMix instead of UMIX"),
             ("Labelled images weakly augmented", "CutMix instead of UMIX")]  # fmt: skip
    p = pairs(twice)
    assert {frozenset(pair) for pair in worse} == {pair for pair, value in p.items() if value < 0.05}
    sizes = [f"{-compared(twice, other)[mix].size:.1f}" for other, mix in worse]
    ps = [f"{p[frozenset(pair)]:.3f}" for pair in worse]
    words = f"by {sizes[0]}, {sizes[1]} and {sizes[2]} points (p = {ps[0]}, {ps[1]} and {ps[2]}, corrected over all 15"
    assert words in LINE
    assert compared(twice, "UCMT")["No mix"].corrected >= 0.05
    assert "That UMIX is better than no mix is not shown" in LINE
    found = [smallest(tables, 5) for tables in (nine, twice)]
    words = f"of {found[0]:.1f} points from UCMT would have been shown with 80 % power with nine images, and of "
    assert words + f"{found[1]:.1f} with 18" in LINE
    against_cmt = compared(twice, "No second step (CMTv3)")["UCMT"]
    words = f"the difference is {against_cmt.size:.1f} points ({against_cmt.around})"
    assert words in LINE
    assert f"and a true difference of {found[1]:.1f} points would have been shown" in LINE


def test_the_sentences_about_polyps() -> None:
    kvasir, cvc = (on_polyps(data) for data in POLYPS)
    cmt, random, cutmix = "No second step (CMTv3)", "UMIX of random regions", "CutMix instead of UMIX"
    both = "No mix, labelled images weakly augmented"
    found = [compared(tables, "UCMT") for tables in (kvasir, cvc)]
    assert all(own[cmt].corrected < 0.05 for own in found)
    assert [alone(tables, "UCMT")[cmt] < 0.05 for tables in (kvasir, cvc)] == [True, False]
    words = f"scores {found[0][cmt].size:.1f} points more on Kvasir-SEG and {found[1][cmt].size:.1f} on CVC-ClinicDB"
    assert LINE.count(words) == 2
    assert all(own[title].p > 0.05 for own in found for title in (random, "No mix"))
    apart = [abs(found[0][title].size) for title in ("No mix", random)]
    power = [smallest(tables, 6) for tables in (kvasir, cvc)]
    words = f"differ from it by {apart[0]:.1f} and {apart[1]:.1f} points on Kvasir-SEG, where true differences of "
    assert f"{words}{power[0]:.1f} points would have been shown with 80 % power ({power[1]:.1f} on CVC-Clin" in LINE
    p, others = pairs(kvasir), ("UCMT", random, "No mix")
    assert all(p[frozenset((cutmix, other))] < 0.001 for other in others)
    sizes = listed([f"{compared(kvasir, cutmix)[other].size:.1f}" for other in others])
    assert f"than no mix**, by {sizes} points (p below 0.001 each, corrected over all {len(p)} pairs)" in LINE
    assert all(pairs(cvc)[frozenset((cutmix, other))] >= 0.05 for other in others)
    pair = alone(kvasir, "UCMT")
    words = (
        f"UCMT scores {found[0][both].size:.1f} points more on Kvasir-SEG (p = {found[0][both].corrected:.3f}, pair "
    )
    assert f"{words}alone {pair[both]:.3f}) and {found[1][both].size:.1f} on CVC-ClinicDB, which is not shown" in LINE
    assert found[1][both].corrected >= 0.05
    weak = "Labelled images weakly augmented"
    assert (
        f"labelled images alone score {found[0][weak].size:.1f} more on Kvasir-SEG; this is shown by the pair" in LINE
    )
    assert pair[weak] < 0.05 <= found[0][weak].corrected
    words = f"cost {compared(kvasir, both)[cmt].size:.1f} points against CMTv3 on Kvasir-SEG (p = "
    assert f"{words}{p[frozenset((cmt, both))]:.3f}, corrected over all {len(p)} pairs)" in LINE


def test_the_processors_on_polyps() -> None:
    for data, labeled in POLYPS.items():
        kinds = {
            title: set(
                cases_of(data, labeled, method, "random", changed_by(changes), "measured", "small", 5)["processor"]
            )
            for title, (method, changes) in OF_POLYPS.items()
        }
        first = kinds["UCMT"]
        assert {title for title, kind in kinds.items() if kind & first} == {"UCMT", "No second step (CMTv3)"}, data


def test_the_sentences_about_guidance() -> None:
    random, small, cutmix = list(GUIDANCE)[1:]
    tables = [of_sides(labeled, GUIDANCE, seeds=10) for labeled in (9, 18)]
    lower = [compared(own, "UCMT")[random] for own in tables]
    assert all(one.corrected >= 0.05 for one in lower)
    sizes = listed([f"{-one.size:.1f}" for one in lower])
    around = [compared(own, random)["UCMT"].around for own in tables]
    assert f"scores {sizes} points lower with nine and with 18 images ({around[0]}, and {around[1]})" in LINE
    power = listed([f"{smallest(own, 3):.1f}" for own in tables])
    assert f"True differences of {power} would have been shown with 80 % power" in LINE
    assert f"score {sizes} points less, and {power} would have been found" in LINE
    own = alone(tables[1], "UCMT")[random]
    assert f"With 18 images p is {lower[1].corrected:.3f}, and {own:.3f} by the pair alone" in LINE
    p = [pairs(own) for own in tables]
    for title, words in ((small, "by {} points with nine images and {} with 18"), (random, "by {} and {}")):
        gains = [f"{compared(own, cutmix)[title].size:.1f}" for own in tables]
        ps = listed([f"{value:.3f}" if value >= 0.001 else "below 0.001" for value in
                     (one[frozenset((title, cutmix))] for one in p)])  # fmt: skip
        assert all(one[frozenset((title, cutmix))] < 0.05 for one in p)
        assert words.format(*gains) + f" (p {ps}" in LINE
    more = compared(tables[1], small)["UCMT"]
    boxes = p[1][frozenset(("UCMT", small))]
    assert p[0][frozenset(("UCMT", small))] >= 0.05 > boxes
    assert f"with 18 images, by {more.size:.1f} points (p = {boxes:.3f}, corrected over all six pairs)" in LINE
    over = [compared(own, cutmix) for own in tables]
    words = [f"{one[small].size:.1f} of the {one['UCMT'].size:.1f} points" for one in over]
    assert f"{words[0]} by which UMIX is better than CutMix with nine images, and {words[1]} with 18" in LINE
    own, both = ([f"{one[title].size:.1f}" for one in over] for title in (small, "UCMT"))
    words = f"by {own[0]} points with nine images and {own[1]} with 18, where UMIX gains {listed(both)}. That"
    assert words in LINE
    assert f"[worth {over[1]['UCMT'].size:.1f} points more than CutMix]" in README_LINE
    words = f"are shown to be better than CutMix, too, by {over[1][random].size:.1f}: that uncertainty chooses them"
    assert words in README_LINE


def test_the_halves_of_the_seeds_of_guidance() -> None:
    random, small, cutmix = list(GUIDANCE)[1:]
    found = {
        (labeled, half): compared({title: own.loc[seeds] for title, own in tables.items()}, "UCMT")
        for labeled, tables in ((labeled, of_sides(labeled, GUIDANCE, seeds=10)) for labeled in (9, 18))
        for half, seeds in HALVES.items()
    }
    shown = {key: {title for title, one in own.items() if one.corrected < 0.05} for key, own in found.items()}
    assert all(cutmix in own and random not in own for own in shown.values())
    assert [key for key, own in shown.items() if small in own] == [(18, "second")]
    first, second = (listed([f"{found[n, half][random].size:+.1f}" for n in (9, 18)]) for half in HALVES)
    words = f"by {first} points in seeds 1 to 5, and by {second} in seeds 6 to 10"
    assert f"Random regions differ from uncertain ones {words}" in LINE


def test_the_processors_of_guidance() -> None:
    for labeled, both in ((9, {"UCMT", "CutMix"}), (18, {"UCMT"})):
        kinds = {}
        for title, (method, own) in GUIDANCE.items():
            cases = cases_of("isic", labeled, method, "random", changed_by(own), "measured", "small", 10)
            kinds[title] = tuple(cases.groupby("seed")["processor"].first())
        (usual,) = {kind for title, kind in kinds.items() if title not in both}
        assert len(set(usual)) == 1
        for title in both:
            assert kinds[title][5:] == usual[5:]
            assert len({*kinds[title][:5]}) == 1
            assert kinds[title][0] != usual[0]


def fall(one: Difference) -> str:
    """A negative difference in words, up to its p."""
    low, high = one.around.split(" to ")
    return f"by {-one.size:.1f} points ({high[1:]} to {low[1:]}; p = {one.corrected:.3f}"


def test_the_sentences_about_changes() -> None:
    tables = of_sides(18, CHANGES["UCMT"])
    found = {title: one for title, one in compared(tables, "nothing").items() if one.corrected < 0.05}
    assert list(found) == ["lambda's ramp-up over a fifth of the run (released code)"]
    (ramp,) = found.values()
    assert f"{fall(ramp)}, corrected over seven rows)" in LINE
    assert f"a fifth of the run costs UCMT {-ramp.size:.1f} points" in LINE
    assert f"A true difference of {smallest(tables, 7):.1f} points would have been shown with 80 % power." in LINE
    of_mt = of_sides(18, CHANGES["MT"])
    ((title, decay),) = [(title, one) for title, one in compared(of_mt, "nothing").items() if one.corrected < 0.05]
    assert title == "the teacher's decay is 0.999 (paper)"
    assert f"{fall(decay)}, corrected over four rows)" in LINE
    assert f"decay of 0.999 costs MT {-decay.size:.1f}" in LINE
    assert f"matter to MT. A true difference of {smallest(of_mt, 4):.1f} points would have been shown" in LINE
    of_cps = of_sides(18, CHANGES["CPS"])
    assert all(one.corrected >= 0.05 for one in compared(of_cps, "nothing").values())
    assert f"A true difference of {smallest(of_cps, 2):.1f} points would have been shown with 80 % power. Both" in LINE
    averaged = of_sides(18, CHANGES["teacher"])
    failed = compared(averaged, "nothing")["the teacher averages both students (paper, equation 6)"]
    assert f"worse**, {fall(failed)})" in LINE
    seeds = averaged["the teacher averages both students (paper, equation 6)"].mean(axis=1)
    words = [f"{value:.1f}" for value in seeds]
    assert f"score {', '.join(words[:-1])} and {words[-1]}" in LINE
    usual = averaged["nothing"].mean(axis=1)
    words = f"score {seeds.min():.0f} to {seeds.max():.0f}, where those of `small` score {usual.min():.0f} to "
    assert words + f"{usual.max():.0f}" in LINE
    title = "both students start with the same weights, and the teacher averages them"
    pair = compared({"nothing": averaged["nothing"], title: averaged[title]}, "nothing")[title]
    one = pair._replace(corrected=alone(averaged, "nothing")[title])
    assert f"the same teacher scores {averaged[title].to_numpy().mean():.1f}" in LINE
    assert f"it is shown to be worse, {fall(one)})" in LINE


def test_the_gains_by_share() -> None:
    found = [compared(of_sides(labeled, OF_SHARES), "Supervised")["UCMT"] for labeled in SHARES]
    assert all(one.corrected < 0.05 for one in found)
    sizes = [f"{one.size:.1f}" for one in found]
    assert f"by {', '.join(sizes[:-1])} and {sizes[-1]} points with 3, 9, 18 and 36 images" in LINE
    sizes = [f"{one.size:.0f}" for one in found]
    assert f"with 3, 9, 18 and 36 images**, by {', '.join(sizes[:-1])} and {sizes[-1]} points" in LINE


def regions(k: int, r: int) -> pd.DataFrame:
    """Scores with nine images of ISIC (seed x case), of seeds 1 to 3."""
    settings = {key: value for key, value in (("k", k), ("r", r)) if value != {"k": 2, "r": 16}[key]}
    return scores("isic", 9, "ucmt", changed=changed_by(settings), protocol="small", seeds=3)


@pytest.fixture(scope="module")
def claims() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The verdicts, and the tests behind them."""
    found = ssl_bench.report(claims="ucmt", protocol="small", results_root=REPOSITORY / "results" / "measured")
    verdicts, tests = found.tables
    return verdicts.to_frame(), tests.to_frame()


FOUR = ["cps-over-mt", "ucmt-over-cmt", "best-on-polyps", "ucmt-disagrees-more"]


def test_the_verdicts(claims: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    verdicts, _ = claims
    verdicts = verdicts.assign(Verdict=verdicts["Verdict"].str.partition(" (")[0])
    by_verdict = {verdict: list(own["Claim"]) for verdict, own in verdicts.groupby("Verdict")}
    assert by_verdict["contradicted"] == ["cps-over-supervised", *FOUR, "teacher-of-equation-6"]
    assert by_verdict["supported"] == ["ucmt-is-less-uncertain", "cmt-is-more-uncertain"]
    assert by_verdict["supported in part"] == [
        "mt-over-supervised", "both-losses", "cmt-over-mt-and-cps", "best-on-skin", "umix-over-cutmix",
        "labels-shrink-ucmts-gains",
    ]  # fmt: skip
    assert "best-on-atria" in by_verdict["not shown"]
    assert by_verdict["not measured"] == ["best-on-skin-u-net"]
    papers = verdicts[~verdicts["Where"].str.startswith("this project's")]["Verdict"].value_counts()
    assert f"Of [the paper's {papers.sum()} claims]" in README_LINE
    numbers = {1: "one", 2: "two", 5: "five", 9: "nine"}
    words = {verdict: numbers[count] for verdict, count in papers.items()}
    assert f"{words['contradicted']} are contradicted at `small` (one test of several is enough)" in README_LINE
    assert f"{words['supported']} are supported (by all their tests)" in README_LINE
    assert f"{words['supported in part']} are supported in part, such as that MT is better than the sup" in README_LINE
    assert f"{words['not shown']} are not shown, and {words['not measured']} is not measured" in README_LINE


def test_the_verdicts_of_the_first_five_seeds() -> None:
    found = ssl_bench.report(
        claims="ucmt", protocol="small", seeds=(1, 2, 3, 4, 5), results_root=REPOSITORY / "results" / "measured"
    )
    verdicts = found.tables[0].to_frame().set_index("Claim")
    own = verdicts[~verdicts["Where"].str.startswith("this project's")]["Verdict"]
    assert list(own[own == "contradicted"].index) == FOUR
    assert list(own[own == "supported"].index) == ["ucmt-is-less-uncertain"]
    assert "By seeds 1 to 5 alone (`--seeds 1,2,3,4,5`) they are the same" in LINE
    assert (
        "Four are contradicted by seeds 1 to 5 alone, with p corrected over all tests of all claims, and" in README_LINE
    )


def signs(tests: list[ClaimTest], ps: list[float], alone: list[float] | None = None) -> dict[str, list[int]]:
    """For each claim, what its tests say by these p, and by those of the pair where there are any: 1, -1 or nothing."""
    found: dict[str, list[int]] = {}
    for test, p, other in zip(tests, ps, alone or ps, strict=True):
        level = 0.025 if test.claim.kind == "equivalence" else 0.05
        is_shown = max(p, other) < level and test.levels >= 3
        found.setdefault(test.claim.name, []).append(test.favours if is_shown else 0)
    return found


def test_the_verdicts_by_stricter_rules() -> None:
    """README says how many there are with p corrected over all claims, and by both error terms; the page says which."""
    found = ssl_bench.report(claims="ucmt", protocol="small", results_root=REPOSITORY / "results" / "measured")
    (exhibit,) = found.exhibits
    assert isinstance(exhibit, ClaimsReport)
    tested = [test for test in exhibit.tests if test.p is not None]
    over_all = signs(tested, holm([test.p or 0.0 for test in tested], len(tested)))
    assert [name for name, own in over_all.items() if -1 in own] == FOUR
    assert [name for name, own in over_all.items() if min(own) == 1] == ["ucmt-is-less-uncertain"]
    assert "four are contradicted (CPS and MT, UCMT and CMT, polyps, disagreement), and one is supported" in LINE
    both = signs(tested, [test.p_holm or 0.0 for test in tested], [test.p_pair_holm or 0.0 for test in tested])
    assert [name for name, own in both.items() if -1 in own] == [*FOUR, "teacher-of-equation-6"]
    assert [name for name, own in both.items() if min(own) == 1] == ["ucmt-is-less-uncertain", "cmt-is-more-uncertain"]
    assert "If both error terms have to show a difference, the same four are contradicted and two are supported" in LINE
    assert (
        "with p corrected over all tests of all claims, and if both error terms have to show a difference"
        in README_LINE
    )


def p_in_words(value: Any) -> str:
    """A p value of a table of the report as the page has it."""
    return "below 0.001" if value == "< 0.001" else f"{float(value):.3f}"


def test_the_sizes_of_claims(claims: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Every test that says something is on the page, with its size and p, and with p by the pair where there is one."""
    _, tests = claims
    decided = {
        (row["Claim"], row["Sides"], row["Data"]): row for row in tests.to_dict("records")
        if row["Verdict"] in ("supported", "contradicted")
    }  # fmt: skip

    def size(claim: str, sides: str, data: str, digits: int = 1) -> str:
        return f"{abs(decided[claim, sides, data]['Difference']):.{digits}f}"

    nine, twice, most = (f"isic {share}%" for share in ("0.5", "1", "2"))
    cvc, cvc_twice, kvasir_twice = "cvc 3.75%", "cvc 7.5%", "kvasir 7.5%"
    said: list[tuple[str, str, str, list[str]]] = [  # claim, its sides, the words with sizes, where
        ("cps-over-supervised", "CPS against Supervised", "scores {} points lower", [cvc]),
        (
            "cps-over-mt", "CPS against MT", "scores {} points lower with nine images, and {} lower with 18",
            [nine, twice],
        ),
        (
            "ucmt-over-cmt", "UCMT against CMTv3",
            "it scores {} points lower than CMTv3 with 18 images and {} with 36 (p", [cvc, cvc_twice],
        ),
        (
            "best-on-polyps", "UCMT against MT",
            "MT scores {} points higher on Kvasir-SEG with 60 images, and {} and {} higher on CVC",
            [kvasir_twice, cvc, cvc_twice],
        ),
        (
            "best-on-polyps", "UCMT against AdvSemSeg", "on CVC-ClinicDB, by {} points with 18 and {} with 36",
            [cvc, cvc_twice],
        ),
        (
            "umix-over-cutmix", "UCMT against UCMT (CutMix)",
            "by {} points with 3 images, {} with 9, {} with 18 and {}", ["isic 0.2%", nine, twice, most],
        ),
        ("mt-over-supervised", "MT against Supervised", "by {} points on ISIC and {} on CVC-ClinicDB", [nine, cvc]),
        (
            "cmt-over-mt-and-cps", "CMTv3 against CPS",
            "by {} points on ISIC with nine images, and by {} on CVC-ClinicDB", [nine, cvc],
        ),
        ("both-losses", "CMTv3 against CMTv2", "CMTv3 scores {} points more than CMTv2", [nine]),
        ("best-on-skin", "UCMT against CPS", "by {} points with nine images", [nine]),
        ("best-on-skin", "UCMT against CCT", "than CCT by {} with nine and {} with 18", [nine, twice]),
        ("labels-shrink-ucmts-gains", "UCMT against CPS", "with fewer labels*, by {} points", ["isic 0.5% against 1%"]),
    ]  # fmt: skip
    seen = set()
    for claim, sides, words, where in said:
        assert words.format(*(size(claim, sides, data) for data in where)) in LINE, claim
        for data in where:
            found = decided[claim, sides, data]
            around = LINE[LINE.index(words.format(*(size(claim, sides, data) for data in where))) :][:420]
            assert p_in_words(found["p (Holm)"]) in around, (claim, data)
            if found["Error term"] != "own":  # which is the pair's
                assert p_in_words(found["Pair alone: p (Holm)"]) in around or "pair alone, too" in around, (claim, data)
            seen.add((claim, sides, data))
    (one,) = (
        own for own in tests.to_dict("records")
        if (own["Claim"], own["Sides"], own["Data"]) == ("best-on-polyps", "UCMT against MT", "kvasir 3.75%")
    )  # fmt: skip
    alone_and_all = p_in_words(one["Pair alone: p (Holm)"]), p_in_words(one["p (Holm)"])
    words = f"with 30 images of Kvasir-SEG, MT scores {-one['Difference']:.1f} points higher by the pair alone (p "
    assert words + f"{alone_and_all[0]}; {alone_and_all[1]} by the common error term" in LINE
    axes = [f"{nine}, by {axis}" for axis in ("iteration", "update")]
    apart = [size("ucmt-disagrees-more", "UCMT against CPS", data, 2) for data in axes]
    assert f"less, by {apart[0]} of Dice loss at equal numbers of iterations and by {apart[1]} at equal" in LINE
    less, p = zip(*(
        (size(*key), p_in_words(decided[key]["p (Holm)"])) for key in (
            ("teacher-of-equation-6", f"UCMT's teacher against its student {n}", data)
            for data in (nine, "kvasir 3.75%") for n in (1, 2)
        )
    ), strict=True)  # fmt: skip
    words = (
        f"it scores {less[0]} and {less[1]} points lower than they do on ISIC with nine images (p = {p[0]} each), and "
    )
    assert p[0] == p[1]
    assert f"{words}{less[2]} and {less[3]} on Kvasir-SEG (p = {p[2]} each)" in LINE
    (atria,) = (
        own for own in tests.to_dict("records")
        if (own["Claim"], own["Sides"], own["Data"]) == ("best-on-atria", "UCMT against CPS", "la 20%")
    )  # fmt: skip
    words = f"CPS scores {-atria['Difference']:.1f} points higher with six scans, whose p was 0.044 and is "
    ps = [p_in_words(atria[key]) for key in ("p (Holm)", "Pair alone: p (Holm)")]
    assert f"{words}{ps[0]} with one more test (pair alone {ps[1]})" in LINE
    switches = tests[tests["Claim"].str.startswith("switch-") & tests["Data"].isin(["kvasir 3.75%", "cvc 3.75%"])]
    assert f"no difference of less than {switches['Could find'].min():.1f} points could be found" in LINE
    curves = {"ucmt-disagrees-more", "ucmt-is-less-uncertain", "cmt-is-more-uncertain"}
    assert {key for key in decided if key not in seen and key[0] not in curves | {"teacher-of-equation-6"}} == set()
    umix = [
        f"{value.size:.1f}" for value in (
            compared({"c": own["CutMix"], "u": own["UCMT"]}, "c")["u"]
            for own in (of_sides(labeled, OF_SHARES) for labeled in (3, 18, 36))
        )
    ]  # fmt: skip
    assert f"with 3, 18 and 36 images**, by {umix[0]}, {umix[1]} and {umix[2]} points" in LINE
    records = tests.to_dict("records")
    (least,) = [
        one for one in records if one["Claim"] == "umix-most-with-few-labels" and one["Data"].startswith("isic")
    ]
    words = f"make {least['Difference']:.1f} points ({least['95 % interval']}), and {least['Could find']:.1f} could"
    assert words in LINE
    (gain,) = [
        one for one in records
        if (one["Claim"], one["Sides"]) == ("labels-shrink-gains", "UCMT against Supervised")
        and one["Data"] == "isic 0.5% against 1%"
    ]  # fmt: skip
    around = gain["95 % interval"].replace("+", "")
    words = f"is {gain['Difference']:.1f} points larger with nine images than with 18"
    assert f"{words} ({around}; p = {p_in_words(gain['p (Holm)'])}" in SMALL_LINE
    assert "not shown" in gain["Verdict"]
    count = sum(not one["Verdict"].startswith("not measured") for one in records)
    assert f"corrected over all {count} measured tests" in LINE


def test_the_margins_of_k_and_r(claims: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    _, tests = claims
    own = tests[tests["Claim"].isin(["k-hardly-matters", "r-hardly-matters", "k-and-r-hardly-matter"])]
    assert own["Verdict"].str.startswith("not shown").all()
    least, most = own["Could find"].min(), own["Could find"].max()
    assert f"a margin of {least:.1f} to {most:.1f} points could have been shown" in LINE
    (pair,) = own[own["Claim"] == "k-and-r-hardly-matter"].to_dict("records")
    assert f"{-pair['Difference']:.1f} points ({pair['95 % interval'].replace('+', '')})" in LINE
    means = [regions(2, r).to_numpy().mean() for r in (4, 8, 16)]
    assert "the means are {:.2f} for 1/4, {:.2f} for 1/8 and {:.2f} for 1/16".format(*means) in LINE
