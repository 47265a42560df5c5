"""Loss and accuracy of the runs of an arm over the epochs: thin lines for the seeds, one strong line for their mean."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from kdmri_monai.evaluation.history import Column, History
from kdmri_monai.report.axes import (
    INK,
    MUTED,
    PANEL,
    PAPER,
    SMALL,
    TRAINING,
    VALIDATION,
    WIDTH,
    key_below,
    name_axes,
    new_figure,
    tidy,
)

SPLITS = {"training": (TRAINING, "-"), "validation": (VALIDATION, "--")}
PANELS = (("loss", "Cross-entropy (nats)", 1.0), ("accuracy", "Accuracy (% of slices)", 100.0))
NAMES = {"loss": ("task", "loss"), "accuracy": ("accuracy",)}
"""Columns of a history; what a run writes as its validation loss is the cross-entropy alone."""


def arm_curves(arms: Mapping[str, Sequence[History]]) -> dict[str, Figure]:
    """A figure an arm, loss above accuracy, on the same scales: side by side on a page, stacked on a phone.

    Dots mark the validation accuracy in the epoch of the best validation balanced accuracy of each run.

    Args:
        arms: Histories of the runs of an arm, one a seed, by the name of the arm.

    Raises:
        ValueError: No arms, or an arm without runs.
    """
    _check(arms)
    limits = _limits(arms)
    figures = {}
    for name, runs in arms.items():
        figures[name] = new_figure(4.7)
        _draw_arm(figures[name].subplots(2, 1, sharex=True), name, runs, limits)
        key_below(figures[name], _key([runs]))
    return figures


def arm_columns(arms: Mapping[str, Sequence[History]]) -> Figure:
    """The same in one figure for a paper, a column an arm.

    Args:
        arms: As in ``arm_curves``.

    Raises:
        ValueError: As ``arm_curves``.
    """
    _check(arms)
    limits = _limits(arms)
    figure = new_figure(4.7, 0.4 + 0.9 * PANEL * len(arms))
    grid = figure.subplots(2, len(arms), sharex="col", sharey="row", squeeze=False)
    for column, (name, runs) in zip(grid.T, arms.items(), strict=True):
        _draw_arm(column, name, runs, limits)
    for axes in grid[:, 1:].flat:
        axes.set_ylabel("")
    key_below(figure, _key(list(arms.values())))
    return figure


def mean_over_runs(runs: Sequence[History], split: str, *names: str) -> tuple[NDArray[np.int64], Column]:
    """Mean of a column over runs, in the epochs that every run has; NaN elsewhere.

    Args:
        runs: Histories of one arm.
        split: ``training`` or ``validation``.
        names: As in ``History.column``.

    Returns:
        Every epoch that a run has, shape ``(E,)``, and the mean, shape ``(E,)``.
    """
    epochs = np.unique(np.concatenate([run.epochs for run in runs]))
    values = np.full((len(runs), len(epochs)), np.nan)
    for row, run in zip(values, runs, strict=True):
        row[np.searchsorted(epochs, run.epochs)] = run.column(split, *names)
    return epochs, values.mean(axis=0)


def _check(arms: Mapping[str, Sequence[History]]) -> None:
    if not arms:
        raise ValueError("no arms to draw")
    empty = [name for name, runs in arms.items() if not runs]
    if empty:
        raise ValueError(f"the arm {empty[0]!r} has no runs")


def _limits(arms: Mapping[str, Sequence[History]]) -> dict[str, tuple[float, float]]:
    """Scale of every panel over all arms, with a margin of a twentieth; a loss begins at 0."""
    limits = {}
    for panel, _, scale in PANELS:
        columns = [run.column(split, *NAMES[panel]) for runs in arms.values() for run in runs for split in SPLITS]
        values = scale * np.concatenate(columns)
        values = values[np.isfinite(values)] if np.isfinite(values).any() else np.array([0.0, scale])
        low, high = (0.0 if panel == "loss" else float(values.min())), float(values.max())
        margin = max(0.05 * (high - low), 0.01 * scale)
        limits[panel] = (low if panel == "loss" else low - margin, high + margin)
    return limits


def _draw_arm(
    column: Sequence[Axes], name: str, runs: Sequence[History], limits: Mapping[str, tuple[float, float]]
) -> None:
    for axes, (panel, words, scale) in zip(column, PANELS, strict=True):
        for split, (colour, dash) in SPLITS.items():
            _draw_runs(axes, runs, split, NAMES[panel], scale, colour, dash)
        tidy(axes)
        name_axes(axes, y=words)
        axes.set_ylim(limits[panel])
    column[0].set_title(name, fontsize=10, fontweight="bold", loc="left", color=INK)
    column[1].set_xlabel("Epoch", fontsize=9, color=INK)
    _mark_best(column, runs)


def _draw_runs(
    axes: Axes, runs: Sequence[History], split: str, names: Sequence[str], scale: float, colour: str, dash: str
) -> None:
    if len(runs) > 1:
        for run in runs:
            axes.plot(run.epochs, scale * run.column(split, *names), dash, color=colour, lw=0.6, alpha=0.55)
    epochs, mean = mean_over_runs(runs, split, *names)
    marker = "o" if len(epochs) < 12 else None
    axes.plot(epochs, scale * mean, dash, color=colour, lw=1.3 * WIDTH, marker=marker, ms=3, label=split)


def _mark_best(column: Sequence[Axes], runs: Sequence[History]) -> None:
    best = [(run, at) for run in runs for at in [run.best()] if at is not None]
    if not best:
        return
    for run, at in best:
        for axes in column:
            axes.axvline(run.epochs[at], color=INK, lw=0.6, ls=":")
        score = 100 * run.column("validation", "accuracy")[at]
        column[1].plot(run.epochs[at], score, "o", color=VALIDATION, mec=PAPER, mew=0.8, ms=5.5)
    epochs = sorted(int(run.epochs[at]) for run, at in best)
    words = f"best: epoch{'s' if len(epochs) > 1 else ''} {', '.join(map(str, epochs))}"
    look: dict[str, Any] = {"fontsize": SMALL, "color": INK, "fontweight": "bold"}
    behind = {"facecolor": PAPER, "lw": 0, "pad": 1.5}
    column[1].text(0.98, 0.05, words, transform=column[1].transAxes, ha="right", bbox=behind, **look)


def _key(arms: Sequence[Sequence[History]]) -> list[Line2D]:
    key, runs = [], [run for arm in arms for run in arm]
    for split, (colour, dash) in SPLITS.items():
        n = sorted({run.n[split] for run in runs if split in run.n})
        words = f"{split}, n = {_sizes(n)} slices" if n else split
        key.append(Line2D([], [], color=colour, ls=dash, lw=1.3 * WIDTH, label=words))
    dot: dict[str, Any] = {"color": VALIDATION, "marker": "o", "ls": "none", "ms": 5.5}
    key.append(Line2D([], [], **dot, label="epoch of the best validation balanced accuracy"))
    if max(map(len, arms)) > 1:
        counts = " or ".join(map(str, sorted({len(arm) for arm in arms})))
        key.append(Line2D([], [], color=MUTED, lw=0.6, label=f"thin: {counts} runs; strong: their mean"))
    return key


def _sizes(ascending: Sequence[int]) -> str:
    """One or two numbers as they are; of more, as of many folds, the smallest and the largest: the line has an end."""
    shown = [f"{number:,}" for number in ascending]
    return " or ".join(shown) if len(shown) < 3 else f"{shown[0]} to {shown[-1]}"
