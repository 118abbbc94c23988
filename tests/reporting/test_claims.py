"""Claims against runs written by hand: each verdict, the notes, the files, and the shipped card against the paper."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, Call, assert_error
from handwritten import METHODS, write_run
from scipy import stats
from tidy import assert_tidy

import ssl_bench
from ssl_bench.cards import Claims, InteractionClaim, all_grids, load_benchmark, load_claims
from ssl_bench.command import written
from ssl_bench.errors import UserError
from ssl_bench.grids.aim import Target, aim, places
from ssl_bench.grids.claims import claim_grids
from ssl_bench.reporting.claim_cells import fill_claims
from ssl_bench.reporting.claims import ClaimsReport, paper_claims
from ssl_bench.reporting.draw_claims import ClaimRow, claims_figure
from ssl_bench.reporting.gather import ShownOptions
from ssl_bench.reporting.published import published_numbers
from ssl_bench.reporting.report import Report
from ssl_bench.statistics.anova import difference, squares_of_methods
from ssl_bench.statistics.column import Column
from ssl_bench.statistics.equivalence import smallest_margin
from ssl_bench.store import Store

CASES = 60
SHARES = {"5%": 90, "10%": 181}
TARGET = Target(protocol="mini", settings={"metrics": ["dsc"]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def card(folder: Path, *claims: dict[str, Any]) -> Claims:
    """A card of claims, read from a file."""
    path = folder / "mine.toml"
    lines = ['kind = "claims"', 'title = "Mine"']
    for number, claim in enumerate(claims):
        filled = {"name": f"claim-{number}", "says": "It is so.", "source": "Table 4", "columns": ["isic 5%"]} | claim
        own = {key: list(value) if isinstance(value, tuple) else value for key, value in filled.items()}
        lines += ["[[claims]]", *(f"{key} = {toml(value)}" for key, value in own.items())]
    path.write_text("\n".join(lines) + "\n")
    return load_claims(str(path))


def toml(value: Any) -> str:
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else written(value)


def write_seeds(
    store: Store, method: str, mean: float, *, seeds: Sequence[int] = (1, 2, 3), labeled: str = "5%",
    noise: float = 0.004, other: float = 0.125, **more: Any,
) -> dict[int, list[float]]:  # fmt: skip
    """Write runs of one method with scores around a mean, on cases that differ alike for all methods."""
    hardness = np.random.default_rng(1).normal(0, 0.05, CASES)
    found = {}
    for seed in seeds:
        rng = np.random.default_rng([seed, *map(ord, method), SHARES[labeled], *map(ord, str(more.get("hyper", "")))])
        found[seed] = [float(one) for one in mean + hardness + rng.normal(0, noise, CASES)]
        write_run(store, method, seed, found[seed], labeled=SHARES[labeled], other=other, **more)
    return found


def report(store: Store, claims: Claims, target: Target = TARGET) -> ClaimsReport:
    return paper_claims(claims, target, store.runs(), METHODS, ShownOptions())


def notes(found: ClaimsReport) -> list[str]:
    return found.tables[-1].notes


def lines(found: ClaimsReport) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(found.csv)))


MT_WINS = {"kind": "difference", "rows": ["mt"], "against": ["supervised"]}


# ---------------------------------------------------------------------------------------------------------- difference


def test_a_difference_is_supported_contradicted_not_shown_or_not_measured(store: Store, tmp_path: Path) -> None:
    for method, mean in {"supervised": 0.7, "mt": 0.75, "cps": 0.65, "cmtv1": 0.7005}.items():
        write_seeds(store, method, mean)
    rows = ["mt", "cps", "cmtv1", "ucmt"]
    claims = card(tmp_path, *({"kind": "difference", "rows": [row], "against": ["supervised"]} for row in rows))
    found = report(store, claims)
    verdicts = list(found.verdicts.values())
    assert verdicts[:2] == ["supported", "contradicted"]
    assert verdicts[2].startswith("not shown (could have found 0.")
    assert verdicts[2].endswith(" points)")
    assert verdicts[3] == "not measured"
    assert found.tests[3].text == "not measured (no run of UCMT 5%)"
    (command,) = found.missing
    assert command.startswith("ssl-bench run --methods ucmt --dataset isic --labeled 5% --protocol mini --seeds 1,2,3 ")
    assert any(f"`ssl-bench reproduce --claims {tmp_path}/mine.toml --protocol mini" in note for note in notes(found))
    assert found.finding.startswith("Of 4 claims: 1 supported, 1 contradicted, 1 not shown, 1 not measured.")
    assert not any("no difference" in test.text for test in found.tests)


def test_numbers_are_those_of_the_columns_one_error_term(store: Store, tmp_path: Path) -> None:
    means = {"mt": 0.72, "supervised": 0.7, "cps": 0.71, "cmtv3": 0.715}
    scores = {method: write_seeds(store, method, mean, noise=0.05) for method, mean in means.items()}
    found = report(
        store, card(tmp_path, MT_WINS, {"kind": "difference", "rows": ["cps", "cmtv3"], "against": ["supervised"]})
    )
    values = np.array([[scores[method][seed] for seed in (1, 2, 3)] for method in means]) * 100
    error = squares_of_methods(values)
    expected = [difference(values[i] - values[1], error) for i in (0, 2, 3)]
    for one, line, family in zip(expected, lines(found), (1, 2, 2), strict=True):
        assert float(line["difference"]) == pytest.approx(one.value, abs=1e-5)
        assert [float(line["ci95_low"]), float(line["ci95_high"])] == pytest.approx(one.interval(), abs=1e-5)
        assert float(line["p"]) == pytest.approx(one.p, abs=1e-5)
        assert float(line["smallest"]) == pytest.approx(one.smallest(family), abs=1e-5)
        assert (line["tests"], line["seeds"], line["error_term"]) == (str(family), "1 2 3", "all")
    assert float(lines(found)[0]["p_holm"]) == pytest.approx(expected[0].p, abs=1e-5)  # a family of its own
    smaller = min((1, 2), key=lambda n: expected[n].p)
    assert float(lines(found)[smaller]["p_holm"]) == pytest.approx(min(1, 2 * expected[smaller].p), abs=1e-5)


def test_fewer_than_three_seeds_give_no_verdict(store: Store, tmp_path: Path) -> None:
    write_seeds(store, "mt", 0.9, seeds=(1, 2))
    write_seeds(store, "supervised", 0.5, seeds=(1, 2))
    (test,) = report(store, card(tmp_path, MT_WINS)).tests
    assert test.verdict == "not shown"
    assert "a verdict needs 3 common seeds" in test.text
    one = Store(tmp_path / "one")
    write_seeds(one, "mt", 0.9, seeds=(1,))
    write_seeds(one, "supervised", 0.5, seeds=(1,))
    (test,) = report(one, card(tmp_path, MT_WINS)).tests
    assert test.text == "not shown (no test, since it needs two common seeds)"


def test_a_claim_of_several_tests_is_supported_by_all_of_them(store: Store, tmp_path: Path) -> None:
    for method, mean in {"ucmt": 0.8, "mt": 0.7, "cps": 0.7995, "cct": 0.9}.items():
        write_seeds(store, method, mean)
    best = {"kind": "difference", "rows": ["ucmt"]}
    claims = card(
        tmp_path, best | {"against": ["mt", "advsemseg"]}, best | {"against": ["mt", "cps"]},
        best | {"against": ["mt", "cps", "cct"]},
    )  # fmt: skip
    found = report(store, claims)
    first, second, third = found.verdicts.values()
    assert first == "supported"
    assert second == "supported in part (1 of 2 tests)"
    assert found.finding.startswith("Of 3 claims: 1 supported, 1 supported in part, 1 contradicted.")
    assert third == "contradicted"
    assert [str(row[-1]) for row in found.tables[0].rows] == [
        "1 supported, 1 not measured", "1 supported, 1 not shown", "1 supported, 1 contradicted, 1 not shown",
    ]  # fmt: skip


def test_a_network_of_a_run_is_held_against_another_within_a_tolerance(store: Store, tmp_path: Path) -> None:
    write_seeds(store, "ucmt", 0.7, other=0.705, settings={"teacher_source": [0.5, 0.5]})
    own = {"method": "ucmt", "settings": {"teacher_source": [0.5, 0.5]}}
    sides = {"kind": "difference", "rows": [own | {"network": "teacher"}], "against": [own | {"network": "student2"}]}
    claims = card(tmp_path, sides | {"tolerance": 3.0}, sides, sides | {"tolerance": 0.1})
    found = report(store, claims)
    assert found.tests[0].who == (
        "UCMT (teacher_source = [0.5, 0.5]; teacher) against UCMT (teacher_source = [0.5, 0.5]; student2)"
    )
    assert [test.verdict for test in found.tests] == ["supported", "not shown", "not shown"]
    assert not any(test.is_pooled for test in found.tests)
    wrong = card(tmp_path, sides | {"rows": [own | {"network": "student3"}]})
    with pytest.raises(UserError, match=r"claim 'claim-0': network: expected one of student2, teacher, found 'stud"):
        report(store, wrong)


def test_rows_with_settings_stay_out_of_other_claims_error_terms(store: Store, tmp_path: Path) -> None:
    for method, mean in {"mt": 0.72, "supervised": 0.7, "ucmt": 0.71}.items():
        write_seeds(store, method, mean, noise=0.05)
    before = report(store, card(tmp_path, MT_WINS, {"kind": "difference", "rows": ["ucmt"], "against": ["mt"]}))
    write_seeds(store, "ucmt", 0.71, noise=0.3, hyper={"k": 3})
    more = {"kind": "difference", "rows": [{"method": "ucmt", "settings": {"k": 3}}], "against": ["ucmt"]}
    after = report(store, card(tmp_path, MT_WINS, {"kind": "difference", "rows": ["ucmt"], "against": ["mt"]}, more))
    assert after.tests[0].estimate == before.tests[0].estimate
    assert after.tests[2].estimate is not None
    assert after.tests[2].estimate.variance > 4 * after.tests[0].estimate.variance  # type: ignore[union-attr]


def test_more_seeds_of_other_methods_decide_nothing(store: Store, tmp_path: Path) -> None:
    for method, mean in {"mt": 0.72, "supervised": 0.7, "ucmt": 0.71, "ucmt-cutmix": 0.7}.items():
        write_seeds(store, method, mean, noise=0.3 if method == "supervised" else 0.02)
    claims = card(tmp_path, {"kind": "difference", "rows": ["ucmt"], "against": ["ucmt-cutmix"]}, MT_WINS)
    before = report(store, claims).tests[0]
    for method, mean in {"mt": 0.72, "supervised": 0.7}.items():
        write_seeds(store, method, mean, noise=0.3, seeds=(4, 5, 6))
    after = report(store, claims).tests[0]
    assert after.is_pooled
    assert (after.estimate, after.p_holm, after.seeds) == (before.estimate, before.p_holm, (1, 2, 3))
    assert after.estimate is not None
    assert after.estimate.freedom > 2  # of more than the two sides


# --------------------------------------------------------------------------------------------------------- equivalence


@pytest.mark.parametrize(
    ("apart", "noise", "verdict"),
    [(0.001, 0.004, "supported"), (0.05, 0.004, "contradicted"), (0.0, 0.2, "not shown (could have shown a margin of")],
)
def test_settings_hardly_matter(store: Store, tmp_path: Path, apart: float, noise: float, verdict: str) -> None:
    for k in (1, 2, 3):
        write_seeds(store, "ucmt", 0.7 + apart * (k == 3), noise=noise, hyper={"k": k})
    rows = [{"method": "ucmt", "title": f"k = {k}", "settings": {"k": k}} for k in (1, 2, 3)]
    found = report(store, card(tmp_path, {"kind": "equivalence", "margin": 1.0, "rows": rows}))
    (test,) = found.tests
    assert test.text.startswith(verdict)
    assert test.interval is not None
    assert test.estimate is not None
    half = stats.t.ppf(1 - 0.025 / 3, test.estimate.freedom) * test.estimate.error
    assert test.interval == pytest.approx((test.difference - half, test.difference + half))  # type: ignore[operator]
    assert any("Margins: claim-0 1." in note for note in notes(found))


def test_the_margin_that_could_have_been_shown_is_that_of_the_pair_that_says_least(
    store: Store, tmp_path: Path
) -> None:
    for k, mean, noise, seeds in (
        (1, 0.7, 0.02, range(1, 9)),
        (2, 0.725, 0.02, range(1, 9)),
        (3, 0.712, 0.2, (1, 2, 3)),
    ):
        write_seeds(store, "ucmt", mean, seeds=seeds, noise=noise, hyper={"k": k})
    rows = [{"method": "ucmt", "settings": {"k": k}} for k in (1, 2, 3)]
    claims = card(tmp_path, {"kind": "equivalence", "margin": 8.0, "rows": rows})
    (test,) = report(store, claims).tests
    cells = fill_claims(claims, TARGET, store.runs(), METHODS)
    column = Column([one for row in range(3) if (one := cells.scores(cells.claims[0], row, 0)) is not None])
    pairs = [column.compare(*pair) for pair in combinations(range(3), 2)]
    estimates = [one.estimate for one in pairs if one is not None and one.estimate is not None]
    margins = [smallest_margin(one, 3) for one in estimates]
    assert max(margins) > 3 * min(margins)
    assert test.smallest == pytest.approx(max(margins))


def test_that_settings_differ_is_corrected_over_the_columns(store: Store, tmp_path: Path) -> None:
    """One interval lies outside the margin, but not by enough for two columns."""
    for labeled in SHARES:
        for k in (1, 2):
            write_seeds(store, "ucmt", 0.7 + 0.018 * (k == 2), noise=0.008, labeled=labeled, hyper={"k": k})
    rows = [{"method": "ucmt", "settings": {"k": k}} for k in (1, 2)]
    both = {"kind": "equivalence", "margin": 1.45, "rows": rows, "columns": ["isic 5%", "isic 10%"]}
    tests = report(store, card(tmp_path, both)).tests
    p = [one.p_against for one in tests]
    assert all(one is not None for one in p)
    least, most = sorted(one for one in p if one is not None)
    corrected = sorted(one.p_against_holm for one in tests if one.p_against_holm is not None)
    assert corrected == pytest.approx(sorted((min(1.0, 2 * least), max(min(1.0, 2 * least), most))))
    for test in tests:
        assert test.interval is not None
        assert test.p_against is not None
        outside = test.interval[0] > 1.45 or test.interval[1] < -1.45
        assert outside == (test.p_against < 0.05)
        assert (test.verdict == "contradicted") == (test.p_against_holm is not None and test.p_against_holm < 0.05)
    alone = report(store, card(tmp_path, both), replace(TARGET, labeled=("5%",))).tests
    assert [one.p_against_holm for one in alone] == [one.p_against for one in alone]


def test_an_equivalence_needs_all_its_settings(store: Store, tmp_path: Path) -> None:
    write_seeds(store, "ucmt", 0.7, hyper={"k": 1})
    rows = [{"method": "ucmt", "title": f"k = {k}", "settings": {"k": k}} for k in (1, 2)]
    (test,) = report(store, card(tmp_path, {"kind": "equivalence", "margin": 1.0, "rows": rows})).tests
    assert test.text == "not measured (no run of k = 2 5%)"


# --------------------------------------------------------------------------------------------------------- interaction

SHRINKS = {"kind": "interaction", "rows": ["mt"], "against": ["supervised"], "columns": ["isic 10%", "isic 5%"]}


@pytest.mark.parametrize(("many", "verdict"), [(0.71, "supported"), (0.80, "contradicted"), (0.75, "not shown")])
def test_a_gain_shrinks_with_labels(store: Store, tmp_path: Path, many: float, verdict: str) -> None:
    scores = {
        ("mt", "5%"): write_seeds(store, "mt", 0.75),
        ("supervised", "5%"): write_seeds(store, "supervised", 0.7),
        ("mt", "10%"): write_seeds(store, "mt", many, labeled="10%"),
        ("supervised", "10%"): write_seeds(store, "supervised", 0.7, labeled="10%"),
    }
    (test,) = report(store, card(tmp_path, SHRINKS)).tests
    assert test.verdict == verdict
    assert test.data == "isic 5% against 10%"  # the smaller share first, whatever the card's order
    mean = {key: 100 * np.mean(list(own.values())) for key, own in scores.items()}
    gains = {share: mean["mt", share] - mean["supervised", share] for share in SHARES}
    assert test.difference == pytest.approx(gains["5%"] - gains["10%"])
    assert test.seeds == (1, 2, 3)


def test_an_interaction_needs_two_shares(store: Store, tmp_path: Path) -> None:
    (test,) = report(store, card(tmp_path, SHRINKS), replace(TARGET, labeled=("5%",))).tests
    assert test.text == "not measured (it needs two labelled shares)"


@pytest.mark.parametrize("shares", [("5%", "10%"), ("90", "10%"), ("90", "181"), ("10%", "90")])
def test_shares_stand_in_the_order_of_their_images(store: Store, tmp_path: Path, shares: tuple[str, str]) -> None:
    """A number of images and a percentage are different ways to say how many, and no different units."""
    for method, few, many in (("mt", 0.8, 0.75), ("supervised", 0.7, 0.74)):
        write_seeds(store, method, few)
        write_seeds(store, method, many, labeled="10%")
    (test,) = report(store, card(tmp_path, SHRINKS | {"columns": [f"isic {one}" for one in shares]})).tests
    assert (test.verdict, round(test.difference or 0)) == ("supported", 9)


def test_gains_of_other_settings_are_not_held_against_each_other(store: Store, tmp_path: Path) -> None:
    """By each split alone the gain is the same with few labels and many; that of one split is much larger."""
    data, splits = load_benchmark("cvc"), ("random", "by-sequence")
    for split, gain in zip(splits, (0.2, 0.02), strict=True):
        more: dict[str, Any] = {"settings": {"split": split}, "benchmark": data, "rule": data.splits[split]}
        for labeled in SHARES:
            write_seeds(store, "supervised", 0.6, labeled=labeled, **more)
            write_seeds(store, "mt", 0.6 + gain, labeled=labeled, **more)
    columns = [
        {"dataset": "cvc", "labeled": labeled, "settings": {"split": split}} for labeled in SHARES for split in splits
    ]
    tests = report(store, card(tmp_path, SHRINKS | {"columns": columns})).tests
    assert [test.data for test in tests] == [f"cvc 5% against 10% split={split}" for split in splits]
    assert [test.verdict for test in tests] == ["not shown"] * 2
    with pytest.raises(UserError, match="two columns or more of each data set with the same settings"):
        card(tmp_path, SHRINKS | {"columns": columns[1:3]})


# --------------------------------------------------------------------------------------------------------------- curves


def write_curves(store: Store, method: str, seeds: Sequence[int], value: float, updates: int, points: int = 10) -> None:
    """Give runs a curve of disagreement: 9 in the first half, a value that differs by seed in the second."""
    for path in (store.root / "runs" / "isic" / method).iterdir():
        record = json.loads((path / "run.json").read_text())
        seed = record["spec"]["seed"]
        record["result"]["updates"] = updates
        (path / "run.json").write_text(json.dumps(record))
        rows = [f"{30 * n},{9.0 if 2 * n <= points else value + seed / 1000}" for n in range(1, points + 1)]
        (path / "curves.csv").write_text("\n".join(["iteration,disagreement", *rows]) + "\n")


@pytest.mark.parametrize(("lies", "verdict"), [("above", "supported"), ("below", "contradicted")])
def test_a_curve_lies_above_another(store: Store, tmp_path: Path, lies: str, verdict: str) -> None:
    for method, value in (("mt", 0.3), ("cps", 0.2)):
        write_seeds(store, method, 0.7)
        write_curves(store, method, (1, 2, 3), value, 300)
    claim = {"kind": "curve", "curve": "disagreement", "lies": lies, "rows": ["mt"], "against": ["cps"]}
    found = report(store, card(tmp_path, claim))
    assert [test.data for test in found.tests] == ["isic 5%, by iteration", "isic 5%, by update"]
    assert [test.verdict for test in found.tests] == [verdict] * 2
    assert found.tests[0].difference == pytest.approx(0.1)


def test_curves_of_crossed_labels_and_seeds_have_two_random_factors(store: Store, tmp_path: Path) -> None:
    of_label = {"mt": (0.31, 0.2, 0.35), "cps": (0.2, 0.3, 0.19)}
    for method, values in of_label.items():
        for label, value in zip((1, 2, 3), values, strict=True):
            for seed in (1, 2, 3):
                spec = write_run(store, method, seed, [0.7, 0.8], label_seed=None if label == seed else label)
                rows = [f"{30 * n},{value + seed / 1000 + label * seed / 5000}" for n in range(1, 11)]
                path = store.folder(spec).path / "curves.csv"
                path.write_text("\n".join(["iteration,disagreement", *rows]) + "\n")
    claim = {"kind": "curve", "curve": "disagreement", "lies": "above", "rows": ["mt"], "against": ["cps"]}
    test = report(store, card(tmp_path, claim), replace(TARGET, label_seeds=(1, 2, 3))).tests[0]
    labels = np.subtract(of_label["mt"], of_label["cps"])  # neither seeds nor their interaction change the difference
    assert test.interval == pytest.approx(tuple(stats.ttest_1samp(labels, 0).confidence_interval()))
    assert (test.verdict, test.levels, len(test.seeds)) == ("not shown", 3, 9)


def test_curves_are_compared_up_to_where_both_have_been_trained(store: Store, tmp_path: Path) -> None:
    """The first method has twice the updates an iteration, and half of the iterations."""
    for method in ("ucmt", "cps"):
        write_seeds(store, method, 0.7)
    write_curves(store, "ucmt", (1, 2, 3), 0.3, updates=600, points=5)
    write_curves(store, "cps", (1, 2, 3), 0.2, updates=300)
    claim = {"kind": "curve", "curve": "disagreement", "lies": "above", "rows": ["ucmt"], "against": ["cps"]}
    by_iteration, by_update = report(store, card(tmp_path, claim)).tests
    assert by_iteration.difference == pytest.approx(0.3 + 0.002 - 9)  # iterations 90 to 150, of CPS's first half
    assert by_update.difference == pytest.approx(0.1)


def test_a_method_without_branches_has_no_curve(store: Store, tmp_path: Path) -> None:
    for method in ("supervised", "cps"):
        write_seeds(store, method, 0.7)
    write_curves(store, "cps", (1, 2, 3), 0.2, 300)
    for path in (store.root / "runs" / "isic" / "supervised").iterdir():
        (path / "curves.csv").write_text("iteration,loss1\n30,1\n")
    claim = {"kind": "curve", "curve": "disagreement", "lies": "above", "rows": ["cps"], "against": ["supervised"]}
    found = report(store, card(tmp_path, claim))
    assert [test.text for test in found.tests] == ["not measured (no curve)"] * 2


# ---------------------------------------------------------------------------------------------------------- error rate


@pytest.mark.slow
def test_claims_about_equal_methods_are_seldom_called_supported_or_contradicted(tmp_path: Path) -> None:
    """Of tables of four equal methods, at most some five in a hundred have a verdict on any of six claims."""
    rivals = ["cps", "cmtv1", "cmtv3"]
    claims = card(tmp_path, *({"kind": "difference", "rows": ["mt"], "against": [one]} for one in rivals))
    rng, wrong, trials = np.random.default_rng(11), 0, 60
    for trial in range(trials):
        store = Store(tmp_path / str(trial))
        for method in ("mt", *rivals):
            interaction = rng.normal(0, 0.02, 40)
            for seed in (1, 2, 3):
                values = 0.7 + interaction + rng.normal(0, 0.01) + rng.normal(0, 0.06, 40)
                write_run(store, method, seed, [float(one) for one in values])
        wrong += any(test.verdict != "not shown" for test in report(store, claims).tests)
    assert stats.binomtest(wrong, trials, 0.05, alternative="greater").pvalue > 0.02


# ---------------------------------------------------------------------------------------------------- notes and files


def test_a_note_says_which_rows_were_trained_on_which_processor(store: Store, tmp_path: Path) -> None:
    write_seeds(store, "mt", 0.7)
    write_seeds(store, "supervised", 0.7)
    claims = card(tmp_path, MT_WINS)
    assert not any("different processors" in note for note in notes(report(store, claims)))
    for path in (store.root / "runs" / "isic" / "mt").iterdir():
        record = json.loads((path / "run.json").read_text())
        record["provenance"]["device"] = f"CPU (other), {2 if record['spec']['seed'] == 3 else 1} threads"
        (path / "run.json").write_text(json.dumps(record))
    (note,) = [note for note in notes(report(store, claims)) if "different processors" in note]
    assert note == "Trained on different processors (isic): MT 5% on CPU (other); Supervised 5% on a device."


def test_files_and_site(store: Store, tmp_path: Path) -> None:
    for method, mean in {"supervised": 0.7, "mt": 0.75}.items():
        write_seeds(store, method, mean)
    path = tmp_path / "mine.toml"
    found = Report((report(store, card(tmp_path, MT_WINS, SHRINKS)),))
    written_files = {one.name for one in found.write(tmp_path / "out")}
    stem = "claims-mine"
    assert written_files == {
        f"{stem}.md", f"{stem}.tex", f"{stem}.html", f"{stem}.csv", f"{stem}-tests.csv", f"{stem}-statistics.csv",
        *(f"{stem}-differences.{suffix}" for suffix in ("png", "svg", "pdf")),
    }  # fmt: skip
    first = {one.name: one.read_bytes() for one in (tmp_path / "out").iterdir()}
    Report((report(store, load_claims(str(path))),)).write(tmp_path / "again")
    assert {one.name: one.read_bytes() for one in (tmp_path / "again").iterdir()} == first
    found.write_html(tmp_path / "site")
    page = (tmp_path / "site" / f"{stem}.html").read_text()
    assert "supported" in page
    assert 'href="runs/' in page
    assert f"{stem}.html" in (tmp_path / "site" / "index.html").read_text()


# ------------------------------------------------------------------------------------------------------- command line


def test_claims_without_a_value_are_the_papers(call: Call, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    code, out, _ = call("report", "--claims", "--protocol", "mini", "--format", "csv")
    assert code == 0
    assert "mt-over-supervised" in out
    named = call("report", "--claims", "ucmt", "--protocol", "mini", "--format", "csv")
    assert named[:2] == (code, out)
    last = call("report", "--format", "csv", "--protocol", "mini", "--claims")
    assert last[:2] == (code, out)


def test_reproduce_lists_the_runs_that_claims_lack(call: Call, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    write_seeds(store, "mt", 0.7)
    claims = card(tmp_path, MT_WINS, SHRINKS)
    code, out, _ = call("reproduce", "--claims", claims.option, "--protocol", "mini", "--set", "metrics=['dsc']",
                        "--dry-run")  # fmt: skip
    assert code == 0
    assert "9 of 12 runs are missing; 3 exist." in out


def test_one_exhibit_is_asked_for_at_a_time(call: Call) -> None:
    answer = call("report", "--claims", "ucmt", "--table", "4")
    assert_error(answer, "expected exactly one of --table N, --figure N, --claims, --methods and --all")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "diff"}, ("claims.0", "kind", "'difference', 'equivalence', 'interaction', 'curve'")),
        ({"margin": 1.0}, ("claims.0.difference.margin: unknown key",)),
        ({"rows": ["mtt"]}, ("claim 'claim-0'", "row 'mtt'", "did you mean mt?")),
        ({"rows": [{"method": "mt", "settings": {"k": 3}}]}, ("claim 'claim-0'", "k is neither a protocol field")),
        ({"columns": ["isic"]}, ("columns.0", "expected a data set and a share, such as 'isic 5%', found 'isic'")),
        ({"columns": ["isic 5 %"]}, ("columns.0", "expected a data set and a share")),
        ({"columns": ["isic 500%"]}, ("claims.0.difference.columns", "at most 100%")),
        ({"columns": ["isics 5%"]}, ("--dataset", "did you mean isic?")),
        ({"rows": ["supervised"]}, ("claims.0", "expected sides that differ")),
        ({"against": []}, ("claims.0.difference.against", "at least 1 item")),
        ({"tolerance": -1.0}, ("claims.0.difference.tolerance",)),
        ({"name": "A claim"}, ("claims.0.difference.name",)),
        ({"kind": "interaction"}, ("claims.0", "expected two columns or more of each data set with the same settings")),
        (
            {"kind": "curve", "curve": "entropy", "lies": "above", "part": [1.0, 0.5]},
            ("part: expected a start before",),
        ),
        ({"kind": "equivalence", "margin": 0.0, "rows": ["mt", "cps"], "against": []}, ("equivalence.margin",)),
    ],
)
def test_a_bad_card_is_one_line(call: Call, tmp_path: Path, changes: dict[str, Any], words: tuple[str, ...]) -> None:
    (tmp_path / "results").mkdir()
    with pytest.raises(UserError):
        report(Store(tmp_path / "results"), card(tmp_path, MT_WINS | changes))
    assert_error(call("report", "--claims", "mine.toml"), *words)


def test_a_card_that_is_not_there_is_named(call: Call) -> None:
    assert_error(call("report", "--claims", "ucnt"), "--claims: expected one of ucmt, or a .toml file; found 'ucnt'")
    assert_error(call("report", "--claims", "no.toml"), "--claims: expected one of ucmt", "no file no.toml")


def test_two_claims_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine.toml: .*claims must have different names; found 'x' twice"):
        card(tmp_path, MT_WINS | {"name": "x"}, MT_WINS | {"name": "x"})


def test_a_setting_that_no_method_of_the_card_has_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    card(tmp_path, MT_WINS, {"kind": "difference", "rows": ["ucmt"], "against": ["mt"]})
    assert call("report", "--claims", "mine.toml", "--set", "k=3", "--format", "csv")[0] == 0
    assert_error(
        call("report", "--claims", "mine.toml", "--set", "vat=3"),
        "--set vat: neither a protocol field nor a hyperparameter of a method in Claims mine",
    )


# -------------------------------------------------------------------------------------------------- the paper's card

UCMT = load_claims("ucmt")


def test_every_method_data_set_and_setting_of_the_papers_card_exists() -> None:
    for protocol in ("mini", "paper", "released-code"):
        for grid in claim_grids(UCMT, METHODS):
            found = places(aim(grid, Target(protocol=protocol), METHODS), Target(protocol=protocol), METHODS)
            assert any(place is not None for row in found for place in row)


def test_networks_of_the_papers_card_are_those_of_its_runs() -> None:
    record = json.loads(next((REPOSITORY / "results/measured/runs/kvasir/ucmt").glob("*/run.json")).read_text())
    (own,) = record["scores"].values()
    named = {side.network for claim in UCMT.claims for side in claim.sides if side.network is not None}
    assert named == {"teacher", "student1", "student2"} == set(own["networks"])


def test_the_papers_card_has_every_data_set_of_the_paper_and_its_rivals() -> None:
    data = {column.dataset for claim in UCMT.claims for column in claim.columns}
    assert data == {"isic", "kvasir", "cvc", "la"}
    best = [claim for claim in UCMT.claims if claim.name.startswith("best-on-")]
    compared = {(side.method, column.dataset) for claim in best for side in claim.against for column in claim.columns}
    shown = {
        (row.method, column.dataset)
        for grid in all_grids()
        if grid.exhibit == "table" and grid.number in (1, 2, 3)
        for row in grid.rows
        for column in grid.columns
        if row.method not in ("ucmt", "cmtv3")  # CMT is the authors' own
    }
    assert compared == shown


def test_published_sizes_are_the_differences_that_the_paper_states() -> None:
    """Read off the paper's text and Tables 1 to 5."""
    found = report(Store(REPOSITORY / "no results"), UCMT, Target(protocol="mini"))
    sizes = {(test.claim.name, test.who.partition(" against ")[2], test.data): test.published for test in found.tests}
    expected = {
        ("mt-over-supervised", "Supervised", "isic 5%"): 3.36,
        ("third-network-mts", "MT", "isic 5%"): 0.17,
        ("third-network-cps", "CPS", "isic 5%"): 0.67,  # the text says 0.64; Table 4 has 87.48 and 86.81
        ("best-on-skin", "MT", "isic 5%"): 1.55,
        ("best-on-skin", "CPS", "isic 5%"): 1.41,
        ("best-on-skin-u-net", "UGCL (U-Net)", "isic 5%"): 9.47,
        ("cmt-over-mt-and-cps", "MT", "isic 5%"): 1.19,
        ("best-on-atria", "UA-MT", "la 10%"): 3.88,
        ("labels-shrink-ucmts-gains", "MT", "isic 5% against 10%"): round(1.55 - 1.04, 2),
        ("umix-over-cutmix", "UCMT (CutMix)", "isic 5%"): None,
    }
    assert {key: sizes[key] for key in expected} == expected
    assert any(note.startswith("†: the paper copied") for note in notes(found))
    (grid,) = [test for test in found.tests if test.claim.name == "k-and-r-hardly-matter"]
    assert grid.published == round(88.22 - 87.54, 2)


def test_published_sizes_are_those_of_the_published_numbers() -> None:
    entries = list(csv.DictReader((REPOSITORY / "results/published/tables_1_to_4.csv").open()))
    found = report(Store(REPOSITORY / "no results"), UCMT, Target(protocol="mini"))
    names = {"cmtv3": "CMT", "mt": "MT", "cps": "CPS", "ucmt": "UCMT"}
    checked = 0
    for claim in UCMT.claims:
        if claim.name not in ("cmt-over-mt-and-cps", "ucmt-over-cmt"):
            continue
        for own in claim.against:
            for column in claim.columns:
                a, b = (
                    next(
                        float(one["value"]) for one in entries
                        if (one["dataset"], one["labeled"], one["method"], one["metric"])
                        == (column.dataset, column.labeled, names[method], "DSC")
                        and one["network"] != "U-Net" and int(one["table"]) < 4
                    )
                    for method in (claim.rows[0].method, own.method)
                )  # fmt: skip
                who = f"{METHODS[claim.rows[0].method].title} against {METHODS[own.method].title}"
                (test,) = [
                    test for test in found.tests
                    if (test.claim.name, test.who, test.data)
                    == (claim.name, who, f"{column.dataset} {column.labeled}")
                ]  # fmt: skip
                assert test.published == round(a - b, 2)
                checked += 1
    assert checked == 24


def test_a_published_number_needs_its_data_its_share_and_its_settings() -> None:
    column = UCMT.claims[0].columns[0]
    assert {number: one.value for number, one in published_numbers("ucmt", {}, column, "dsc").items()} == {
        1: 88.22, 4: 88.22,
    }  # fmt: skip
    assert published_numbers("ucmt", {"k": 3, "r": 4}, column, "dsc")[5].value == 87.8
    assert published_numbers("ucmt", {"k": 9}, column, "dsc") == {}
    assert published_numbers("ucmt", {}, column.model_copy(update={"labeled": "7%"}), "dsc") == {}


def test_claims_can_be_held_against_other_data(tmp_path: Path) -> None:
    found = report(Store(tmp_path), UCMT, Target(protocol="tiny", datasets=("demo",), labeled=("5%", "10%")))
    assert {test.data.partition(" ")[0] for test in found.tests} == {"demo"}
    assert all(test.published is None for test in found.tests)
    shares = {test.data for test in found.tests if isinstance(test.claim, InteractionClaim)}
    assert shares == {"demo 5% against 10%"}


# ------------------------------------------------------------------------------------------------------- the picture

ROWS = [
    ClaimRow("UCMT against MT, isic 5%", "supported", 1.5, (0.5, 2.5), 1.55),
    ClaimRow("UCMT against a method of a long name with more words than fit, isic 5%", "not shown", 0.1, (-1, 1.2)),
    ClaimRow("MT against CPS, isic 5%", "not shown", -0.4),
    ClaimRow("CMTv1 against CPS, isic 5%", "not shown", 0.4, (-0.6, 1.4), 30.0),
    ClaimRow("CMTv2 against CPS, isic 5%", "not shown", 0.3, (-0.7, 1.3)),
    ClaimRow("CMTv3 against CPS, isic 5%", "not shown", 0.2, (-0.8, 1.2)),
    ClaimRow("a teacher against its student, isic 5%", "contradicted", -74.0, (-79.0, -69.0)),
]


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], []])
@pytest.mark.parametrize("width", [7.0, 3.5])
def test_the_words_of_the_picture_keep_apart(rows: list[ClaimRow], width: float) -> None:
    assert_tidy(claims_figure(rows, "difference of DSC [points]", width))


def test_a_far_difference_is_an_arrow_with_its_number() -> None:
    (axis,) = claims_figure(ROWS, "difference").axes
    low, high = axis.get_xlim()
    assert -5 < low < -1
    assert 1 < high < 5
    assert [text.get_text() for text in axis.texts] == ["-74.0"]
    (axis,) = claims_figure(ROWS[:3], "difference").axes
    assert list(axis.texts) == []
    assert axis.get_xlim()[1] > 2.5


# ------------------------------------------------------------------------------------------------------- label seeds


def test_claims_are_held_against_the_label_seeds_that_are_asked_for(store: Store, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    for method, mean in {"supervised": 0.7, "mt": 0.75}.items():
        for seed in (1, 2, 3):
            for label_seed in (1, 2, 3):
                scores = [float(one) for one in mean + rng.normal(0, 0.01, CASES)]
                write_run(store, method, seed, scores, label_seed=None if label_seed == seed else label_seed)
    claims = card(tmp_path, MT_WINS)
    (plain,) = report(store, claims).tests
    (crossed,) = report(store, claims, replace(TARGET, label_seeds=(1, 2, 3))).tests
    assert plain.seeds == (1, 2, 3)
    assert len(crossed.seeds) == 9
    assert crossed.verdict == "supported"


# ----------------------------------------------------------------------------------------- Python, docs, other settings


def test_python_and_the_command_line_give_the_same(store: Store, tmp_path: Path, call: Call) -> None:
    for method, mean in {"supervised": 0.7, "mt": 0.75}.items():
        write_seeds(store, method, mean)
    path = card(tmp_path, MT_WINS).option
    found = ssl_bench.report(claims=path, protocol="mini", settings={"metrics": ["dsc"]}, results_root=store.root)
    (exhibit,) = found.exhibits
    assert isinstance(exhibit, ClaimsReport)
    assert exhibit.verdicts == {"claim-0": "supported"}
    code, out, _ = call("report", "--claims", path, "--protocol", "mini", "--set", 'metrics=["dsc"]', "--results-root",
                        store.root, "--format", "markdown")  # fmt: skip
    assert code == 0
    assert out == "\n".join(table.markdown() for table in found.tables)
    lacks = ssl_bench.reproduce(
        claims=path, protocol="mini", settings={"metrics": ["dsc"]}, results_root=store.root, dry_run=True, seeds=(1, 4)
    )
    assert [(lack.place.method, lack.seed) for lack in lacks.lacks] == [("mt", 4), ("supervised", 4)]


def test_the_example_in_the_docs_is_a_card(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs/tables-and-figures.md").read_text().partition("## Claims")[2]
    (tmp_path / "example.toml").write_text(text.partition("```toml\n")[2].partition("```")[0])
    found = report(Store(tmp_path), load_claims(str(tmp_path / "example.toml")))
    assert [test.verdict for test in found.tests] == ["not measured"] * 6


def test_claims_are_about_one_choice_of_settings(store: Store, tmp_path: Path) -> None:
    claims = card(tmp_path, {"kind": "difference", "rows": ["fixmatch"], "against": ["supervised"]})
    common, both = (report(store, claims, replace(TARGET, tuned=choice)) for choice in ("common", "both"))
    assert [test.who for test in both.tests] == [test.who for test in common.tests]
    (authors,) = report(store, claims, replace(TARGET, tuned="authors")).tests
    assert authors.who == "FixMatch‡ against Supervised"


def test_runs_that_are_not_scored_by_the_metric_are_named(store: Store, tmp_path: Path) -> None:
    for method in ("mt", "supervised"):
        write_seeds(store, method, 0.7)
    claims = card(tmp_path, MT_WINS).model_copy(update={"metric": "jaccard"})
    target = replace(TARGET, settings={"metrics": ["dsc", "jaccard"]})
    (test,) = report(store, claims, target).tests
    assert test.text == "not measured (runs are not scored by the metric)"


def test_of_a_length_the_smaller_one_is_better(store: Store, tmp_path: Path) -> None:
    for method, mean in {"supervised": 0.7, "mt": 0.6}.items():
        write_seeds(store, method, mean, metric="95hd")
    claims = card(tmp_path, MT_WINS).model_copy(update={"metric": "95hd"})
    (test,) = report(store, claims, replace(TARGET, settings={"metrics": ["95hd"]})).tests
    assert test.verdict == "supported"
    assert test.difference == pytest.approx(-0.1, abs=0.01)
    assert test.unit == ""
