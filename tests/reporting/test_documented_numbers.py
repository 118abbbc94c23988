"""Every number of the measured tables in README.md, docs/measured.md and docs/small.md, recomputed from stored cases.

With pandas and the sums of squares of the textbook, apart from the package's own statistics.
"""

import json
import re
import tomllib
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from scipy import stats

import ssl_bench
from ssl_bench.cards.runspec import LATER

SEEDS = {"mini": 3, "small": 5, "small 3D": 5}
PLAIN = {"mini": "kvasir/cps", "small": "kvasir/cps", "small 3D": "la/supervised"}  # runs that change no field
DESCRIBED = ("split", "metrics")  # fields of a run that a table names, or that change no weight
TITLES = {"supervised": "Supervised", "mt": "MT", "cct": "CCT", "cps": "CPS", "cmtv1": "CMTv1", "cmtv2": "CMTv2",
          "cmtv3": "CMTv3", "ucmt": "UCMT", "ict": "ICT", "mt-cutmix": "MT + CutMix"}  # fmt: skip
README, MEASURED = (REPOSITORY / "README.md").read_text(), (REPOSITORY / "docs" / "measured.md").read_text()
SMALL = (REPOSITORY / "docs" / "small.md").read_text()
README_LINE, MEASURED_LINE, SMALL_LINE = (" ".join(text.split()) for text in (README, MEASURED, SMALL))  # for sentences


def flat(data: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": str(value)}
    return found


@cache
def everything(store: str = "measured") -> pd.DataFrame:
    """The DSC [%] of every case, network and run, with what tells the runs apart."""
    frames = []
    for path in sorted((REPOSITORY / "results" / store / "runs").rglob("run.json")):
        run = json.loads(path.read_text())
        spec, (cases,) = run["spec"], path.parent.glob("cases-*.csv")
        own = pd.read_csv(cases, dtype={"case": str})
        own = own.groupby(["network", "case"], as_index=False)["dsc"].mean()  # over the classes
        changed = {
            key: value for key, value in flat(spec["protocol"]).items() if value != usual(protocol_of(spec))[key]
        }
        frames.append(
            own.assign(
                dsc=100 * own["dsc"], data=spec["benchmark"], labeled=spec["labeled"], method=spec["method"],
                seed=spec["seed"], split=spec["protocol"]["split"], protocol=protocol_of(spec),
                is_predictor=own["network"] == run["result"]["predictor"],
                changed=json.dumps({k: v for k, v in changed.items() if k not in DESCRIBED}, sort_keys=True),
            )
        )  # fmt: skip
    return pd.concat(frames)


def protocol_of(spec: dict[str, Any]) -> str:
    """The protocol's form, by the network."""
    return {"unet-small": "small", "vnet-half": "small 3D"}.get(spec["protocol"]["network"], "mini")


@cache
def usual(protocol: str) -> dict[str, Any]:
    """The protocol's fields in a run that changes none."""
    for path in sorted((REPOSITORY / "results" / "measured" / "runs").glob(f"{PLAIN[protocol]}/*/run.json")):
        spec = json.loads(path.read_text())["spec"]
        if protocol_of(spec) == protocol:
            return flat(LATER) | flat(spec["protocol"])  # runs from before such a field lack it
    raise AssertionError(f"no run of {PLAIN[protocol]}")


@cache
def scores(
    data: str, labeled: int, method: str, split: str = "random", *, changed: str = "{}", network: str = "",
    store: str = "measured", protocol: str = "mini",
) -> pd.DataFrame:  # fmt: skip
    """Scores (seed x case): of three seeds at `mini`, of five at `small`."""
    frame = everything(store)
    own = frame[
        (frame["data"] == data) & (frame["labeled"] == labeled) & (frame["method"] == method)
        & (frame["split"] == split) & (frame["changed"] == changed) & (frame["protocol"] == protocol)
    ]  # fmt: skip
    own = own[own["network"] == network] if network else own[own["is_predictor"]]
    table = own.pivot(index="seed", columns="case", values="dsc")
    assert table.shape[0] == SEEDS[protocol]
    return table


def by_group(data: str, table: pd.DataFrame) -> pd.DataFrame:
    """Linearised values of CVC-ClinicDB's videos and ACDC's patients, whose mean is that of the cases."""
    if data == "cvc":
        card = tomllib.loads((REPOSITORY / "benchmarks" / "datasets" / "cvc.toml").read_text())
        starts = card["splits"]["by-sequence"]["sequence_starts"]
        group = [sum(start <= int(name) for start in starts) for name in table.columns]
    elif data == "acdc":
        group = [int(name.removeprefix("patient").partition("_")[0]) for name in table.columns]
    else:
        return table
    sizes = pd.Series(group).value_counts().sort_index()
    means = table.T.groupby(group).mean().T
    centre = table.mean(axis=1)
    return means.sub(centre, axis=0).mul(sizes / sizes.mean(), axis=1).add(centre, axis=0)


def independent(
    data: str, labeled: int, methods: list[str], split: str = "random", protocol: str = "mini"
) -> dict[str, pd.DataFrame]:
    """Scores by method (seed x case), of CVC-ClinicDB (seed x video), of ACDC (seed x patient)."""
    return {method: by_group(data, scores(data, labeled, method, split, protocol=protocol)) for method in methods}


def anova(tables: list[pd.DataFrame]) -> tuple[float, float]:
    """Variance of a difference of two means and its degrees of freedom, from a three-way analysis of variance."""
    long = pd.concat([table.stack().rename("y").reset_index().assign(t=n) for n, table in enumerate(tables)])
    long.columns = ["r", "c", "y", "t"]
    methods, seeds, cases = len(tables), long["r"].nunique(), long["c"].nunique()

    def squares(*keys: str) -> float:
        """Sum of squares of the means by these keys about the total mean, over all observations."""
        mean = long.groupby(list(keys))["y"].transform("mean")
        return float(((mean - long["y"].mean()) ** 2).sum())

    t, r, c = squares("t"), squares("r"), squares("c")
    tr, tc, rc = squares("t", "r"), squares("t", "c"), squares("r", "c")
    total = float(((long["y"] - long["y"].mean()) ** 2).sum())
    freedom = (methods - 1) * (seeds - 1), (methods - 1) * (cases - 1), (methods - 1) * (seeds - 1) * (cases - 1)
    ms_tr, ms_tc = (tr - t - r) / freedom[0], (tc - t - c) / freedom[1]
    ms = (total - tr - tc - rc + t + r + c) / freedom[2]
    return satterthwaite(ms_tr, ms_tc, ms, freedom, 2 / (seeds * cases), 2 / (seeds * cases))


def satterthwaite(
    by_seed: float, by_case: float, rest: float, freedom: tuple[int, int, int], first: float, second: float
) -> tuple[float, float]:
    terms = [(first * max(by_seed, rest), freedom[0]), (second * max(by_case - rest, 0), freedom[1])]
    variance = sum(term for term, _ in terms)
    return variance, variance**2 / sum(term**2 / own for term, own in terms)


def interval(table: pd.DataFrame) -> tuple[float, float]:
    """The t interval of the mean of scores (seed x case)."""
    seeds, cases = table.shape
    mean, r, c = table.to_numpy().mean(), table.mean(axis=1), table.mean(axis=0)
    rest = table.sub(r, axis=0).sub(c, axis=1) + mean
    freedom = seeds - 1, cases - 1, (seeds - 1) * (cases - 1)
    factor = 1 / (seeds * cases)
    variance, own = satterthwaite(
        cases * r.var(), seeds * c.var(), float((rest**2).to_numpy().sum()) / freedom[2], freedom, factor, factor
    )
    half = stats.t.ppf(0.975, own) * np.sqrt(variance)
    return max(mean - half, 0), min(mean + half, 100)


def in_words(pair: tuple[float, float], sign: str = "") -> str:
    return f"{pair[0]:{sign}.1f} to {pair[1]:{sign}.1f}"


def p_of(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def spread(table: pd.DataFrame) -> str:
    means = table.mean(axis=1)
    return f"{means.mean():.2f} ± {means.std():.2f}"


def holm(p: dict[Any, float]) -> dict[Any, float]:
    """Holm's correction, smallest p first."""
    corrected, largest = {}, 0.0
    for rank, key in enumerate(sorted(p, key=lambda key: p[key])):
        largest = max(largest, min(1.0, p[key] * (len(p) - rank)))
        corrected[key] = largest
    return corrected


def compared(tables: dict[str, pd.DataFrame], baseline: str) -> dict[str, tuple[str, str, float, float]]:
    """By method: difference and interval in words, p before Holm's correction and after it."""
    variance, freedom = anova(list(tables.values()))
    found, p = {}, {}
    for name in tables.keys() - {baseline}:
        difference = tables[name].to_numpy().mean() - tables[baseline].to_numpy().mean()
        half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
        found[name] = f"{difference:+.2f}", in_words((difference - half, difference + half), "+")
        p[name] = float(2 * stats.t.sf(abs(difference) / np.sqrt(variance), freedom))
    corrected = holm(p)
    return {name: (*found[name], p[name], corrected[name]) for name in found}


def pairs(tables: dict[str, pd.DataFrame]) -> dict[frozenset[str], float]:
    """p of every pair of methods, corrected over all pairs."""
    return holm({frozenset((one, base)): own[2] for base in tables for one, own in compared(tables, base).items()})


def rows(
    data: str, labeled: int, everyone: int, methods: list[str], split: str = "random", protocol: str = "mini"
) -> dict[str, list[str]]:
    """The cells of a table of docs/measured.md or docs/small.md by method: mean, interval, comparison.

    `everyone` is the number of labels of the first row; 0 for a table without it.
    """
    spreads = {method: spread(scores(data, labeled, method, split, protocol=protocol)) for method in methods}
    tables = independent(data, labeled, methods, split, protocol)
    found = {"Supervised": [spreads["supervised"], in_words(interval(tables["supervised"])), ""]}
    for method, (difference, around, raw, corrected) in compared(tables, "supervised").items():
        words = f"{difference}, {around}, {p_of(corrected)} ({p_of(raw)})"
        found[TITLES[method]] = [spreads[method], in_words(interval(tables[method])), words]
    if not everyone:
        return found
    upper = scores(data, everyone, "supervised", split, protocol=protocol)
    top = by_group(data, upper)
    (difference, around, raw, _) = compared({**tables, "upper": top}, "supervised")["upper"]
    found["Supervised, all labels"] = [spread(upper), in_words(interval(top)), f"{difference}, {around}, {p_of(raw)}"]
    return found


SIX = ["supervised", "mt", "cct", "cps", "cmtv3", "ucmt"]
TABLES: dict[str, tuple[Any, ...]] = {
    "kvasir": ("kvasir", 120, 800, SIX),
    "isic": ("isic", 90, 1815, [*SIX[:2], "cps", "cmtv1", "cmtv2", "cmtv3", "ucmt"]),
    "cvc at random": ("cvc", 73, 490, SIX),
    "cvc by sequence": ("cvc", 70, 472, SIX, "by-sequence"),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_measured(name: str) -> None:
    for title, (mean, around, comparison) in rows(*TABLES[name]).items():
        assert f"| {title} | {mean} | {around} | {comparison}{' ' * bool(comparison)}|" in MEASURED, title


@pytest.mark.parametrize("name", TABLES)
def test_the_first_table_of_measured_has_the_best_method_of_each(name: str) -> None:
    found = rows(*TABLES[name])
    others = {title: cells for title, cells in found.items() if not title.startswith("Supervised")}
    best = max(others, key=lambda title: float(others[title][0].split(" ")[0]))
    mean, _, comparison = others[best]
    words = f"| {found['Supervised'][0].split(' ')[0]} | {best}, {mean.split(' ')[0]} | {comparison.split(' (')[0]} |"
    assert words in MEASURED, words


@pytest.mark.parametrize("name", TABLES)
def test_the_students_of_measured(name: str) -> None:
    data, labeled, _, methods, *split = TABLES[name]
    for method, networks in {"mt": ["student"], "cps": ["student2"], "cmtv3": ["student1", "student2"],
                             "ucmt": ["student1", "student2"]}.items():  # fmt: skip
        own = [spread(scores(data, labeled, method, *split, network=network)) for network in networks]
        start = f"| {TITLES[method]} | {spread(scores(data, labeled, method, *split))} |"
        (line,) = [
            text for text in MEASURED.splitlines()
            if text.startswith(start)
            and text.count("|") == 6 and "±" in text.split("|")[-2]
        ]  # fmt: skip
        assert line.split("|")[-2].strip().removeprefix("(student 2) ") == ", ".join(own)
    assert set(methods) >= {"mt", "cps", "cmtv3", "ucmt"}


SEVEN = [*SIX[:2], "cps", "cmtv1", "cmtv2", "cmtv3", "ucmt"]
AT_SMALL = ("isic", 9, 1815, SEVEN, "random", "small")
WITHOUT_CMTV2 = [method for method in SEVEN if method != "cmtv2"]
POLYPS_AT_SMALL: dict[str, tuple[Any, ...]] = {
    "kvasir": ("kvasir", 30, 800, WITHOUT_CMTV2, "random", "small"),
    "cvc": ("cvc", 17, 472, WITHOUT_CMTV2, "by-sequence", "small"),
    "cvc at random": ("cvc", 18, 490, WITHOUT_CMTV2, "random", "small"),
}
HEARTS_AT_SMALL = ("acdc", 3, 20, WITHOUT_CMTV2, "ssl4mis-random", "small")
TWICE_AT_SMALL = ("isic", 18, 1815, ["supervised", "mt", "cps", "cmtv3", "ucmt"], "random", "small")
OTHERS = ["supervised", "mt", "ict", "mt-cutmix"]
OTHERS_AT_SMALL = {
    "isic": ("isic", 9, 1815, OTHERS, "random", "small"),
    "cvc at random": ("cvc", 18, 490, OTHERS, "random", "small"),
}
ATRIA_AT_SMALL = ("la", 3, 0, ["supervised", "mt"], "uamt", "small 3D")


SECTIONS: dict[str, list[tuple[Any, ...]]] = {
    "Skin lesions": [AT_SMALL],
    "Skin lesions, twice the labels": [TWICE_AT_SMALL],
    "Polyps": list(POLYPS_AT_SMALL.values()),
    "Hearts by slices": [HEARTS_AT_SMALL],
    "Left atria": [ATRIA_AT_SMALL],
    "Other methods": list(OTHERS_AT_SMALL.values()),
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_tables_of_small(heading: str) -> None:
    section = SMALL.split(f"### {heading}\n")[1].split("\n### ")[0]
    stand = [line for line in section.splitlines() if " ± " in line]
    expected = [
        f"| {title} | {mean} | {around} | {comparison}{' ' * bool(comparison)}|"
        for table in SECTIONS[heading] for title, (mean, around, comparison) in rows(*table).items()
    ]  # fmt: skip
    assert sorted(stand) == sorted(expected)


def test_the_sentences_about_small() -> None:
    tables = {method: scores("isic", 9, method, protocol="small") for method in SEVEN}
    found = compared(tables, "supervised")
    shown = {method: float(cells[0]) for method, cells in found.items() if cells[3] < 0.05}
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
    difference, low, high = re.findall(r"[+-][\d.]+", rows(*AT_SMALL)["Supervised, all labels"][2])[:3]
    words = f"worth {float(difference):.1f} points ({low.lstrip('+')} to {high.lstrip('+')})"
    assert words in SMALL_LINE
    assert words in README_LINE
    seeds = [f"{mean:.2f}" for mean in tables["supervised"].mean(axis=1)]
    assert f"scores {', '.join(seeds[:-1])} and {seeds[-1]}" in SMALL_LINE
    assert f"from {min(map(float, seeds)):.1f} to {max(map(float, seeds)):.1f}" in README_LINE


def test_the_sentences_about_twice_the_labels_at_small() -> None:
    data, labeled, _, methods, *how = TWICE_AT_SMALL
    tables = independent(data, labeled, methods, *how)
    found = compared(tables, "supervised")
    gains = [float(cells[0]) for cells in found.values()]
    assert all(cells[3] < 0.05 for cells in found.values())
    assert f"better than the supervised network**, by {min(gains):.1f} to {max(gains):.1f} points" in SMALL_LINE
    assert f"trained gain {min(gains):.0f} to {max(gains):.0f} points, CPS among them" in SMALL_LINE
    assert f"are shown to gain {min(gains):.0f} to {max(gains):.0f} points. On CVC" in README_LINE
    assert all(p >= 0.05 for pair, p in pairs(tables).items() if "supervised" not in pair)
    few, all_pairs = smallest(tables, len(methods) - 1), smallest(tables, 10)
    assert (
        f"difference of {few:.1f} points from the supervised network, or of {all_pairs:.1f} between any two"
        in SMALL_LINE
    )


def test_the_sentences_about_atria_at_small() -> None:
    data, labeled, _, methods, *how = ATRIA_AT_SMALL
    tables = independent(data, labeled, methods, *how)
    means = {method: table.mean(axis=1).to_numpy() for method, table in tables.items()}
    one, other = ([f"{mean:.1f}" for mean in means[method]] for method in ("supervised", "mt"))
    assert (
        f"network scores {', '.join(one[:-1])} and {one[-1]}; MT scores {', '.join(other[:-1])} and {other[-1]}"
        in SMALL_LINE
    )
    assert (means["mt"] > means["supervised"]).sum() == 4
    assert compared(tables, "supervised")["mt"][3] >= 0.05
    assert f"A true difference of {smallest(tables, 1):.1f} points would have been shown" in SMALL_LINE


def test_the_sentences_about_other_methods_at_small() -> None:
    tables = {
        name: independent(data, labeled, methods, *how)
        for name, (data, labeled, _, methods, *how) in OTHERS_AT_SMALL.items()
    }
    found = {name: compared(own, "supervised") for name, own in tables.items()}
    assert all(cells[3] < 0.05 for cells in found["isic"].values())
    size, _, raw, corrected = found["cvc at random"]["mt-cutmix"]
    assert raw < 0.05 <= corrected
    assert f"MT + CutMix gains {float(size):.1f} points, which is shown before the correction alone" in SMALL_LINE
    all_pairs = pairs(tables["cvc at random"])
    against = [compared(tables["cvc at random"], other)["ict"][0].lstrip("-") for other in ("mt", "mt-cutmix")]
    ps = [f"{all_pairs[frozenset(('ict', other))]:.3f}" for other in ("mt", "mt-cutmix")]
    words = f"by {float(against[0]):.1f} and {float(against[1]):.1f} points (p = {ps[0]} and {ps[1]}, corrected over"
    assert f"{words} all {len(all_pairs)} pairs)" in SMALL_LINE
    assert all(pairs(own)[frozenset(("mt", "mt-cutmix"))] >= 0.05 for own in tables.values())


def test_the_verdicts_at_small() -> None:
    found = ssl_bench.report(claims="ucmt", protocol="small", results_root=REPOSITORY / "results" / "measured")
    verdicts, tests = (table.to_frame() for table in found.tables)
    assert list(verdicts[verdicts["Verdict"] == "contradicted"]["Claim"]) == ["cps-over-mt", "best-on-polyps"]
    assert not (verdicts["Verdict"] == "supported").any()
    supported = tests[tests["Verdict"] == "supported"]
    where = {claim: list(own["Data"]) for claim, own in supported.groupby("Claim")}
    assert where["mt-over-supervised"] == ["isic 0.5%"]
    assert where["labels-shrink-gains"] == where["labels-shrink-ucmts-gains"] == ["isic 0.5% against 1%"]
    (gain,) = supported[supported["Claim"] == "labels-shrink-gains"].to_dict("records")
    (other,) = supported[supported["Claim"] == "labels-shrink-ucmts-gains"].to_dict("records")
    around = gain["95 % interval"].replace("+", "")
    words = f"by {gain['Difference']:.1f} points ({around}; p = {float(gain['p (Holm)']):.3f}"
    assert f"{words}, corrected" in SMALL_LINE
    assert (gain["Sides"], other["Sides"]) == ("UCMT against Supervised", "UCMT against CPS")
    by_iteration = ["isic 0.5%, by iteration"]
    assert where["ucmt-is-less-uncertain"] == where["cmt-is-more-uncertain"] == by_iteration
    (more, _) = tests[tests["Claim"] == "ucmt-disagrees-more"].to_dict("records")
    assert f"CPS's networks, by {-more['Difference']:.2f} of Dice loss at equal numbers of iterations" in SMALL_LINE
    assert float(more["p"]) < 0.05 <= float(more["p (Holm)"])


def test_the_pairs_of_small() -> None:
    tables = {method: scores("isic", 9, method, protocol="small") for method in SEVEN}
    corrected = pairs(tables)
    against = {one: corrected[frozenset((one, "cps"))] for one in SEVEN if one != "cps"}
    better = {one: value for one, value in against.items() if value < 0.05}
    assert list(better) == ["mt", "cmtv1", "ucmt"]
    own = compared(tables, "cps")
    sizes = [f"{float(own[one][0]):.1f}" for one in ("ucmt", "mt", "cmtv1")]
    ps = [f"{better[one]:.3f}" for one in ("ucmt", "mt", "cmtv1")]
    words = f"by {sizes[0]}, {sizes[1]} and {sizes[2]} points (p = {ps[0]}, {ps[1]} and {ps[2]}, corrected over all 21"
    assert words in SMALL_LINE


def test_the_sentences_about_polyps_at_small() -> None:
    found, sizes, worth = {}, {}, {}
    for name, table in POLYPS_AT_SMALL.items():
        data, labeled, _, methods, *how = table
        tables = independent(data, labeled, methods, *how)
        found[name] = compared(tables, "supervised")
        sizes[name] = smallest(tables, len(methods) - 1)
        worth[name] = rows(*table)["Supervised, all labels"]
    shown = {name: [method for method, cells in own.items() if cells[3] < 0.05] for name, own in found.items()}
    assert {name: set(own) for name, own in shown.items()} == {
        "kvasir": set(), "cvc": {"cmtv1"}, "cvc at random": {"mt", "cmtv1", "cmtv3"}
    }  # fmt: skip
    assert {method for method, cells in found["cvc"].items() if cells[2] < 0.05} == {"mt", "cmtv1", "cmtv3"}
    gain = {name: {method: float(cells[0]) for method, cells in own.items()} for name, own in found.items()}
    assert f"CMTv1 alone is ({gain['cvc']['cmtv1']:.1f} points)" in SMALL_LINE
    assert (
        f"MT and CMTv3 gain {gain['cvc']['mt']:.0f} and {gain['cvc']['cmtv3']:.0f}, which is shown before" in SMALL_LINE
    )
    of_ucmt = [f"{gain[name]['ucmt']:+.1f}" for name in ("cvc", "cvc at random", "kvasir")]
    words = f"{of_ucmt[0]} points on CVC-ClinicDB by video, {of_ucmt[1]} at random, and {of_ucmt[2]} on Kvasir-SEG"
    assert words in SMALL_LINE
    gains = [gain["cvc at random"][method] for method in shown["cvc at random"]]
    assert f"are shown to gain {min(gains):.0f} to {max(gains):.0f} points; with videos held out" in README_LINE
    ends = {name: float(cells[0].split(" ")[0]) for name, cells in worth.items()}
    assert (
        f"it ends at {ends['kvasir']:.1f} on Kvasir-SEG and at {ends['cvc']:.1f} on CVC-ClinicDB by video" in SMALL_LINE
    )
    more = {name: float(cells[2].split(",")[0]) for name, cells in worth.items()}
    assert f"all 800 labels instead of 30 are worth {more['kvasir']:.1f} points" in SMALL_LINE
    words = (
        f"from {sizes['kvasir']:.1f} points on for Kvasir-SEG and from {sizes['cvc']:.1f} on for CVC-ClinicDB by video"
    )
    assert f"{words}, since six videos are few, and from {sizes['cvc at random']:.1f} on at random" in SMALL_LINE
    assert f"CMTv1 is shown to gain {gain['cvc']['cmtv1']:.1f} points" in README_LINE
    assert f"where all 800 labels are worth {more['kvasir']:.1f}" in README_LINE


def test_mt_against_ucmt_on_cvc_at_random() -> None:
    data, labeled, _, methods, *how = POLYPS_AT_SMALL["cvc at random"]
    tables = independent(data, labeled, methods, *how)
    corrected = pairs(tables)
    size, p = compared(tables, "ucmt")["mt"][0].lstrip("+"), corrected[frozenset(("mt", "ucmt"))]
    words = f"by {float(size):.1f} points (p = {p:.3f}, corrected over all {len(corrected)} pairs)"
    assert words in SMALL_LINE


def test_the_sentences_about_hearts_at_small() -> None:
    data, labeled, _, methods, *how = HEARTS_AT_SMALL
    tables = independent(data, labeled, methods, *how)
    assert all(cells[3] >= 0.05 for cells in compared(tables, "supervised").values())
    assert f"A true difference of {smallest(tables, len(methods) - 1):.1f} points from the supervised" in SMALL_LINE
    worth = rows(*HEARTS_AT_SMALL)["Supervised, all labels"][2].split(",")[0].lstrip("+")
    assert f"the labels of all 20 patients are worth {float(worth):.1f} points" in SMALL_LINE


def test_the_table_of_the_readme() -> None:
    for title, (mean, around, comparison) in rows(*AT_SMALL).items():
        *difference, p = comparison.split(" (")[0].rsplit(", ", 1) if comparison else ["", ""]
        assert f"| {title} | {mean} | {around} | {', '.join(difference)}{' ' * bool(p)}| {p}{' ' * bool(p)}|" in README


CHANGES = {
    "the teacher averages both students (paper, equation 6)": {"teacher_source": "[0.5, 0.5]"},
    "no warm-up of the teacher's average (paper states none)": {"ema_warmup": "False"},
    "UMIX at once, not in place (paper)": {"umix_order": "at-once"},
    "uncertainty after the first update (paper)": {"uncertainty_from": "step2"},
    "both students start with the same weights": {"student_init": "same"},
    "both students start with the same weights, and the teacher averages them": {
        "student_init": "same", "teacher_source": "[0.5, 0.5]"},
    "labelled images of the second step weakly augmented (as every other method's)": {"views.labeled_mixed": "weak"},
}  # fmt: skip


def test_the_table_of_changes_of_ucmt() -> None:
    frame = everything()
    own = frame[(frame["method"] == "ucmt") & (frame["data"] == "kvasir") & (frame["protocol"] == "mini")]
    tables = {key: scores("kvasir", 120, "ucmt", changed=key) for key in own["changed"].unique()}
    nothing = [key for key in tables if tables[key].to_numpy().max() == 0]
    assert len(tables) == 9
    assert len(nothing) == 1
    found = compared({key: table for key, table in tables.items() if key not in nothing}, "{}")
    alone = compared({key: tables[key] for key in ("{}", *nothing)}, "{}")
    raw = {key: one[2] for key, one in {**found, **alone}.items()}
    steps = holm(raw)
    for key, (difference, around, p, _) in {**found, **alone}.items():
        words = f"{difference}, {around}, {p_of(steps[key])}" + ("" if p < 0.001 else f" ({p_of(p)})")
        networks = ", ".join(
            spread(scores("kvasir", 120, "ucmt", changed=key, network=network)) for network in ("student1", "student2")
        )
        assert f"{spread(tables[key])}" in MEASURED
        assert f"| {words} | {networks} |" in MEASURED, key


def test_ccts_two_weights() -> None:
    (heavy,) = [key for key in everything()["changed"].unique() if '"lambda_max": "30' in key]
    tables = {"supervised": scores("kvasir", 120, "supervised"), "cct": scores("kvasir", 120, "cct"),
              "30": scores("kvasir", 120, "cct", changed=heavy)}  # fmt: skip
    against = compared(tables, "supervised")["30"]
    assert f"scores {spread(tables['30'])} (interval {in_words(interval(tables['30']))})" in MEASURED
    assert f"{against[0][1:]} less than supervised (p = {against[3]:.3f}, Holm-corrected)" in MEASURED
    pairs = sorted(
        2 * stats.t.sf(abs(a.to_numpy().mean() - b.to_numpy().mean()) / np.sqrt(anova(list(tables.values()))[0]),
                       anova(list(tables.values()))[1])
        for a, b in ((tables["30"], tables["cct"]), (tables["30"], tables["supervised"]))
    )  # fmt: skip
    difference = tables["cct"].to_numpy().mean() - tables["30"].to_numpy().mean()
    assert f"and {difference:.2f} less than with 0.1 (p = {3 * pairs[0]:.3f})" in MEASURED_LINE
    alone = compared({"supervised": tables["supervised"], "30": tables["30"]}, "supervised")["30"]
    assert f"alone gives p = {alone[2]:.3f}" in MEASURED
    assert ", ".join(f"{mean:.2f}" for mean in tables["30"].mean(axis=1)) in MEASURED


def test_the_table_of_the_other_cpu() -> None:
    for method in ("supervised", "mt", "cps", "cmtv3", "ucmt"):
        here, there = scores("kvasir", 120, method), scores("kvasir", 120, method, store="measured-intel")
        seeds = " and ".join(", ".join(f"{mean:.2f}" for mean in one.mean(axis=1)) for one in (here, there))
        row = f"| {TITLES[method]} | {spread(here)} | {spread(there)} | {in_words(interval(there))} | {seeds} |"
        assert row in MEASURED


def test_what_a_random_split_flatters() -> None:
    for title, few, many, method in [("Supervised, all labels", 490, 472, "supervised"),
                                     *((TITLES[name], 73, 70, name) for name in SIX)]:  # fmt: skip
        random, sequence = scores("cvc", few, method), scores("cvc", many, method, "by-sequence")
        shared = random.columns.intersection(sequence.columns)
        assert len(shared) == 29
        difference = random[shared] - sequence[shared]
        low, high = bounds(by_group("cvc", difference))
        means = [f"{one[shared].to_numpy().mean():.2f}" for one in (random, sequence)]
        row = f"| {title} | {means[0]} | {means[1]} | {difference.to_numpy().mean():+.1f}, {low:+.1f} to {high:+.1f} |"
        assert row in MEASURED, row


def bounds(table: pd.DataFrame) -> tuple[float, float]:
    """As `interval`, of differences, which may be negative."""
    low, high = interval(table + 50)
    return low - 50, high - 50


def test_the_closest_pairs() -> None:
    """UCMT and the best, or supervised, before Holm's correction over all pairs and after it."""
    for data, labeled, split, best, grouped in (
        ("kvasir", 120, "random", "cps", False), ("cvc", 73, "random", "cps", True), ("cvc", 73, "random", "cps", False)
    ):  # fmt: skip
        tables = {method: scores(data, labeled, method, split) for method in SIX}
        if grouped:
            tables = {method: by_group("cvc", table) for method, table in tables.items()}
        difference, _, raw, _ = compared({"ucmt": tables["ucmt"], **tables}, best)["ucmt"]
        if grouped or data == "kvasir":
            assert (
                f"{difference}, p = {raw:.3f} before the correction over all 15 pairs and {15 * raw:.3f} after"
                in MEASURED_LINE
            )
        else:
            assert f"(With frames as independent cases it would be {raw:.3f} and {15 * raw:.3f}.)" in MEASURED_LINE


def smallest(tables: dict[str, pd.DataFrame], tests: int) -> float:
    """The true difference that the first of `tests` comparisons finds in 80 of 100 cases."""
    variance, freedom = anova(list(tables.values()))
    critical = stats.t.ppf(1 - 0.025 / tests, freedom)
    sizes = np.arange(0.5, 20, 0.01)
    power = stats.nct.sf(critical, freedom, sizes)
    return float(sizes[np.argmax(power >= 0.8)] * np.sqrt(variance))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kvasir", "a true difference of {:.1f} points from the supervised network, or of {:.1f} between any two"),
        ("isic", "a true difference of {:.1f} points from the supervised network, or of {:.1f} between any two"),
        ("cvc at random", "The random split could have shown a true difference of {:.1f} points".replace("The", "the")),
        ("cvc by sequence", "The split by sequence could have shown {:.1f}: six videos"),
    ],
)
def test_the_smallest_differences(name: str, words: str) -> None:
    data, labeled, _, methods, *split = TABLES[name]
    tables = independent(data, labeled, methods, *split)
    count = len(methods)
    sizes = smallest(tables, count - 1), smallest(tables, count * (count - 1) // 2)
    assert words.format(*sizes) in MEASURED_LINE


def test_what_more_labels_are_worth() -> None:
    for name, text in {
        "kvasir": "All 800 labels instead of 120 are worth {:.1f} points ({} to {})",
        "isic": "Twenty times the labels are worth {:.1f} points ({} to {})",
        "cvc at random": "417 more labels are worth six points ({1} to {2})",
        "cvc by sequence": "what 402 more labels are worth is not shown ({1} to {2})",
    }.items():
        difference, low, high = re.findall(r"[+-][\d.]+", rows(*TABLES[name])["Supervised, all labels"][2])[:3]
        assert text.format(float(difference), low.lstrip("+"), high.lstrip("+")) in MEASURED_LINE, name


def test_rounding_on_two_cpus() -> None:
    four = ("supervised", "mt", "cps", "cmtv3", "ucmt")
    here, there = (
        {method: scores("kvasir", 120, method, store=store).mean(axis=1) for method in four}
        for store in ("measured", "measured-intel")
    )
    apart = np.concatenate([(here[method] - there[method]).to_numpy() for method in four])
    deviation = [np.sqrt(np.mean([own[method].var() for method in four])) for own in (here, there)]
    assert f"by {np.sqrt((apart**2).mean()):.2f} points (root mean square of the fifteen runs" in MEASURED_LINE
    assert f"{np.abs(apart).max():.2f} at most" in MEASURED_LINE
    assert f"is {deviation[0]:.2f} and {deviation[1]:.2f}, times the root of two" in MEASURED_LINE
    assert f"differ by {np.sqrt(2) * np.mean(deviation):.2f} (the standard deviation" in MEASURED_LINE
    upper = [scores("kvasir", 800, "supervised", store=store) for store in ("measured", "measured-intel")]
    seeds = " and ".join(", ".join(f"{mean:.2f}" for mean in one.mean(axis=1)) for one in upper)
    means = f"{spread(upper[0])} | {spread(upper[1])}"
    row = f"| Supervised, all labels | {means} | {in_words(interval(upper[1]))} | {seeds} |"
    assert row in MEASURED


def test_cps_over_cases_alone_and_over_both_on_two_cpus() -> None:
    found = []
    for store, others in (("measured", SIX[1:]), ("measured-intel", ["mt", "cps", "cmtv3", "ucmt"])):
        tables = {method: scores("kvasir", 120, method, store=store) for method in ["supervised", *others]}
        base = tables["supervised"].mean(axis=0)
        p = {one: stats.wilcoxon((tables[one].mean(axis=0) - base).round(9)).pvalue for one in others}
        found.append((holm(p)["cps"], compared(tables, "supervised")["cps"][3]))
    (cases, both), (cases_there, both_there) = found
    assert f"CPS against the supervised network has p = {cases:.3f} above and {cases_there:.3f} there" in MEASURED_LINE
    assert f"Over seeds and cases it is {both:.3f} above and {both_there:.3f} there" in MEASURED_LINE


def test_who_is_lowest_at_equal_updates() -> None:
    curves: dict[str, list[pd.DataFrame]] = {}
    for path in sorted((REPOSITORY / "results" / "measured" / "runs" / "kvasir").rglob("run.json")):
        spec = json.loads(path.read_text())["spec"]
        if protocol_of(spec) != "mini":
            continue
        changed = {k: v for k, v in flat(spec["protocol"]).items() if v != usual("mini")[k]}
        if spec["labeled"] == 120 and spec["method"] in ("mt", "cps", "ucmt") and not changed:
            curves.setdefault(spec["method"], []).append(pd.read_csv(path.parent / "curves.csv").set_index("iteration"))
    mean = {method: sum(frames) / 3 for method, frames in curves.items()}  # type: ignore[arg-type]
    assert all(len(frames) == 3 for frames in curves.values())
    points = mean["ucmt"].index

    def lowest(name: str, others: tuple[str, ...], factor: int) -> int:
        own = mean["ucmt"][name]
        return sum(all(own[i] < mean[other][name][factor * i] for other in others) for i in points)

    assert lowest("entropy", ("mt", "cps"), 1) == lowest("disagreement", ("mt", "cps"), 1) == len(points) == 15
    assert "UCMT's uncertainty and disagreement are lowest at all 15 points" in MEASURED_LINE
    assert f"its uncertainty is lowest at {lowest('entropy', ('mt', 'cps'), 2)} of 15 points" in MEASURED_LINE
    assert f"its disagreement is below CPS's at {lowest('disagreement', ('cps',), 2)} of 15" in MEASURED_LINE
