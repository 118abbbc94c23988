"""PLACEHOLDER until the drawing module arrives; same interface."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Line:
    label: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Panel:
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...] | None = None


@dataclass(frozen=True)
class Example:
    label: str
    image: np.ndarray
    truth: np.ndarray
    predictions: tuple[np.ndarray | None, ...]
    scores: tuple[str, ...]


@dataclass(frozen=True)
class UncertaintyExample:
    label: str
    image: np.ndarray
    stages: tuple[tuple[str, np.ndarray, np.ndarray, np.ndarray], ...]


def line_figure(panels: Sequence[Panel]) -> Figure:
    figure = Figure(figsize=(7, 2.5), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        axis.set_title(panel.title)
        for line in panel.lines:
            axis.plot(line.x, np.nanmean(line.y, axis=0), label=line.label, marker="o" if panel.ticks else "")
        if panel.ticks:
            axis.set_xticks([x for x, _ in panel.ticks], [t for _, t in panel.ticks])
    return figure


def example_figure(methods: Sequence[str], examples: Sequence[Example]) -> Figure:
    figure = Figure(figsize=(7, 1.2 * max(len(examples), 1)), layout="constrained")
    axes = figure.subplots(max(len(examples), 1), len(methods) + 2, squeeze=False)
    for row, one in zip(axes, examples, strict=False):
        for axis, picture in zip(row, [one.image, *one.predictions, one.truth], strict=True):
            axis.set_axis_off()
            if picture is not None:
                axis.imshow(picture, cmap="gray")
    return figure


def uncertainty_figure(examples: Sequence[UncertaintyExample]) -> Figure:
    figure = Figure(figsize=(7, 1.2 * max(len(examples), 1)), layout="constrained")
    if not examples:
        return figure
    axes = figure.subplots(len(examples), 1 + 3 * len(examples[0].stages), squeeze=False)
    for row, one in zip(axes, examples, strict=True):
        pictures = [one.image, *(p for stage in one.stages for p in stage[1:])]
        for axis, picture in zip(row, pictures, strict=True):
            axis.set_axis_off()
            axis.imshow(picture, cmap="viridis")
    return figure


def render(figure: Figure, format: Literal["png", "svg", "pdf"]) -> bytes:
    with matplotlib.rc_context({"svg.hashsalt": "ssl-bench"}):
        content = io.BytesIO()
        metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[format]
        figure.savefig(content, format=format, metadata=metadata, dpi=150)
        return content.getvalue()
