"""Claims: the statements of a paper as data, each with the runs that test it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from ssl_bench.cards.card import Card, Positive, in_unit, parse_card, read_toml
from ssl_bench.cards.grid import Column, columns_alike, exhibit_path
from ssl_bench.cards.metric import HEADLINE, METRICS, MetricName
from ssl_bench.cards.share import parse_share
from ssl_bench.folders import BENCHMARKS_DIR, CLAIMS


class Side(Card):
    """A method with optional settings, and the network of its runs that is scored. A text is a method's name."""

    method: str = Field(description="the method by name")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="protocol fields or hyperparameters of this side"
    )
    network: str | None = Field(None, description="a network of the run, such as student1; none: the predictor")
    title: str = Field("", description="default: the method's title with settings and network")
    dimensions: tuple[Literal[2, 3], ...] = Field(
        (2, 3), description="of the data sets in whose columns the side is tested"
    )


def _side(value: Any) -> Any:
    return {"method": value} if isinstance(value, str) else value


def _column(value: Any) -> Any:
    """Read "isic 5%" as data set and share; a table is kept."""
    if not isinstance(value, str):
        return value
    words = value.split()
    if len(words) != 2:
        raise ValueError("expected a data set and a share, such as 'isic 5%'")
    return dict(zip(("dataset", "labeled"), words, strict=True))


Sides = tuple[Annotated[Side, BeforeValidator(_side)], ...]
Columns = tuple[Annotated[Column, BeforeValidator(_column)], ...]


class AnyClaim(Card):
    """What every claim has. Each side of `rows` is held against each of `against`, in each column."""

    kind: str = Field(description="difference, equivalence, interaction or curve")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="in tables of verdicts")
    says: str = Field(min_length=1, description="the claim in one sentence")
    source: str = Field(min_length=1, description="where the paper says it")
    columns: Columns = Field(min_length=1, description="data sets with labelled shares, such as 'isic 5%'")
    rows: Sides = Field(min_length=1, description="methods that the claim is about")
    against: Sides = Field((), description="methods that they are held against")

    @property
    def sides(self) -> tuple[Side, ...]:
        """Every side once: those of `rows`, then those of `against`."""
        return (*self.rows, *self.against)

    @field_validator("columns")
    @classmethod
    def _shares_are_shares(cls, columns: Columns) -> Columns:
        for column in columns:
            parse_share(column.labeled, "labeled")
        return columns

    @model_validator(mode="after")
    def _sides_differ(self) -> Self:
        sides = [one.model_dump_json(exclude={"title", "dimensions"}) for one in self.sides]
        if len(set(sides)) < len(sides):
            raise ValueError("expected sides that differ in method, settings or network")
        return self


class _Against(AnyClaim):
    against: Sides = Field(min_length=1, description="methods that they are held against")


class DifferenceClaim(_Against):
    """Each of `rows` scores higher than each of `against`; with a tolerance: no lower, up to this many points."""

    kind: Literal["difference"] = Field(description="the kind")
    tolerance: float = Field(
        0.0, ge=0, json_schema_extra=in_unit("points"), description="by how much `rows` may score lower"
    )


class EquivalenceClaim(AnyClaim):
    """All `rows` score the same, up to a margin."""

    kind: Literal["equivalence"] = Field(description="the kind")
    rows: Sides = Field(min_length=2, description="that score the same")
    against: Sides = Field((), max_length=0, description="none")
    margin: Positive = Field(
        json_schema_extra=in_unit("points"), description="largest difference of two rows that counts as none"
    )


class InteractionClaim(_Against):
    """Each row's gain over each of `against` is larger under the first condition than under the last.

    The conditions are the columns of one data set with the same settings, in the order of the labelled shares, the
    smallest first.
    """

    kind: Literal["interaction"] = Field(description="the kind")

    @model_validator(mode="after")
    def _has_two_conditions(self) -> Self:
        alone = next((own for own in columns_alike(self.columns) if len(own) < 2), None)
        if alone is not None:
            name = self.columns[alone[0]].dataset
            raise ValueError(
                f"expected two columns or more of each data set with the same settings, found one of {name}"
            )
        return self


class CurveClaim(_Against):
    """Each row's curve of training lies above (or below) that of each of `against`, on average over a part."""

    kind: Literal["curve"] = Field(description="the kind")
    curve: Literal["disagreement", "entropy"] = Field(description="a column of curves.csv")
    lies: Literal["above", "below"] = Field(description="where the curves of `rows` lie")
    part: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] = Field(
        (0.5, 1.0), description="start and end of the part of training, as shares of its length"
    )

    @model_validator(mode="after")
    def _part_is_a_range(self) -> Self:
        if self.part[0] >= self.part[1]:
            raise ValueError(f"part: expected a start before its end, found {list(self.part)}")
        return self


Claim = Annotated[DifferenceClaim | EquivalenceClaim | InteractionClaim | CurveClaim, Field(discriminator="kind")]


class Claims(Card):
    """The claims of a paper (a card in benchmarks/claims/)."""

    kind: Literal["claims"] = Field(description="the kind of card")
    title: str = Field(description="the caption")
    metric: MetricName = Field(HEADLINE, description="that the claims are about")
    protocol: str | None = Field(
        None, description="the protocol whose runs are used by default; none: that of each data set"
    )
    claims: tuple[Claim, ...] = Field(min_length=1, description="each of one kind")
    _option: str = PrivateAttr(CLAIMS)

    @property
    def exhibit(self) -> Literal["claims"]:
        """What it is, beside tables and figures."""
        return "claims"

    @property
    def words(self) -> list[str]:
        """The option of `report` and `reproduce` that names it."""
        return [f"--{self.exhibit}", self.option]

    @property
    def option(self) -> str:
        """Its name on the command line."""
        return self._option

    @property
    def label(self) -> str:
        """The name of its file, without the ending."""
        return Path(self._option).stem

    @property
    def name(self) -> str:
        """The label, for example `Claims ucmt`."""
        return f"Claims {self.label}"

    @property
    def is_own(self) -> bool:
        """Whether it is a user's own card."""
        return self._option.endswith(".toml")

    @property
    def unit(self) -> str:
        """What differences of the metric are counted in; empty for a length, whose unit depends on the data."""
        return "points" if METRICS[self.metric].kind == "share" else ""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [claim.name for claim in self.claims]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"claims must have different names; found '{twice}' twice")
        return self


def load_claims(name: str) -> Claims:
    """Read a card of claims: a built-in one by name, any other by the path of its .toml file.

    Raises:
        UserError: there is no such card, or it is wrong.
    """
    folder = BENCHMARKS_DIR / "claims"
    path = exhibit_path(
        "claims", name, folder / f"{name}.toml", lambda: sorted(one.stem for one in folder.glob("*.toml"))
    )
    claims = parse_card(Claims, read_toml(path), str(path))
    claims._option = name
    return claims
