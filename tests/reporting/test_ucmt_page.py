"""Every number of docs/ucmt-at-small.md: recomputed from stored cases, and those of claims by the package itself."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from conftest import REPOSITORY
from documented import Difference, alone, changed_by, compared, differences, page, pairs, row, scores, smallest, spread

import ssl_bench

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
CHANGES: dict[str, dict[str, Side]] = {
    "UCMT": {
        "nothing": ("ucmt", {}),
        "the teacher's decay is 0.999 (paper)": ("ucmt", {"ema_decay": "0.999"}),
        "no warm-up of the teacher's average (paper states none)": ("ucmt", {"ema_warmup": "False"}),
        "the teacher is in evaluation mode, its buffers are averaged": (
            "ucmt", {"teacher_mode": "eval", "teacher_buffers": "ema"},
        ),
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
        "the teacher's decay is 0.999 (paper)": ("mt", {"ema_decay": "0.999"}),
        "no warm-up of the teacher's average (paper states none)": ("mt", {"ema_warmup": "False"}),
        "the teacher is in evaluation mode, its buffers are averaged": (
            "mt", {"teacher_mode": "eval", "teacher_buffers": "ema"},
        ),
        "lambda's ramp-up over a fifth of the run (released code)": ("mt", {"rampup_epochs": "0.444"}),
    },
}  # fmt: skip


def of_sides(labeled: int, sides: dict[str, Side], network: str = "") -> dict[str, pd.DataFrame]:
    """Scores on ISIC by title (seed x case)."""
    return {
        title: scores("isic", labeled, method, changed=changed_by(settings), network=network, protocol="small")
        for title, (method, settings) in sides.items()
    }


def of_parts() -> list[str]:
    nine, twice = (differences(of_sides(labeled, PARTS), "UCMT") for labeled in (9, 18))
    return [row(title, *nine[title], *twice[title]) for title in PARTS]


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


def test_the_verdicts(claims: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    verdicts, tests = claims
    by_verdict = {verdict: list(own["Claim"]) for verdict, own in verdicts.groupby("Verdict")}
    assert by_verdict["contradicted"] == [
        "cps-over-mt", "ucmt-over-cmt", "best-on-polyps", "ucmt-disagrees-more", "teacher-of-equation-6",
    ]  # fmt: skip
    assert by_verdict["supported"] == ["ucmt-is-less-uncertain"]
    words = {
        (row["Claim"], row["Sides"], row["Data"]): row for row in tests.to_dict("records")
        if row["Verdict"] in ("supported", "contradicted")
    }  # fmt: skip

    def size(claim: str, sides: str, data: str, digits: int = 1) -> str:
        return f"{abs(words.pop((claim, sides, data))['Difference']):.{digits}f}"

    nine, twice, lines = "isic 0.5%", "isic 1%", []
    cps = [size("cps-over-mt", "CPS against MT", data) for data in (nine, twice)]
    lines.append(f"it scores {cps[0]} points lower with nine images, and {cps[1]} lower with 18")
    cmt = size("ucmt-over-cmt", "UCMT against CMTv3", "cvc 3.75%")
    lines.append(f"on CVC-ClinicDB split at random it scores {cmt} points lower than CMTv3")
    polyps = [size("best-on-polyps", "UCMT against MT", data) for data in ("kvasir 3.75%", "cvc 3.75%")]
    lines.append(f"MT scores {polyps[0]} points higher on Kvasir-SEG and {polyps[1]} higher on CVC-ClinicDB")
    apart = [
        size("ucmt-disagrees-more", "UCMT against CPS", f"{nine}, by {axis}", 2) for axis in ("iteration", "update")
    ]
    lines.append(f"less, by {apart[0]} of Dice loss at equal numbers of iterations and by {apart[1]} at equal")
    teacher = [size("teacher-of-equation-6", f"UCMT's teacher against its student {n}", nine) for n in (1, 2)]
    lines.append(f"scores {teacher[0]} and {teacher[1]} points lower than they do")
    mt = [size("mt-over-supervised", "MT against Supervised", data) for data in (nine, "cvc 3.75%")]
    lines.append(f"by {mt[0]} points on ISIC and {mt[1]} on CVC-ClinicDB")
    over_cps = [size("cmt-over-mt-and-cps", "CMTv3 against CPS", data) for data in (nine, "cvc 3.75%")]
    lines.append(f"*CMT is better than CPS*, by {over_cps[0]} points on ISIC with nine images and {over_cps[1]} on CVC")
    lines.append(f"by {size('best-on-skin', 'UCMT against CPS', nine)} points with nine images")
    three, umix, most = (
        size("umix-over-cutmix", "UCMT against UCMT (CutMix)", data) for data in ("isic 0.2%", twice, "isic 2%")
    )
    lines.append(
        f"*UMIX is better than CutMix*, by {three} points with three images, {umix} with 18 and {most} with 36"
    )
    lines.append(f"with 3, 18 and 36 images**, by {three}, {umix} and {most} points")
    (few,) = tests[tests["Claim"].eq("umix-most-with-few-labels") & tests["Data"].str.startswith("isic")].to_dict(
        "records"
    )
    lines.append(
        f"make {few['Difference']:.1f} points ({few['95 % interval']}), and {few['Could find']:.1f} could have been"
    )
    fewer = [
        size("labels-shrink-gains", "UCMT against Supervised", "isic 0.5% against 1%"),
        size("labels-shrink-ucmts-gains", "UCMT against CPS", "isic 0.5% against 1%"),
    ]
    lines.append(f"by {fewer[0]} points against the supervised network and {fewer[1]} against CPS")
    for words_of_it in lines:
        assert words_of_it in LINE, words_of_it
    assert f"[worth {umix} points more than CutMix]" in README_LINE
    assert "five are contradicted at `small`" in README_LINE
    assert len(by_verdict["contradicted"]) == 5
    (gain,) = tests[tests["Sides"].eq("UCMT against Supervised") & tests["Claim"].eq("labels-shrink-gains")
                    & tests["Data"].eq("isic 0.5% against 1%")].to_dict("records")  # fmt: skip
    around = gain["95 % interval"].replace("+", "")
    assert f"by {gain['Difference']:.1f} points ({around}; p = {float(gain['p (Holm)']):.3f}, corrected" in SMALL_LINE
    assert {claim for claim, *_ in words} == {"ucmt-is-less-uncertain", "cmt-is-more-uncertain"}


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
