"""Charts as SVG within a page: curves, a scatter of cases, and curves the size of a word. Colours are the page's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from markupsafe import Markup, escape

from ssl_bench.live.curve_files import Points

WIDTH, HEIGHT = 360, 230  # of a chart, in units of its own; a phone shows it at about this size in pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 38  # margins
MOST = 400  # points of a curve
TICK = Markup('<g class="tick"><line x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/><text x="{}" y="{:.1f}">{}</text></g>')
POINT = Markup(
    '<a href="{}" class="case{}" aria-label="{}"><title>{}</title><circle cx="{:.1f}" cy="{:.1f}" r="4"/></a>'
)
BRIEF = Markup(
    '<svg class="brief" viewBox="0 0 100 20" role="img" aria-label="{}"><title>{}</title><polyline points="{}"/></svg>'
)
COLOURS = 8  # that the style sheet has; further ones are dashed


@dataclass(frozen=True)
class Curve:
    """A labelled curve; `series` numbers the colour."""

    label: str
    points: Points
    series: int

    @property
    def last(self) -> str:
        """Its last value."""
        return f"{self.points[-1][1]:.4g}"


@dataclass(frozen=True)
class Chart:
    """A chart and what its legend says."""

    title: str
    svg: Markup
    legend: tuple[Curve, ...] = ()


@dataclass(frozen=True)
class CasePoint:
    """A case's score of two runs or methods; `address` is that of its page, which shows its pictures."""

    case: str
    x: float
    y: float
    address: str
    has_pictures: bool


class _Axes:
    """Scales and axes of a chart over some ranges."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float], *, height: int = HEIGHT) -> None:
        self.height = height
        self.x_low, self.x_high, self.x_ticks = _range(xs)
        self.y_low, self.y_high, self.y_ticks = _range(ys)

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return self.height - BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * (self.height - TOP - BOTTOM)

    def drawn(self, x_label: str, y_label: str = "") -> Markup:
        """Grid lines, numbers and names of the axes."""
        parts = [
            TICK.format(
                LEFT, WIDTH - RIGHT, self.y(tick), self.y(tick), LEFT - 6, self.y(tick) + 4, number_text(tick)
            )
            for tick in self.y_ticks
        ]  # fmt: skip
        parts += [
            Markup('<text class="under" x="{:.1f}" y="{}">{}</text>').format(
                self.x(tick), self.height - BOTTOM + 16, number_text(tick)
            )
            for tick in self.x_ticks
        ]
        parts.append(
            Markup('<text class="under name" x="{:.1f}" y="{}">{}</text>').format(
                (LEFT + WIDTH - RIGHT) / 2, self.height - 5, x_label
            )
        )
        if y_label:
            middle = (TOP + self.height - BOTTOM) / 2
            parts.append(
                Markup('<text class="under name" transform="translate(11 {:.1f}) rotate(-90)">{}</text>').format(
                    middle, y_label
                )
            )
        return Markup("").join(parts)


def curve_chart(title: str, curves: Sequence[Curve]) -> Chart | None:
    """Draw curves over the iteration; None if none has a point."""
    shown = tuple(curve for curve in curves if curve.points)
    if not shown:
        return None
    axes = _Axes([x for one in shown for x, _ in one.points], [y for one in shown for _, y in one.points])
    parts = [axes.drawn("iteration")]
    for curve in shown:
        points = _thinned(curve.points)
        path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in points)
        body = Markup('<polyline points="{}"/>').format(path)
        if len(points) == 1:
            body = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3"/>').format(axes.x(points[0][0]), axes.y(points[0][1]))
        parts.append(
            Markup('<g class="curve {}"><title>{}</title>{}</g>').format(
                series_class(curve.series), f"{curve.label}: {curve.last}", body
            )
        )
    return Chart(title, _svg(title, Markup("").join(parts), HEIGHT, "img"), shown)


def scatter_chart(title: str, points: Sequence[CasePoint], x_label: str, y_label: str) -> Chart:
    """Draw a point per case, a link to its page, and the diagonal on which both are equal."""
    both = [value for point in points for value in (point.x, point.y)]
    axes = _Axes(both, both, height=WIDTH)
    low, high = axes.x_low, axes.x_high
    parts = [
        axes.drawn(x_label, y_label),
        Markup('<line class="diagonal" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
            axes.x(low), axes.y(low), axes.x(high), axes.y(high)
        ),
    ]
    for point in sorted(points, key=lambda one: one.has_pictures):  # those with pictures on top
        text = f"{point.case}: {number_text(point.x)} and {number_text(point.y)}"
        parts.append(
            POINT.format(
                point.address, " pictured" if point.has_pictures else "", text, text, axes.x(point.x), axes.y(point.y)
            )
        )  # fmt: skip
    return Chart(title, _svg(title, Markup("").join(parts), WIDTH, "group"))


def brief_chart(name: str, values: Sequence[float]) -> Markup:
    """Draw values as a line the size of a word; nothing without values."""
    if not values:
        return Markup("")
    low, high = min(values), max(values)
    scale = 16 / (high - low) if high > low else 0.0
    step = 96 / max(len(values) - 1, 1)
    path = " ".join(f"{2 + place * step:.1f},{18 - (value - low) * scale:.1f}" for place, value in enumerate(values))
    text = f"{name}: {values[0]:.4g} to {values[-1]:.4g}"
    return BRIEF.format(text, text, path)


def series_class(series: int) -> str:
    """The classes of the style sheet that give a series its colour and dash."""
    return f"s{series % COLOURS} d{series // COLOURS % 3}"


def number_text(value: float) -> str:
    """A number with at most four significant digits."""
    return f"{value:.4g}"


def _svg(title: str, body: Markup, height: int, role: str) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="{}" aria-label="{}">{}</svg>').format(
        WIDTH, height, role, escape(title), body
    )


def _range(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """The ends of an axis and its ticks."""
    from matplotlib.ticker import MaxNLocator

    low, high = min(values), max(values)
    if not low < high:
        low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    ticks = [float(tick) for tick in MaxNLocator(4).tick_values(low, high)]
    pad = (high - low) * 0.03
    low, high = low - pad, high + pad
    return low, high, [tick for tick in ticks if low <= tick <= high and isfinite(tick)]


def _thinned(points: Points) -> Points:
    """At most MOST points; each shown one is the mean of its neighbours."""
    from ssl_bench.live.curve_files import shortened

    xs, ys = ([point[axis] for point in points] for axis in (0, 1))
    return list(zip(shortened(xs, MOST), shortened(ys, MOST), strict=True))
