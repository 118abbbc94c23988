"""Small cells for the tests of the statistics."""

import itertools
from collections.abc import Sequence

import numpy as np

from ssl_bench.statistics.cell import CellScores

Values = Sequence[Sequence[Sequence[float | None]]]  # by seed, case and class; None: undefined

COMPLETE: Values = [[[10.0], [35.0], [62.0]], [[14.0], [51.0], [93.0]]]
TWO_CLASSES: Values = [
    [[10.0, 20.0], [40.0, None], [None, None], [70.0, 95.0]],
    [[12.0, 31.0], [None, None], [55.0, 58.0], [64.0, 91.0]],
    [[17.0, None], [44.0, 47.0], [None, 52.0], [79.0, 83.0]],
]
LONELY_SEED: Values = [[[None], [None], [30.0]], [[20.0], [50.0], [80.0]]]

# Darwin's maize, crossed less self-fertilised, in eighths of an inch (Fisher, The Design of Experiments, 1935).
MAIZE = [49.0, -67.0, 8.0, 16.0, 6.0, 23.0, 28.0, 41.0, 14.0, 29.0, 56.0, 24.0, 75.0, 60.0, -48.0]


def scores(
    values: Values,
    seeds: Sequence[int] | None = None,
    cases: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> CellScores:
    """CellScores of values by seed, case and class."""
    defined = [[[one for one in case if one is not None] for case in seed] for seed in values]
    return CellScores(
        tuple(seeds if seeds is not None else range(len(values))),
        tuple(cases if cases is not None else (f"case {number}" for number in range(len(values[0])))),
        np.array([[sum(case) for case in seed] for seed in defined], dtype=np.float64),
        np.array([[len(case) for case in seed] for seed in defined], dtype=np.int64),
        None if groups is None else tuple(groups),
    )


def of_cases(*seeds: Sequence[float]) -> CellScores:
    """CellScores of one value per seed and case."""
    return scores([[[value] for value in seed] for seed in seeds])


def mean_of(values: Values, seeds: Sequence[int], cases: Sequence[int]) -> float | None:
    """Mean over the drawn seeds of the mean over the defined values of the drawn cases."""
    means = []
    for seed in seeds:
        own = [one for case in cases for one in values[seed][case] if one is not None]
        if own:
            means.append(sum(own) / len(own))
    return sum(means) / len(means) if means else None


def every_resample(values: Values) -> list[float]:
    """The mean of each of the equally likely resamples, all of them."""
    seeds, cases = range(len(values)), range(len(values[0]))
    means = [
        mean_of(values, drawn_seeds, drawn_cases)
        for drawn_seeds in itertools.product(seeds, repeat=len(seeds))
        for drawn_cases in itertools.product(cases, repeat=len(cases))
    ]
    return [mean for mean in means if mean is not None]


def crossed(rng: np.random.Generator, seeds: int, cases: int, sd: tuple[float, float, float]) -> CellScores:
    """CellScores of true mean 80 with a spread of seeds, of cases and of both together."""
    of_seed, of_case, of_both = sd
    values = 80 + rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, of_case, cases)
    values += rng.normal(0, of_both, (seeds, cases))
    return CellScores(tuple(range(seeds)), tuple(map(str, range(cases))), values, np.ones_like(values, dtype=np.int64))
