"""Confusion matrices: how many of every true class were given every class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from kdmri_monai.report.axes import BLUE, INK, LABEL, MUTED, SMALL, name_axes, new_figure, write_lines

DEEPEST = 0.5
"""Opacity of a cell that holds its whole row: text in the colour of the page is read on it in light and in dark."""


def confusion_figure(counts: NDArray[np.integer], classes: Sequence[str], unit: str = "slices") -> Figure:
    """A cell a pair of true and predicted class: the count, below it its share of the true class.

    Right answers are framed; the depth of a cell is its share of the row.

    Args:
        counts: True class by row, predicted by column, shape ``(K, K)``.
        classes: The K names.
        unit: What is counted, ``slices`` or ``patients``.

    Raises:
        ValueError: The matrix is not of K rows and columns, or holds a negative number.
    """
    counts = np.asarray(counts)
    size = len(classes)
    if counts.shape != (size, size):
        raise ValueError(f"a matrix of shape {counts.shape} for {size} classes, expected ({size}, {size})")
    if (counts < 0).any():
        raise ValueError(f"a count is negative: {int(counts.min())}")
    figure = new_figure(3.5)
    axes = figure.subplots()
    for true, predicted in np.ndindex(size, size):
        _cell(axes, true, predicted, int(counts[true, predicted]), int(counts[true].sum()))
    _name_classes(axes, counts, classes)
    name_axes(axes, "Predicted class", "True class")
    axes.set_title(f"By {unit.removesuffix('s')}, n = {counts.sum():,}", fontsize=LABEL, loc="left", color=INK)
    return figure


def _cell(axes: Axes, true: int, predicted: int, count: int, whole: int) -> None:
    share = count / whole if whole else 0.0
    corner = predicted - 0.48, true - 0.48
    axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor=BLUE, alpha=DEEPEST * share, lw=0))
    right = true == predicted
    edge: dict[str, Any] = {"edgecolor": INK if right else MUTED, "lw": 1.4 if right else 0.4}
    axes.add_patch(Rectangle(corner, 0.96, 0.96, fill=False, **edge))
    axes.annotate(f"{count:,}", (predicted, true), ha="center", va="bottom", fontsize=12, fontweight="bold", color=INK)
    words = f"{100 * share:.1f} %" if whole else "no such"
    axes.annotate(words, (predicted, true + 0.06), ha="center", va="top", fontsize=SMALL, color=INK)


def _name_classes(axes: Axes, counts: NDArray[np.integer], classes: Sequence[str]) -> None:
    """Names in lines of their own words beside the cells; the true classes with their number."""
    size = len(classes)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    deepest = max(len(name.split()) for name in classes)
    for place, name in enumerate(classes):
        words = name.split()
        write_lines(axes, place, size - 0.46 + 0.08 * deepest, words, "center")
        write_lines(axes, -0.56, place, [*words, f"n = {counts[place].sum():,}"], "right")
    longest = max(len(word) for name in classes for word in [*name.split(), "n = 0,000"])
    axes.xaxis.labelpad, axes.yaxis.labelpad = 1.25 * SMALL * deepest, 0.62 * SMALL * longest
