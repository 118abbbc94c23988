"""The search space of a sweep: `--param NAME=VALUES`."""

from __future__ import annotations

import itertools
import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssl_bench.command import toml_value
from ssl_bench.errors import UserError

if TYPE_CHECKING:
    import optuna

Value = bool | int | float | str
MOST = 10_000  # trials of a grid
_RANGE = re.compile(r"(?P<low>[^.,]+(\.[^.,]+)?)\.\.(?P<high>[^,:]+?)(?P<log>:log)?")


@dataclass(frozen=True)
class Choices:
    """One of some values; `k=1,2,5` or `student_init=same,different`."""

    name: str
    values: tuple[Value, ...]

    @property
    def text(self) -> str:
        """The form that `--param` reads."""
        return f"{self.name}={','.join(map(toml_value, self.values))}"

    def suggest(self, trial: optuna.Trial) -> Value:
        """Let Optuna choose a value."""
        chosen = trial.suggest_categorical(self.name, self.values)
        assert chosen is not None
        return chosen


@dataclass(frozen=True)
class Integers:
    """A whole number from `low` to `high`, both included; `k=1..5`."""

    name: str
    low: int
    high: int
    log: bool

    @property
    def values(self) -> tuple[Value, ...]:
        """All values."""
        return tuple(range(self.low, self.high + 1))

    @property
    def text(self) -> str:
        """The form that `--param` reads."""
        return f"{self.name}={self.low}..{self.high}{':log' * self.log}"

    def suggest(self, trial: optuna.Trial) -> Value:
        """Let Optuna choose a value."""
        return trial.suggest_int(self.name, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Reals:
    """A number from `low` to `high`; `lambda_max=0.01..1:log`."""

    name: str
    low: float
    high: float
    log: bool

    @property
    def text(self) -> str:
        """The form that `--param` reads."""
        return f"{self.name}={self.low!r}..{self.high!r}{':log' * self.log}"

    def suggest(self, trial: optuna.Trial) -> Value:
        """Let Optuna choose a value."""
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


Parameter = Choices | Integers | Reals


def parse_parameters(texts: Sequence[str]) -> tuple[Parameter, ...]:
    """Read `--param` options.

    Raises:
        UserError: there is no parameter, a parameter is named twice, or a parameter cannot be read.
    """
    if not texts:
        raise UserError("--param: expected at least one NAME=VALUES, such as k=1..5 or r=4,8,16")
    parameters = tuple(_parse(text) for text in texts)
    for parameter in parameters:
        if [other.name for other in parameters].count(parameter.name) > 1:
            raise UserError(f"--param: '{parameter.name}' is given twice")
    return parameters


def combinations(parameters: Sequence[Parameter]) -> list[dict[str, Value]]:
    """Every combination, the last parameter changing fastest.

    Raises:
        UserError: a parameter has infinitely many values, or there are too many combinations.
    """
    for parameter in parameters:
        if isinstance(parameter, Reals):
            raise UserError(
                f"--param {parameter.name}: a grid needs separate values, such as {parameter.name}="
                f"{parameter.low:g},{parameter.high:g}; a range needs --sampler tpe or random"
            )
    finite = [parameter for parameter in parameters if not isinstance(parameter, Reals)]
    count = math.prod(p.high - p.low + 1 if isinstance(p, Integers) else len(p.values) for p in finite)
    if count > MOST:
        raise UserError(f"--param: expected a grid of at most {MOST} trials, found {count}")
    values = [parameter.values for parameter in finite]
    names = [parameter.name for parameter in parameters]
    return [dict(zip(names, combination, strict=True)) for combination in itertools.product(*values)]


def extremes(parameters: Sequence[Parameter]) -> list[dict[str, Value]]:
    """Combinations with every value of a choice and both ends of a range, to find wrong values before training."""
    ends = [
        (parameter.name, parameter.values if isinstance(parameter, Choices) else (parameter.low, parameter.high))
        for parameter in parameters
    ]
    most = max(len(values) for _, values in ends)
    return [{name: values[min(i, len(values) - 1)] for name, values in ends} for i in range(most)]


def _parse(text: str) -> Parameter:
    name, equals, values = (part.strip() for part in text.partition("="))
    if not (name and equals and values):
        raise UserError(f"--param: expected NAME=VALUES, found '{text}'")
    match = _RANGE.fullmatch(values)
    if match is None:
        return Choices(name, _different(text, tuple(_value(word.strip()) for word in values.split(","))))
    low, high, log = _number(text, match["low"]), _number(text, match["high"]), match["log"] is not None
    if low >= high:
        raise UserError(f"--param: expected a range LOW..HIGH with LOW below HIGH, found '{text}'")
    if log and low <= 0:
        raise UserError(f"--param: a logarithmic range must be above 0, found '{text}'")
    if isinstance(low, int) and isinstance(high, int):
        return Integers(name, low, high, log)
    return Reals(name, float(low), float(high), log)


def _different(text: str, values: tuple[Value, ...]) -> tuple[Value, ...]:
    if "" in values or len(set(values)) < len(values):
        raise UserError(f"--param: expected different values, separated by commas; found '{text}'")
    return values


def _value(word: str) -> Value:
    try:
        value = tomllib.loads(f"value = {word}")["value"]
    except tomllib.TOMLDecodeError:
        return word
    return value if isinstance(value, bool | int | float | str) else word


def _number(text: str, word: str) -> int | float:
    value = _value(word.strip())
    if isinstance(value, bool | str):
        raise UserError(f"--param: expected numbers on both sides of '..', found '{text}'")
    return value
