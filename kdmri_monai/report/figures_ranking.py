"""ROC curves, one class against the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from kdmri_monai.report.axes import MUTED, WIDTH, frame, key_below, name_axes, new_figure, style
from kdmri_monai.report.number_words import Bounded, in_words

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Sensitivity over the false-positive rate.

    Attributes:
        name: Class or run.
        fpr: Ascending from 0 to 1, shape ``(G,)``.
        tpr: Sensitivity at each, shape ``(G,)``.
        low: Lower bound of the sensitivity, shape ``(G,)``; NaN where it is not known.
        high: Upper bound.
        area: Area under the curve with bounds.
        n: Rows of the class.
    """

    name: str
    fpr: Array
    tpr: Array
    low: Array
    high: Array
    area: Bounded
    n: int


def roc_figure(curves: Sequence[RocCurve], unit: str = "slices") -> Figure:
    """Curves with bands over the diagonal of chance; areas and numbers stand in the key.

    Args:
        curves: One or more.
        unit: What is counted.

    Raises:
        ValueError: No curves, or arrays of different lengths.
    """
    if not curves:
        raise ValueError("no ROC curves to draw")
    figure = new_figure(3.85 + 0.16 * len(curves))
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color=MUTED, lw=0.8, ls=(0, (1, 2)))
    for place, curve in enumerate(curves):
        _check(curve)
        look = style(place)
        axes.fill_between(100 * curve.fpr, 100 * curve.low, 100 * curve.high, color=look.colour, alpha=0.14, lw=0)
        axes.plot(100 * curve.fpr, 100 * curve.tpr, color=look.colour, ls=look.dash, lw=WIDTH)
    frame(axes, "both")
    axes.set(xlim=(-1, 101), ylim=(-1, 101), aspect="equal")
    name_axes(axes, f"1 \N{MINUS SIGN} specificity (% of other {unit})", f"Sensitivity (% of {unit} of the class)")
    key_below(figure, [*(_entry(place, curve) for place, curve in enumerate(curves)), _chance()])
    return figure


def _entry(place: int, curve: RocCurve) -> Line2D:
    look = style(place)
    words = f"{curve.name}, n = {curve.n:,}: AUC {in_words(curve.area)}"
    return Line2D([], [], color=look.colour, ls=look.dash, lw=WIDTH, label=words)


def _chance() -> Line2D:
    return Line2D([], [], color=MUTED, lw=0.8, ls=(0, (1, 2)), label="chance: AUC 0.50")


def _check(curve: RocCurve) -> None:
    sizes = {name: np.shape(getattr(curve, name)) for name in ("fpr", "tpr", "low", "high")}
    if len(set(sizes.values())) > 1 or len(sizes["fpr"]) != 1:
        raise ValueError(f"the curve {curve.name!r} has arrays of shapes {sizes}, expected one length")
