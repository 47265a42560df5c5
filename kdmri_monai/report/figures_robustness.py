"""Accuracy as pictures get worse: a small panel a corruption, a line a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from kdmri_monai.report.axes import (
    INK,
    LABEL,
    MUTED,
    PANEL,
    SMALL,
    WIDTH,
    frame,
    key_below,
    name_axes,
    new_figure,
    style,
)

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Severities:
    """Scores of a run from the intact picture, severity 0, to the worst.

    Attributes:
        value: Shape ``(S + 1,)``, 0..1.
        low: Lower bounds; NaN where they are not known.
        high: Upper bounds.
    """

    value: Array
    low: Array
    high: Array


@dataclass(frozen=True, eq=False)
class CorruptionPanel:
    """One corruption.

    Attributes:
        title: For people, ``Rician noise``.
        strengths: What the severities are, ``2 to 20 % of the maximum``; may be empty.
        runs: Scores by name of the run; the same names in every panel.
    """

    title: str
    strengths: str
    runs: Mapping[str, Severities]


def robustness_figure(
    panels: Sequence[CorruptionPanel],
    score: str = "Balanced accuracy (%)",
    chance: float | None = None,
    columns: int = 2,
) -> Figure:
    """Small panels on one scale.

    Args:
        panels: One a corruption.
        score: Name of the score with unit and n.
        chance: Score of chance, 0..1, a dotted line; ``None`` for none.
        columns: Panels side by side, 2 for a phone, 4 for a paper.

    Raises:
        ValueError: No panels, panels of different runs, or scores of different lengths.
    """
    _check(panels)
    rows = -(-len(panels) // columns)
    names = list(panels[0].runs)
    figure = new_figure(1.45 * rows + 0.5 + 0.17 * len(names), PANEL / 2 * columns)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw(axes, panel, chance)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for place in range(max(0, len(panels) - columns), len(panels)):
        grid.flat[place].tick_params(labelbottom=True)
        name_axes(grid.flat[place], "Severity (0: intact)")
    figure.supylabel(score, fontsize=LABEL, color=INK)
    key_below(figure, _key(names, chance))
    return figure


def _draw(axes: Axes, panel: CorruptionPanel, chance: float | None) -> None:
    for place, scores in enumerate(panel.runs.values()):
        look, severity = style(place), np.arange(len(scores.value))
        axes.fill_between(severity, 100 * scores.low, 100 * scores.high, color=look.colour, alpha=0.12, lw=0)
        mark: dict[str, Any] = {"marker": look.marker, "ms": 3}
        axes.plot(severity, 100 * scores.value, color=look.colour, ls=look.dash, lw=WIDTH, **mark)
        axes.set_xticks(severity)
    if chance is not None:
        axes.axhline(100 * chance, color=MUTED, lw=0.9, ls=(0, (1, 2)))
    frame(axes)
    head: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "va": "bottom",
        "fontsize": SMALL,
        "color": INK,
    }
    axes.annotate(panel.title, (0, 1), (0, 12 if panel.strengths else 3), fontweight="bold", **head)
    axes.annotate(panel.strengths, (0, 1), (0, 3), **head)


def _key(names: Sequence[str], chance: float | None) -> list[Line2D]:
    key = []
    for place, name in enumerate(names):
        look = style(place)
        key.append(Line2D([], [], color=look.colour, ls=look.dash, marker=look.marker, ms=3, lw=WIDTH, label=name))
    if chance is not None:
        key.append(Line2D([], [], color=MUTED, lw=0.9, ls=(0, (1, 2)), label=f"chance, {100 * chance:.1f} %"))
    return key


def _check(panels: Sequence[CorruptionPanel]) -> None:
    if not panels:
        raise ValueError("no corruptions to draw")
    names, lengths = list(panels[0].runs), set()
    for panel in panels:
        if list(panel.runs) != names:
            raise ValueError(f"{panel.title!r} has the runs {list(panel.runs)}, {panels[0].title!r} has {names}")
        lengths |= {np.shape(part) for run in panel.runs.values() for part in (run.value, run.low, run.high)}
    if len(lengths) != 1:
        raise ValueError(f"scores have the shapes {sorted(lengths)}, expected one number of severities")
