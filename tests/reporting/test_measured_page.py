"""Every number of docs/measured.md, recomputed from stored cases."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from documented import (
    TITLES,
    Table,
    anova,
    bounds,
    by_group,
    compared,
    everything,
    flat,
    holm,
    in_words,
    independent,
    interval,
    p_of,
    page,
    protocol_of,
    rows,
    scores,
    smallest,
    spread,
    usual,
    worth_of_labels,
)
from scipy import stats

MEASURED, MEASURED_LINE = page("docs/measured.md")
SIX = ["supervised", "mt", "cct", "cps", "cmtv3", "ucmt"]
TABLES = {
    "kvasir": Table("kvasir", 120, 800, SIX),
    "isic": Table("isic", 90, 1815, ["supervised", "mt", "cps", "cmtv1", "cmtv2", "cmtv3", "ucmt"]),
    "cvc at random": Table("cvc", 73, 490, SIX),
    "cvc by sequence": Table("cvc", 70, 472, SIX, "by-sequence"),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_measured(name: str) -> None:
    for title, (mean, around, comparison, _) in rows(TABLES[name]).items():
        assert f"| {title} | {mean} | {around} | {comparison}{' ' * bool(comparison)}|" in MEASURED, title


@pytest.mark.parametrize("name", TABLES)
def test_the_first_table_of_measured_has_the_best_method_of_each(name: str) -> None:
    found = rows(TABLES[name])
    others = {title: cells for title, cells in found.items() if not title.startswith("Supervised")}
    best = max(others, key=lambda title: float(others[title][0].split(" ")[0]))
    mean, _, comparison, _ = others[best]
    words = f"| {found['Supervised'][0].split(' ')[0]} | {best}, {mean.split(' ')[0]} | {comparison.split(' (')[0]} |"
    assert words in MEASURED, words


@pytest.mark.parametrize("name", TABLES)
def test_the_students_of_measured(name: str) -> None:
    data, labeled, _, methods, split, *_ = TABLES[name]
    for method, networks in {"mt": ["student"], "cps": ["student2"], "cmtv3": ["student1", "student2"],
                             "ucmt": ["student1", "student2"]}.items():  # fmt: skip
        own = [spread(scores(data, labeled, method, split, network=network)) for network in networks]
        start = f"| {TITLES[method]} | {spread(scores(data, labeled, method, split))} |"
        (line,) = [
            text for text in MEASURED.splitlines()
            if text.startswith(start)
            and text.count("|") == 6 and "±" in text.split("|")[-2]
        ]  # fmt: skip
        assert line.split("|")[-2].strip().removeprefix("(student 2) ") == ", ".join(own)
    assert set(methods) >= {"mt", "cps", "cmtv3", "ucmt"}


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
    raw = {key: one.p for key, one in {**found, **alone}.items()}
    steps = holm(raw)
    for key, one in {**found, **alone}.items():
        words = f"{one.words}, {p_of(steps[key])}" + ("" if one.p < 0.001 else f" ({p_of(one.p)})")
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
    assert f"{-against.size:.2f} less than supervised (p = {against.corrected:.3f}, Holm-corrected)" in MEASURED
    pairs = sorted(
        2 * stats.t.sf(abs(a.to_numpy().mean() - b.to_numpy().mean()) / np.sqrt(anova(list(tables.values()))[0]),
                       anova(list(tables.values()))[1])
        for a, b in ((tables["30"], tables["cct"]), (tables["30"], tables["supervised"]))
    )  # fmt: skip
    difference = tables["cct"].to_numpy().mean() - tables["30"].to_numpy().mean()
    assert f"and {difference:.2f} less than with 0.1 (p = {3 * pairs[0]:.3f})" in MEASURED_LINE
    alone = compared({"supervised": tables["supervised"], "30": tables["30"]}, "supervised")["30"]
    assert f"alone gives p = {alone.p:.3f}" in MEASURED
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


def test_the_closest_pairs() -> None:
    """UCMT and the best, or supervised, before Holm's correction over all pairs and after it."""
    for data, labeled, split, best, grouped in (
        ("kvasir", 120, "random", "cps", False), ("cvc", 73, "random", "cps", True), ("cvc", 73, "random", "cps", False)
    ):  # fmt: skip
        tables = {method: scores(data, labeled, method, split) for method in SIX}
        if grouped:
            tables = {method: by_group("cvc", table) for method, table in tables.items()}
        closest = compared({"ucmt": tables["ucmt"], **tables}, best)["ucmt"]
        raw = closest.p
        if grouped or data == "kvasir":
            assert (
                f"{closest.size:+.2f}, p = {raw:.3f} before the correction over all 15 pairs and {15 * raw:.3f} after"
                in MEASURED_LINE
            )
        else:
            assert f"(With frames as independent cases it would be {raw:.3f} and {15 * raw:.3f}.)" in MEASURED_LINE


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
    tables = independent(TABLES[name])
    count = len(tables)
    sizes = smallest(tables, count - 1), smallest(tables, count * (count - 1) // 2)
    assert words.format(*sizes) in MEASURED_LINE


def test_what_more_labels_are_worth() -> None:
    for name, text in {
        "kvasir": "All 800 labels instead of 120 are worth {:.1f} points ({} to {})",
        "isic": "Twenty times the labels are worth {:.1f} points ({} to {})",
        "cvc at random": "417 more labels are worth six points ({1} to {2})",
        "cvc by sequence": "what 402 more labels are worth is not shown ({1} to {2})",
    }.items():
        worth = worth_of_labels(TABLES[name])
        assert text.format(worth.size, *worth.around.replace("+", "").split(" to ")) in MEASURED_LINE, name


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
        found.append((holm(p)["cps"], compared(tables, "supervised")["cps"].corrected))
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
