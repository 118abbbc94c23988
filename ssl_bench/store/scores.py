"""A run's scores per test case: its cases.csv, read and held against what its description says of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

from ssl_bench.cards import RunSpec
from ssl_bench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def read_cases(content: bytes, spec: RunSpec, result: Mapping[str, Any], where: str) -> pd.DataFrame:
    """Return a finished run's scores: network, case, class, then a column per metric (NaN: undefined).

    Args:
        content: of cases.csv.
        spec: the run's.
        result: of its description, whose means were taken of these scores.
        where: the file, for the message.

    Raises:
        UserError: it is not the file that the run wrote.
    """
    import pandas as pd

    try:
        cases = pd.read_csv(BytesIO(content), dtype={"case": str}, keep_default_na=False, na_values=[""])
        reason = _damage(cases, spec, result)
    except (ValueError, KeyError, TypeError) as error:  # which pandas' errors of parsing are, too
        reason = f"cannot be read ({error})"
    if reason:
        raise UserError(f"{where}: {reason}")
    return cases


def _damage(cases: pd.DataFrame, spec: RunSpec, result: Mapping[str, Any]) -> str:
    """Why these are not the scores that the description was made of; empty where they are."""
    classes = len(spec.classes) - 1
    for network, metrics in result["scores"].items():
        own = cases[cases["network"] == network]
        found = own["case"].nunique()
        if found != spec.test_count or len(own) != found * classes:
            return (
                f"expected the scores of {network} on {spec.test_count} cases, {classes} a case; "
                f"found {len(own)} on {found}"
            )
        for metric, recorded in metrics.items():
            defined = own[metric].dropna()
            mean = defined.mean() if len(defined) else None
            expected = recorded["mean"]
            if mean is None or expected is None:
                is_same = mean is expected
            else:
                is_same = math.isclose(mean, expected, rel_tol=1e-9)
            if not is_same:
                return f"the mean {metric} of {network} is {mean}, where run.json says {expected}"
    return ""
