"""What the terms of a loss weigh over the epochs: as they are, times their weight, and by their gradients."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdmri_monai.evaluation.history import History
from kdmri_monai.report.axes import INK, LABEL, MUTED, SMALL, WIDTH, key_below, name_axes, new_figure, style, tidy
from kdmri_monai.report.decades import log_scale

PANELS = {
    "training": ("As measured", "Value"),
    "weighted": ("Times its weight", "Part of the loss"),
    "gradient_norms": ("Pull on the student", "Norm of the gradient"),
}
"""Part of a line of ``metrics.jsonl``: title and name of the axis."""


def terms_figure(history: History) -> Figure:
    """Three panels one below another on logarithmic scales, a line a term.

    A point is the mean over the batches of an epoch; values of 0 and below have no place on the scale and are left out.
    A part that the run did not write is said to be missing.

    Args:
        history: With the columns ``training/TERM``, and ``weighted/TERM`` and ``gradient_norms/TERM`` where written.

    Raises:
        ValueError: The run wrote no loss term.
    """
    terms = [term for term in history.terms() if term != "loss"]
    if not terms:
        raise ValueError("the run wrote no loss term of the training")
    figure = new_figure(5.6 + 0.17 * -(-len(terms) // 3))
    column = figure.subplots(len(PANELS), 1, sharex=True)
    for axes, (part, (title, words)) in zip(column, PANELS.items(), strict=True):
        _draw(axes, history, part, terms)
        axes.set_title(title, fontsize=LABEL, loc="left", color=INK)
        name_axes(axes, y=words)
    n = f" (n = {history.n['training']:,} training slices)" if "training" in history.n else ""
    name_axes(column[-1], f"Epoch{n}", PANELS["gradient_norms"][1])
    figure.align_ylabels()
    looks = [style(place) for place in range(len(terms))]
    key = [
        Line2D([], [], color=look.colour, ls=look.dash, marker=look.marker, ms=3, lw=WIDTH, label=term)
        for look, term in zip(looks, terms, strict=True)
    ]
    key_below(figure, key, columns=3)
    return figure


def _draw(axes: Axes, history: History, part: str, terms: list[str]) -> None:
    tidy(axes)
    drawn = 0
    for place, term in enumerate(terms):
        values = history.column(part, term)
        there = np.isfinite(values) & (values > 0)
        if there.any():
            look = style(place)
            mark: dict[str, Any] = {"marker": look.marker, "ms": 3, "markevery": max(1, len(values) // 8)}
            axes.plot(history.epochs[there], values[there], color=look.colour, ls=look.dash, lw=WIDTH, **mark)
            drawn += 1
    if drawn:
        log_scale(axes, "y")
    else:
        axes.text(0.5, 0.5, "not written", transform=axes.transAxes, ha="center", fontsize=SMALL, color=MUTED)
        axes.set_yticks([])
