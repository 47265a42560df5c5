"""Curves of runs side by side: cross-entropy and accuracy, and every loss term, over the epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kdmri_monai.report.axes import INK, SMALL, TRAINING, VALIDATION, save, tidy
from kdmri_monai.report.history import Column, History, read_history

COLOURS = {"training": TRAINING, "validation": VALIDATION}


def draw_curves(runs: Mapping[str, Path], out: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Writes ``curves`` and ``loss_terms`` from what the runs wrote after every epoch.

    Args:
        runs: Run folders by the name that stands above their column.
        out: Folder of the figures, made when it is missing.
        formats: Any of ``png`` and ``pdf``.

    Returns:
        The files.

    Raises:
        ValueError: No runs, an unknown format, a line of ``metrics.jsonl`` that cannot be read.
        OSError: A file cannot be read or written.
    """
    if not runs:
        raise ValueError("no runs to draw")
    histories = {name: read_history(folder) for name, folder in runs.items()}
    figures = {"curves": learning_curves(histories), "loss_terms": loss_terms(histories)}
    return [path for name, figure in figures.items() for path in save(figure, Path(out) / name, formats)]


def learning_curves(histories: Mapping[str, History]) -> Figure:
    """One column a run: cross-entropy above, accuracy below, scales shared between the runs.

    Training numbers are means over augmented batches while the weights move, validation numbers belong to the weights
    after the epoch, so the two are not measured alike. The mark is the epoch of the best validation balanced accuracy.

    Args:
        histories: Runs by name.
    """
    figure = Figure(figsize=(1.2 + 3.2 * len(histories), 5.0), layout="constrained", dpi=200)
    grid = figure.subplots(2, len(histories), sharex="col", sharey="row", squeeze=False)
    for column, (name, history) in enumerate(histories.items()):
        loss, share = grid[:, column]
        for split, colour in COLOURS.items():
            _line(loss, history.epochs, history.column(split, "task", "loss"), colour)
            accuracy = 100 * history.column(split, "accuracy")
            _line(share, history.epochs, accuracy, colour, label=_with_n(split, history))
        balanced = 100 * history.column("validation", "balanced_accuracy")
        _line(share, history.epochs, balanced, VALIDATION, "--", label="validation, balanced")
        _mark_best(loss, share, history)
        loss.set_title(name, fontsize=10, loc="left", color=INK)
        share.set_xlabel("Epoch", fontsize=SMALL + 1)
        share.legend(fontsize=SMALL - 0.5, frameon=False, loc="lower right")
        tidy(loss)
        tidy(share)
    grid[0, 0].set_ylim(bottom=0)
    grid[0, 0].set_ylabel("Cross-entropy (nats)", fontsize=SMALL + 1)
    grid[1, 0].set_ylabel("Accuracy (% of slices)", fontsize=SMALL + 1)
    return figure


def loss_terms(histories: Mapping[str, History]) -> Figure:
    """One row a loss term, unweighted as the run wrote it, one column a run; a row shares its scale.

    Args:
        histories: Runs by name.
    """
    terms = list(dict.fromkeys(term for history in histories.values() for term in history.terms()))
    terms.sort(key=lambda term: term != "loss")
    size = (1.2 + 3.2 * len(histories), 0.7 + 1.5 * max(1, len(terms)))
    figure = Figure(figsize=size, layout="constrained", dpi=200)
    grid = figure.subplots(max(1, len(terms)), len(histories), sharex="col", sharey="row", squeeze=False)
    for column, (name, history) in enumerate(histories.items()):
        grid[0, column].set_title(name, fontsize=10, loc="left", color=INK)
        grid[-1, column].set_xlabel("Epoch", fontsize=SMALL + 1)
        for row, term in enumerate(terms):
            _draw_term(grid[row, column], history, term)
    for row, term in enumerate(terms):
        grid[row, 0].set_ylabel("total, weighted" if term == "loss" else term, fontsize=SMALL + 1)
    return figure


def _draw_term(axes: Axes, history: History, term: str) -> None:
    tidy(axes)
    if np.isnan(history.column("training", term)).all():
        axes.text(0.5, 0.5, "not used", transform=axes.transAxes, ha="center", fontsize=SMALL, color=INK)
        return
    for split, colour in COLOURS.items():
        values = history.column(split, term)
        if split == "training" or term != "loss":  # the validation loss is the cross-entropy alone
            _line(axes, history.epochs, values, colour, label=split)
    axes.legend(fontsize=SMALL - 0.5, frameon=False, loc="upper right")


def _line(axes: Axes, epochs: NDArray[np.int64], values: Column, colour: str, style: str = "-", label: str | None = None) -> None:
    """Joins what is there; a handful of points get dots."""
    there = np.isfinite(values)
    if there.any():
        marker = "o" if there.sum() < 12 else None
        axes.plot(epochs[there], values[there], style, color=colour, lw=1.3, marker=marker, ms=3, label=label)


def _mark_best(loss: Axes, share: Axes, history: History) -> None:
    best = history.best()
    if best is None:
        return
    epoch, score = int(history.epochs[best]), 100 * history.column("validation", "balanced_accuracy")[best]
    for axes in (loss, share):
        axes.axvline(epoch, color=INK, lw=0.8, ls=":")
    share.plot(epoch, score, "o", color=VALIDATION, mec="white", ms=6)
    loss.text(
        epoch,
        1.0,
        f" epoch {epoch}: best balanced {score:.1f} %",
        transform=loss.get_xaxis_transform(),
        va="top",
        ha="left",
        fontsize=SMALL,
        color=INK,
    )


def _with_n(split: str, history: History) -> str:
    return f"{split}, n = {history.n[split]:,}" if split in history.n else split
