"""Estimates with intervals one below another: runs, differences, strata, controls, each beside its chance."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from kdmri_monai.report.axes import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    PAPER,
    SMALL,
    VERMILION,
    frame,
    key_below,
    name_axes,
    new_figure,
)
from kdmri_monai.report.number_words import Bounded, in_words

NOTHING: Bounded = (math.nan, math.nan, math.nan)
LINE = 0.155
"""Height of a line of text, inches."""

BAND = 0.42
"""Half the height of the band of an interval, lines."""

GRID: dict[str, Any] = {"color": FAINT, "lw": 0.6, "zorder": 0.5}

LETTERS = 34
"""Letters of a label that stand beside the number."""


@dataclass(frozen=True)
class ForestRow:
    """One estimate.

    Attributes:
        label: What it is of, with n.
        number: Estimate and bounds; NaN is said and not drawn.
        group: Heading above the first row of the group.
        chance: What chance gives, and the range that it gives; NaN where none is known.
        warns: Whether the row is a warning, as a shortcut control that caught something.
    """

    label: str
    number: Bounded
    group: str = ""
    chance: Bounded = NOTHING
    warns: bool = False


@dataclass(frozen=True)
class ForestScale:
    """How the numbers of a forest are shown.

    Attributes:
        title: Name of the axis with its unit.
        scale: Factor from the numbers to the axis, 100 for percent.
        digits: Digits after the point.
        signed: Whether the numbers are differences.
        reference: Where a line stands, in the unit of the numbers; ``None`` for none.
        level: Nominal coverage of the intervals, 0..1.
        warning: What a warning means, for the key.
    """

    title: str
    scale: float = 100.0
    digits: int = 1
    signed: bool = False
    reference: float | None = None
    level: float = 0.95
    warning: str = "warning"


def forest_figure(rows: Sequence[ForestRow], scale: ForestScale) -> Figure:
    """Every row has its label and its number in a line of text, and below it the interval.

    Args:
        rows: From above; rows of a group stand together.
        scale: Axis and numbers.

    Raises:
        ValueError: No rows.
    """
    if not rows:
        raise ValueError("no rows to draw")
    lines = [textwrap.wrap(row.label, LETTERS) or [""] for row in rows]
    heads = [bool(row.group) and (not at or rows[at - 1].group != row.group) for at, row in enumerate(rows)]
    height = sum(len(text) + 1.0 + 1.25 * head for text, head in zip(lines, heads, strict=True))
    figure = new_figure(LINE * height + 0.75 + 0.17 * _key_lines(rows, scale))
    axes = figure.subplots()
    place, bands = 0.0, list[float]()
    for row, text, head in zip(rows, lines, heads, strict=True):
        if head:
            place += 1.25
            _write(axes, place - 0.45, row.group, fontweight="bold")
        _draw_row(axes, row, text, place, scale)
        place += len(text) + 1.0
        bands.append(place - 0.6)
    axes.set_ylim(height + 0.1, -0.1)
    _finish(axes, scale, bands)
    key_below(figure, _key(rows, scale))
    return figure


def _draw_row(axes: Axes, row: ForestRow, text: Sequence[str], place: float, scale: ForestScale) -> None:
    for number, line in enumerate(text):
        _write(axes, place + number + 0.55, line)
    _write(axes, place + 0.55, in_words(row.number, scale.scale, scale.digits, scale.signed), right=True)
    y = place + len(text) + 0.4
    value, low, high = (scale.scale * part for part in row.number)
    chance, chance_low, chance_high = (scale.scale * part for part in row.chance)
    if not math.isnan(chance_low + chance_high):
        axes.add_patch(Rectangle((chance_low, y - 0.32), chance_high - chance_low, 0.64, color=MUTED, alpha=0.35, lw=0))
    if not math.isnan(chance):
        axes.vlines(chance, y - 0.32, y + 0.32, color=MUTED, lw=1.4)
    colour, marker = (VERMILION, "D") if row.warns else (BLUE, "o")
    axes.hlines(y, low, high, color=colour, lw=1.6)
    axes.plot(value, y, marker, color=colour, mec=PAPER, mew=0.6, ms=6)


def _write(axes: Axes, y: float, words: str, right: bool = False, **text: Any) -> None:
    across = axes.get_yaxis_transform()
    x, align = (1.0, "right") if right else (0.0, "left")
    axes.text(x, y, words, transform=across, ha=align, va="center", fontsize=SMALL, color=INK, **text)


def _finish(axes: Axes, scale: ForestScale, bands: Sequence[float]) -> None:
    """Lines of the grid and of the reference stand behind the intervals alone, never behind words."""
    frame(axes)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.margins(x=0.04)
    if scale.reference is not None:
        for y in bands:
            axes.plot([scale.scale * scale.reference] * 2, [y - BAND, y + BAND], color=INK, lw=1.0, zorder=0.9)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high)
    for tick in axes.get_xticks():
        if low <= tick <= high:
            axes.vlines([tick] * len(bands), *zip(*((y - BAND, y + BAND) for y in bands), strict=True), **GRID)
    name_axes(axes, scale.title)


def _key_lines(rows: Sequence[ForestRow], scale: ForestScale) -> int:
    return len(_key(rows, scale))


def _key(rows: Sequence[ForestRow], scale: ForestScale) -> list[Line2D | Patch]:
    interval = f"estimate, {100 * scale.level:g} % interval"
    key: list[Line2D | Patch] = [Line2D([], [], color=BLUE, marker="o", ms=6, lw=1.6, label=interval)]
    if any(row.warns for row in rows):
        key.append(Line2D([], [], color=VERMILION, marker="D", ms=6, lw=1.6, label=scale.warning))
    if any(not math.isnan(row.chance[1] + row.chance[2]) for row in rows):
        key.append(Patch(color=MUTED, alpha=0.35, lw=0, label=f"{100 * scale.level:g} % of what chance gives"))
    if any(not math.isnan(row.chance[0]) for row in rows):
        key.append(Line2D([], [], color=MUTED, marker="|", ms=8, mew=1.4, ls="none", label="chance"))
    return key
