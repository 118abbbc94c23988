"""Verdicts: what a claim's tests say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from ssl_bench.cards import AnyClaim, CurveClaim, DifferenceClaim, EquivalenceClaim
from ssl_bench.reporting.paired import FEW_SEEDS, SIGNIFICANT
from ssl_bench.statistics.anova import Estimate
from ssl_bench.store import Run

Verdict = Literal["supported", "contradicted", "not shown", "not measured"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
JOINT = ("supported", "supported in part", *VERDICTS[1:])  # of a claim with several tests


@dataclass(frozen=True)
class ClaimTest:
    """A claim's test of two sides in a column; of an equivalence, of all sides.

    Attributes:
        claim: the claim.
        who: the sides.
        data: the column, or the columns of an interaction.
        unit: of the difference.
        runs: of the sides.
        published: the difference of the paper's numbers, or None; of an equivalence, the largest between two settings.
        is_copied: whether the paper copied one of them from another paper.
        seeds: common to the sides.
        levels: number of these; where labelled draws are crossed with seeds, the fewer of both, a single one aside.
        estimate: the difference with its error; None without two common seeds and cases. Of an equivalence, it is that
            of the two settings that differ most.
        interval: at 95 %; of an equivalence, simultaneous for all pairs of settings.
        favours: 1 where the difference is the claimed one, -1 where it is the opposite, else 0. Of an equivalence: 1
            where every interval lies within the margin, else 0.
        p: two-sided; of an equivalence, the largest of the one-sided p.
        p_against: of an equivalence: of all differences lying within the margin, Bonferroni-corrected over the pairs.
        smallest_margin: of an equivalence: the smallest margin that would be shown with 80 % power.
        is_pooled: whether the error term is that of the column's methods, and not of the sides alone.
        p_pair: with the error term of the sides alone; None of an equivalence and of curves.
        p_holm: corrected over the `tests` of its claim that have a p.
        p_pair_holm: `p_pair`, corrected in the same way.
        p_against_holm: `p_against`, corrected in the same way.
        tests: number of these.
        why_not: why it was not measured or not tested.

    """

    claim: AnyClaim
    who: str
    data: str
    unit: str
    runs: tuple[Run, ...] = ()
    published: float | None = None
    is_copied: bool = False
    seeds: tuple[int, ...] = ()
    levels: int = 0
    difference: float | None = None
    estimate: Estimate | None = None
    interval: tuple[float, float] | None = None
    favours: int = 0
    p: float | None = None
    p_against: float | None = None
    smallest_margin: float | None = None
    is_pooled: bool = False
    p_pair: float | None = None
    p_holm: float | None = None
    p_pair_holm: float | None = None
    p_against_holm: float | None = None
    tests: int = 1
    why_not: str = ""

    @cached_property
    def smallest(self) -> float | None:
        """The smallest true difference that would be shown with 80 % power; of an equivalence, the smallest margin.

        With a tolerance, the difference is counted from minus the tolerance on, in the direction of the claim.
        """
        if self.estimate is None:
            return None
        if isinstance(self.claim, EquivalenceClaim):
            return self.smallest_margin
        return self.estimate.smallest(self.tests)

    @property
    def verdict(self) -> Verdict:
        """What the measured difference says of the claim."""
        if self.difference is None:
            return "not measured"
        level = SIGNIFICANT / 2 if isinstance(self.claim, EquivalenceClaim) else SIGNIFICANT
        is_tested = self.p_holm is not None and self.levels >= FEW_SEEDS
        if is_tested and self.p_against_holm is not None and self.p_against_holm < SIGNIFICANT:
            return "contradicted"
        if not is_tested or self.p_holm is None or self.p_holm >= level or self.favours == 0:
            return "not shown"
        return "supported" if self.favours > 0 else "contradicted"

    @property
    def text(self) -> str:
        """The verdict, with the difference that could have been found where none is shown."""
        if self.verdict == "not measured":
            return f"not measured ({self.why_not})" if self.why_not else "not measured"
        if self.verdict != "not shown":
            return self.verdict
        if self.estimate is None:
            return f"not shown ({self.why_not})"
        found = could_have_found(self)
        draws = " and label draws" if any(seed < 0 for seed in self.seeds) else ""
        few = f"; a verdict needs {FEW_SEEDS} common seeds{draws}" if self.levels < FEW_SEEDS else ""
        return f"not shown ({found}{few})"

    @property
    def decimals(self) -> int:
        """Decimals of its difference: curves have small values."""
        return 4 if isinstance(self.claim, CurveClaim) else 2


def could_have_found(test: ClaimTest) -> str:
    """The smallest difference that would have been shown, in words."""
    if test.smallest is None:
        return ""
    decimals = 4 if isinstance(test.claim, CurveClaim) else 1
    words = "shown a margin of" if isinstance(test.claim, EquivalenceClaim) else "found"
    if isinstance(test.claim, DifferenceClaim) and test.claim.tolerance:
        least, most = test.smallest - test.claim.tolerance, test.smallest + test.claim.tolerance
        return f"could have found {least:+.1f} {test.unit} for it, {most:.1f} against it".replace("  ", " ")
    return f"could have {words} {test.smallest:.{decimals}f} {test.unit}".strip()


def joint_verdict(tests: Sequence[ClaimTest]) -> str:
    """The verdict on a claim with several tests.

    It is contradicted if one test contradicts it, and supported if every measured test supports it; if only some do,
    in part. Else it is not shown: of the tests that do not show it, the one that could have found the least says what
    that was.
    """
    counts = Counter(test.verdict for test in tests)
    measured = len(tests) - counts["not measured"]
    if not measured:
        return "not measured"
    if counts["contradicted"]:
        return "contradicted"
    if counts["supported"] == measured:
        return "supported"
    if counts["supported"]:
        return f"supported in part ({counts['supported']} of {measured} tests)"
    open_tests = [test for test in tests if test.verdict == "not shown" and test.estimate is not None]
    weakest = max(open_tests, key=lambda test: test.smallest or 0.0, default=None)
    return "not shown" if weakest is None else f"not shown ({could_have_found(weakest)})"


def counted_verdicts(tests: Sequence[ClaimTest]) -> str:
    """How many tests of a claim have which verdict, such as "2 supported, 1 not shown"."""
    counts = Counter(test.verdict for test in tests)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
