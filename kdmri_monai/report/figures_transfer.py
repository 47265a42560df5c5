"""What accuracy costs: a point a network over its parameters or its latency."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from kdmri_monai.report.axes import INK, MUTED, PAPER, SMALL, frame, name_axes, new_figure, style
from kdmri_monai.report.decades import log_scale
from kdmri_monai.report.number_words import Bounded

NEAR = 0.06
"""Costs that differ by less than this part of the axis stand in one column."""

LINE, DODGE, ASIDE = 10.5, 6.0, 12.0
"""Distance of names, of the points of one column, and of the names from them, points of paper."""


@dataclass(frozen=True)
class CostPoint:
    """One network, or the mean of an arm.

    Attributes:
        name: Stands beside the point.
        accuracy: With bounds, 0..1.
        cost: Parameters or milliseconds, above 0.
    """

    name: str
    accuracy: Bounded
    cost: float


def transfer_figure(points: Sequence[CostPoint], accuracy: str, cost: str) -> Figure:
    """Accuracy with its interval over the cost, logarithmic; names stand beside the points.

    Networks of about the same cost stand side by side, a few points of paper apart, and the figure says so.

    Args:
        points: One a network.
        accuracy: Name of the score with unit and n.
        cost: Name of the cost with its unit.

    Raises:
        ValueError: No points, or a cost that is not above 0.
    """
    if not points:
        raise ValueError("no networks to draw")
    wrong = [point for point in points if not point.cost > 0]
    if wrong:
        raise ValueError(f"the cost of {wrong[0].name!r} is {wrong[0].cost}, expected a number above 0")
    figure = new_figure(3.4)
    axes = figure.subplots()
    frame(axes)
    name_axes(axes, cost, accuracy)
    _set_limits(axes, points)
    if any(len(column) > 1 for column in columns([point.cost for point in points])):
        axes.set_title("side by side: about the same cost", fontsize=SMALL, color=MUTED, loc="right")
    figure.draw_without_rendering()  # places the axes, in whose points names and columns are set
    _name_points(axes, points, _draw_points(axes, points))
    return figure


def columns(costs: Sequence[float]) -> list[list[int]]:
    """Places of the points in columns of about the same cost, cheap ones first."""
    logs = np.log(costs)
    gap = NEAR * max(float(np.ptp(logs)), 1.0)
    found: list[list[int]] = []
    for at in np.argsort(logs, kind="stable").tolist():
        if found and logs[at] - logs[found[-1][-1]] < gap:
            found[-1].append(at)
        else:
            found.append([at])
    return found


def spread(places: NDArray[np.float64], gap: float, low: float, high: float) -> NDArray[np.float64]:
    """Moves places on a line apart, as little as this order allows, and inside the bounds where they fit.

    Args:
        places: Ascending, shape ``(N,)``.
        gap: Least distance of neighbours.
        low: Lower bound.
        high: Upper bound.

    Returns:
        Shape ``(N,)``: the nearest in least squares with that distance, then clipped as a whole.
    """
    steps = gap * np.arange(len(places))
    return np.clip(_ascending(places - steps), low, max(low, high - (steps[-1] if len(steps) else 0))) + steps


def _ascending(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(isotonic_regression(values).x, dtype=np.float64)


def _set_limits(axes: Axes, points: Sequence[CostPoint]) -> None:
    logs = np.log10([point.cost for point in points])
    margin = max(0.12 * float(np.ptp(logs)), 0.2)
    axes.set_xlim(10 ** (logs.min() - margin), 10 ** (logs.max() + margin))
    log_scale(axes, "x")
    values = 100 * np.array([point.accuracy for point in points])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    axes.set_ylim(low - 0.06 * (high - low) - 0.5, high + 0.06 * (high - low) + 0.5)


def _draw_points(axes: Axes, points: Sequence[CostPoint]) -> list[tuple[float, float, bool]]:
    """Draws points and intervals.

    Returns:
        Of each point its place and whether its name stands to the right; places in points of paper from the lower left
        corner of the axes.
    """
    places = [(0.0, 0.0, True)] * len(points)
    inch = axes.figure.dpi_scale_trans
    corner = axes.get_window_extent()
    for column in columns([point.cost for point in points]):
        for turn, at in enumerate(column):
            point, look = points[at], style(at)
            aside = DODGE * (turn - (len(column) - 1) / 2)
            shifted = axes.transData + ScaledTranslation(aside / 72, 0, inch)
            value, low, high = (100 * part for part in point.accuracy)
            axes.vlines(point.cost, low, high, color=look.colour, lw=1.4, transform=shifted)
            mark: dict[str, Any] = {"color": look.colour, "mec": PAPER, "mew": 0.6, "ms": 6.5, "zorder": 3}
            axes.plot(point.cost, value, look.marker, transform=shifted, **mark)
            x, y = (shifted.transform((point.cost, value)) - (corner.x0, corner.y0)) * 72 / axes.figure.dpi
            middle = axes.transAxes.inverted().transform(axes.transData.transform((point.cost, value)))[0]
            places[at] = float(x), float(y), bool(middle < 0.5)
    return places


def _name_points(axes: Axes, points: Sequence[CostPoint], places: Sequence[tuple[float, float, bool]]) -> None:
    """Names at heights of their own, each tied to its point by a faint line."""
    corner = axes.get_window_extent()
    top = corner.height * 72 / axes.figure.dpi
    order = sorted(range(len(points)), key=lambda at: places[at][1])
    heights = spread(np.array([places[at][1] for at in order]), LINE, 0.4 * LINE, top - 0.4 * LINE)
    sides = {at: _beside(places, at) for at in order}
    for at, height in zip(order, heights.tolist(), strict=True):
        x, y, right = places[at]
        axes.annotate(
            points[at].name,
            (x, y),
            (sides[at], height),
            xycoords="axes points",
            textcoords="axes points",
            ha="left" if right else "right",
            va="center",
            fontsize=SMALL,
            color=INK,
            bbox={"facecolor": PAPER, "alpha": 0.75, "lw": 0, "pad": 0.6},
            arrowprops={"arrowstyle": "-", "color": MUTED, "lw": 0.5, "shrinkA": 0, "shrinkB": 4},
        )


def _beside(places: Sequence[tuple[float, float, bool]], at: int) -> float:
    """Where the name begins: beyond all points of its column."""
    x, _, right = places[at]
    near = [other for other, _, side in places if side == right and abs(other - x) < DODGE * len(places)]
    return max(near) + ASIDE if right else min(near) - ASIDE
