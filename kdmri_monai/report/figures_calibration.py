"""Whether probabilities can be believed: reliability diagram, and errors over the share of answers that is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from kdmri_monai.report.axes import MUTED, PAPER, WIDTH, Style, frame, key_below, name_axes, new_figure, style
from kdmri_monai.report.number_words import Bounded, in_words

Array = NDArray[np.float64]
POINTS = 200
"""Points of a drawn risk-coverage curve at most: more are finer than a line is wide."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of the confidence, which is the probability of the predicted class.

    Attributes:
        name: ``before``, ``after temperature 1.62`` or a run.
        confidence: Mean confidence of a bin, 0..1, shape ``(M,)``; NaN in an empty bin.
        accuracy: Share of right answers of a bin, shape ``(M,)``.
        low: Lower bound of the share; NaN where it is not known.
        high: Upper bound.
        count: Rows of a bin.
        ece: Expected calibration error with bounds.
    """

    name: str
    confidence: Array
    accuracy: Array
    low: Array
    high: Array
    count: NDArray[np.integer]
    ece: Bounded


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Errors among the answers kept, the most confident first.

    Attributes:
        name: Run.
        coverage: Share of answers kept, ascending in (0, 1], shape ``(N,)``.
        risk: Share of errors among them, shape ``(N,)``.
        area: Area under the curve with bounds.
    """

    name: str
    coverage: Array
    risk: Array
    area: Bounded


def reliability_figure(diagrams: Sequence[Reliability], unit: str = "slices") -> Figure:
    """Accuracy over confidence with the diagonal of perfect calibration, and below it how many rows each bin holds.

    Args:
        diagrams: One or more, as before and after temperature scaling.
        unit: What is counted.

    Raises:
        ValueError: No diagrams, or arrays of different lengths.
    """
    if not diagrams:
        raise ValueError("no reliability diagrams to draw")
    figure = new_figure(4.5 + 0.16 * len(diagrams))
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    axes.plot([0, 100], [0, 100], color=MUTED, lw=0.8, ls=(0, (1, 2)))
    lowest = 100.0
    for place, diagram in enumerate(diagrams):
        _check(diagram.name, diagram, ("confidence", "accuracy", "low", "high", "count"))
        lowest = min(lowest, 100 * float(np.nanmin(diagram.confidence)))
        _draw_bins(axes, counts, diagram, style(place), 0.5 * (place - (len(diagrams) - 1) / 2))
    frame(axes, "both")
    frame(counts)
    axes.set(xlim=(10 * np.floor(lowest / 10) - 2, 102), ylim=(-2, 102))
    counts.set_ylim(bottom=0)
    total = int(np.sum(diagrams[0].count))
    name_axes(axes, y=f"Right answers (% of {unit})")
    name_axes(counts, f"Confidence (%), n = {total:,} {unit}", f"{unit.capitalize()} a bin")
    figure.align_ylabels()
    entries = [
        _entry(style(place), f"{diagram.name}: ECE {in_words(diagram.ece, digits=3)}", marker=True)
        for place, diagram in enumerate(diagrams)
    ]
    entries.append(Line2D([], [], color=MUTED, lw=0.8, ls=(0, (1, 2)), label="perfect calibration"))
    key_below(figure, entries)
    return figure


def risk_coverage_figure(curves: Sequence[RiskCoverage], unit: str = "slices", n: int | None = None) -> Figure:
    """Errors among the answers that are kept when the least confident are withheld.

    Args:
        curves: One a run.
        unit: What is counted.
        n: Rows of the table.

    Raises:
        ValueError: No curves, or arrays of different lengths.
    """
    if not curves:
        raise ValueError("no risk-coverage curves to draw")
    figure = new_figure(3.0 + 0.16 * len(curves))
    axes = figure.subplots()
    entries = []
    for place, curve in enumerate(curves):
        _check(curve.name, curve, ("coverage", "risk"))
        look, at = style(place), _thinned(len(curve.coverage))
        axes.plot(100 * curve.coverage[at], 100 * curve.risk[at], color=look.colour, ls=look.dash, lw=WIDTH)
        entries.append(_entry(look, f"{curve.name}: area {in_words(curve.area, digits=3)}"))
    frame(axes)
    axes.set_xlim(0, 101)
    axes.set_ylim(bottom=0)
    number = "" if n is None else f", n = {n:,}"
    name_axes(axes, f"Coverage (% of {unit} answered{number})", "Errors (% of answered)")
    key_below(figure, entries)
    return figure


def _draw_bins(axes: Axes, counts: Axes, diagram: Reliability, look: Style, shift: float) -> None:
    """The shift, in percent, keeps bars and stems of two diagrams from hiding each other."""
    there = np.asarray(diagram.count) > 0
    x, share = 100 * diagram.confidence[there], 100 * diagram.accuracy[there]
    bounds = 100 * diagram.low[there], 100 * diagram.high[there]
    axes.vlines(x + shift, *bounds, color=look.colour, lw=0.9, alpha=0.8)
    marker: dict[str, Any] = {"marker": look.marker, "ms": 4.5, "mec": PAPER, "mew": 0.5}
    axes.plot(x + shift, share, color=look.colour, ls=look.dash, lw=WIDTH, **marker)
    counts.vlines(x + shift, 0, diagram.count[there], color=look.colour, lw=2.2)
    counts.plot(x + shift, diagram.count[there], look.marker, color=look.colour, ms=3.5)


def _thinned(length: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, length - 1, min(length, POINTS)).round().astype(np.intp))


def _entry(look: Style, words: str, marker: bool = False) -> Line2D:
    shape = look.marker if marker else None
    return Line2D([], [], color=look.colour, ls=look.dash, lw=WIDTH, marker=shape, ms=4.5, label=words)


def _check(name: str, curve: object, arrays: Sequence[str]) -> None:
    sizes = {array: np.shape(getattr(curve, array)) for array in arrays}
    if len(set(sizes.values())) > 1 or 0 in sizes[arrays[0]]:
        raise ValueError(f"{name!r} has arrays of shapes {sizes}, expected one length above 0")
