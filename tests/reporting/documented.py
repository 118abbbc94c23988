"""What the numbers of README.md and the measured pages of docs should be, recomputed from stored cases.

With pandas and the sums of squares of the textbook, apart from the package's own statistics.
"""

import json
import tomllib
from collections import Counter
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from conftest import REPOSITORY
from scipy import optimize, stats

from ssl_bench.cards.runspec import LATER
from ssl_bench.method.registry import load_methods, parse_hyperparameters

SEEDS = {"mini": 3, "small": 5, "small 3D": 5}
PLAIN = {"mini": "kvasir/cps", "small": "kvasir/cps", "small 3D": "la/supervised"}  # runs that change no field
DESCRIBED = ("split", "metrics", "note")  # fields of a run that a table names, or that change no weight
HALVES = {"first": slice(1, 5), "second": slice(6, 10)}  # of ten seeds
TITLES = {"supervised": "Supervised", "mt": "MT", "cct": "CCT", "cps": "CPS", "cmtv1": "CMTv1", "cmtv2": "CMTv2",
          "cmtv3": "CMTv3", "ucmt": "UCMT", "ict": "ICT", "mt-cutmix": "MT + CutMix", "uamt": "UA-MT",
          "ugcl": "UGCL", "advsemseg": "AdvSemSeg", "coladv": "ColAdv", "dtc": "DTC"}  # fmt: skip


class Table(NamedTuple):
    """A documented table: which runs it shows.

    `everyone` is the number of labels of its first row; 0: no such row. `seeds`: 1 to this; 0: as many as is usual.
    """

    data: str
    labeled: int
    everyone: int
    methods: list[str]
    split: str = "random"
    protocol: str = "mini"
    seeds: int = 0


class Difference(NamedTuple):
    """Of two means: its size, its interval in words, p, and p after Holm's correction."""

    size: float
    around: str
    p: float
    corrected: float

    @property
    def words(self) -> str:
        return f"{self.size:+.2f}, {self.around}"


def page(name: str) -> tuple[str, str]:
    """A page's text as it stands, and in one line, for sentences."""
    text = (REPOSITORY / name).read_text()
    return text, " ".join(text.split())


def row(*cells: str) -> str:
    """A line of a table as a page has it."""
    return "|".join(["", *(f" {cell} " if cell else " " for cell in cells), ""])


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
        } | own_settings(spec)
        frames.append(
            own.assign(
                dsc=100 * own["dsc"], data=spec["benchmark"], labeled=spec["labeled"], method=spec["method"],
                seed=spec["seed"], split=spec["protocol"]["split"], protocol=protocol_of(spec),
                is_predictor=own["network"] == run["result"]["predictor"],
                processor=run["provenance"]["device"].rpartition(", ")[0],
                changed=json.dumps({k: v for k, v in changed.items() if k not in DESCRIBED}, sort_keys=True),
            )
        )  # fmt: skip
    return pd.concat(frames)


def own_settings(spec: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters that are not the method's own."""
    usual = default_settings(spec["method"], 3 if "patch_size" in spec["protocol"] else 2)
    return {key: value for key, value in spec["hyperparameters"].items() if value != usual[key]}


@cache
def default_settings(method: str, dimensions: int) -> dict[str, Any]:
    return parse_hyperparameters(load_methods()[method], {}).resolved(dimensions).model_dump(mode="json")


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
    store: str = "measured", protocol: str = "mini", seeds: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Scores (seed x case) of seeds 1 to `seeds`; 0: of as many as is usual at the protocol."""
    own = cases_of(data, labeled, method, split, changed, store, protocol, seeds)
    own = own[own["network"] == network] if network else own[own["is_predictor"]]
    table = own.pivot(index="seed", columns="case", values="dsc")
    assert list(table.index) == list(range(1, (seeds or SEEDS[protocol]) + 1))
    return table


def cases_of(
    data: str, labeled: int, method: str, split: str, changed: str, store: str, protocol: str, seeds: int
) -> pd.DataFrame:
    """The lines of `everything` that are of these runs."""
    frame = everything(store)
    return frame[
        (frame["data"] == data) & (frame["labeled"] == labeled) & (frame["method"] == method)
        & (frame["split"] == split) & (frame["changed"] == changed) & (frame["protocol"] == protocol)
        & (frame["seed"] <= (seeds or SEEDS[protocol]))
    ]  # fmt: skip


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


def changed_by(settings: dict[str, Any]) -> str:
    """The key of runs with these settings, for `scores`; values as a run stores them."""
    return json.dumps(settings, sort_keys=True)


def differences(tables: dict[str, pd.DataFrame], baseline: str) -> dict[str, list[str]]:
    """The cells of a table by title: mean, comparison with the baseline, p by the pair's own error term."""
    found, each = {baseline: [spread(tables[baseline]), "", ""]}, alone(tables, baseline)
    for title, own in compared(tables, baseline).items():
        words = f"{own.words}, {p_of(own.corrected)} ({p_of(own.p)})"
        found[title] = [spread(tables[title]), words, p_of(each[title])]
    return found


def by_case(table: Table) -> dict[str, pd.DataFrame]:
    """Scores by method (seed x case)."""
    return {
        method: scores(table.data, table.labeled, method, table.split, protocol=table.protocol, seeds=table.seeds)
        for method in table.methods
    }


def independent(table: Table) -> dict[str, pd.DataFrame]:
    """Scores by method (seed x case), of CVC-ClinicDB (seed x video), of ACDC (seed x patient)."""
    return {method: by_group(table.data, own) for method, own in by_case(table).items()}


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


def compared(tables: dict[str, pd.DataFrame], baseline: str) -> dict[str, Difference]:
    """The other methods against the baseline, by method."""
    variance, freedom = anova(list(tables.values()))
    found = {}
    for name in (name for name in tables if name != baseline):
        size = tables[name].to_numpy().mean() - tables[baseline].to_numpy().mean()
        half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
        p = float(2 * stats.t.sf(abs(size) / np.sqrt(variance), freedom))
        found[name] = Difference(size, in_words((size - half, size + half), "+"), p, p)
    corrected = holm({name: one.p for name, one in found.items()})
    return {name: one._replace(corrected=corrected[name]) for name, one in found.items()}


def alone(tables: dict[str, pd.DataFrame], baseline: str) -> dict[str, float]:
    """p of the other methods against the baseline by each pair's own error term, corrected, by method."""
    others = (name for name in tables if name != baseline)
    return holm({
        name: compared({baseline: tables[baseline], name: tables[name]}, baseline)[name].p for name in others
    })  # fmt: skip


def pairs(tables: dict[str, pd.DataFrame]) -> dict[frozenset[str], float]:
    """p of every pair of methods, corrected over all pairs."""
    return holm({frozenset((one, base)): own.p for base in tables for one, own in compared(tables, base).items()})


def rows(table: Table) -> dict[str, list[str]]:
    """The cells of a documented table by title: mean, interval, comparison, p by the pair's own error term."""
    spreads = {method: spread(own) for method, own in by_case(table).items()}
    tables = independent(table)
    found: dict[str, list[str]] = {}
    if table.everyone:
        upper, worth = upper_line(table), worth_of_labels(table)
        top = {"supervised": tables["supervised"], "upper": by_group(table.data, upper)}
        cells = [spread(upper), in_words(interval(top["upper"])), f"{worth.words}, {p_of(worth.p)}"]
        found["Supervised, all labels"] = [*cells, p_of(alone(top, "supervised")["upper"])]
    found["Supervised"] = [spreads["supervised"], in_words(interval(tables["supervised"])), "", ""]
    each = alone(tables, "supervised")
    for method, own in compared(tables, "supervised").items():
        words = f"{own.words}, {p_of(own.corrected)} ({p_of(own.p)})"
        found[TITLES[method]] = [spreads[method], in_words(interval(tables[method])), words, p_of(each[method])]
    return found


def upper_line(table: Table) -> pd.DataFrame:
    """Scores (seed x case) of the supervised network with all labels."""
    return scores(table.data, table.everyone, "supervised", table.split, protocol=table.protocol, seeds=table.seeds)


def worth_of_labels(table: Table) -> Difference:
    """All labels against the table's, by the supervised network; no correction."""
    top = by_group(table.data, upper_line(table))
    return compared({**independent(table), "upper": top}, "supervised")["upper"]


def processors(table: Table) -> str:
    """Which rows of a table were trained on another kind of processor, in words; empty if none was."""
    found = {}
    for method in table.methods:
        own = cases_of(table.data, table.labeled, method, table.split, "{}", "measured", table.protocol, table.seeds)
        found[TITLES[method]] = tuple(own.groupby("seed")["processor"].first())
    most = Counter(found.values()).most_common(1)[0][0]
    odd = [title for title, own in found.items() if own != most]
    rows_of = f"{listed(odd)} {'was' if len(odd) == 1 else 'were'}"
    if len(set(most)) == 1:
        kinds = (
            "another kind of processor" if len({found[title] for title in odd}) == 1 else "other kinds of processors"
        )
        return f"{rows_of} trained on {kinds} than the other rows." if odd else ""
    first = most.index(most[-1])
    assert most == (most[0],) * first + (most[-1],) * (len(most) - first)
    assert all(set(found[title]) == {most[-1]} for title in odd)
    words = f"Seeds {first + 1} to {len(most)} were trained on another kind of processor than seeds 1 to {first}"
    return f"{words}; {rows_of} trained on the former alone." if odd else f"{words}."


def listed(names: list[str]) -> str:
    """Names in a sentence."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def bounds(table: pd.DataFrame) -> tuple[float, float]:
    """As `interval`, of differences, which may be negative."""
    low, high = interval(table + 50)
    return low - 50, high - 50


def smallest(tables: dict[str, pd.DataFrame], tests: int) -> float:
    """The true difference that the first of `tests` comparisons finds in 80 of 100 cases."""
    variance, freedom = anova(list(tables.values()))
    critical = stats.t.ppf(1 - 0.025 / tests, freedom)
    size = optimize.brentq(lambda size: stats.nct.sf(critical, freedom, size) - 0.8, 0.5, 20)
    return float(size * np.sqrt(variance))
