"""Curves of runs side by side: cross-entropy and accuracy, and every loss term, over the epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from kdmri_monai.evaluation.history import Column, History, read_history
from kdmri_monai.report.axes import INK, LABEL, SMALL, TRAINING, VALIDATION, WIDTH, save, tidy

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
    figure = Figure(figsize=(0.8 + 3.2 * len(histories), 5.4), layout="constrained", dpi=200)
    grid = figure.subplots(2, len(histories), sharex="col", sharey="row", squeeze=False)
    for (loss, share), (name, history) in zip(grid.T, histories.items(), strict=True):
        for split, colour in COLOURS.items():
            _line(loss, history.epochs, history.column(split, "task", "loss"), colour)
            accuracy = 100 * history.column(split, "accuracy")
            _line(share, history.epochs, accuracy, colour, label=_with_n(split, history))
        balanced = 100 * history.column("validation", "balanced_accuracy")
        _line(share, history.epochs, balanced, VALIDATION, "--", label="validation, balanced")
        loss.set_title(f"{name}\n", fontsize=10, loc="left", color=INK)
        _mark_best(loss, share, history)
        share.set_xlabel("Epoch", fontsize=LABEL)
        share.legend(fontsize=SMALL, frameon=False, loc="upper left", bbox_to_anchor=(-0.03, -0.2), borderpad=0)
        tidy(loss)
        tidy(share)
    grid[0, 0].set_ylim(bottom=0)
    grid[0, 0].set_ylabel("Cross-entropy (nats)", fontsize=LABEL)
    grid[1, 0].set_ylabel("Accuracy (% of slices)", fontsize=LABEL)
    figure.align_ylabels()
    return figure


def loss_terms(histories: Mapping[str, History]) -> Figure:
    """One row a loss term, unweighted as the run wrote it, one column a run; a row shares its scale.

    Args:
        histories: Runs by name.

    Raises:
        ValueError: No run wrote a loss term.
    """
    terms = list(dict.fromkeys(term for history in histories.values() for term in history.terms()))
    terms.sort(key=lambda term: term != "loss")
    if not terms:
        raise ValueError(f"none of the runs {', '.join(histories)} wrote a loss term of the training")
    size = (0.8 + 3.2 * len(histories), 1.0 + 1.5 * len(terms))
    figure = Figure(figsize=size, layout="constrained", dpi=200)
    grid = figure.subplots(len(terms), len(histories), sharex="col", sharey="row", squeeze=False)
    for column, (name, history) in enumerate(histories.items()):
        grid[0, column].set_title(name, fontsize=10, loc="left", color=INK)
        grid[-1, column].set_xlabel("Epoch", fontsize=LABEL)
        for row, term in enumerate(terms):
            _draw_term(grid[row, column], history, term)
    for row, term in enumerate(terms):
        grid[row, 0].set_ylabel("total, weighted" if term == "loss" else term, fontsize=LABEL)
        lowest = np.nanmin([np.nanmin(history.column("training", term), initial=0.0) for history in histories.values()])
        grid[row, 0].set_ylim(bottom=None if lowest < 0 else 0)
    key = [Line2D([], [], color=colour, lw=WIDTH, label=split) for split, colour in COLOURS.items()]
    figure.legend(handles=key, loc="outside lower left", ncols=2, fontsize=SMALL, frameon=False)
    figure.align_ylabels()
    return figure


def _draw_term(axes: Axes, history: History, term: str) -> None:
    tidy(axes)
    if np.isnan(history.column("training", term)).all():
        axes.grid(visible=False)
        axes.text(0.5, 0.5, "not used", transform=axes.transAxes, ha="center", fontsize=SMALL, color=INK)
        return
    _line(axes, history.epochs, history.column("training", term), TRAINING)
    if term != "loss":  # what a run writes as its validation loss is the cross-entropy alone
        names = ("task", "loss") if term == "task" else (term,)
        _line(axes, history.epochs, history.column("validation", *names), VALIDATION)


def _line(
    axes: Axes, epochs: NDArray[np.int64], values: Column, colour: str, style: str = "-", label: str | None = None
) -> None:
    """Joins what is there; a handful of points get dots."""
    there = np.isfinite(values)
    if there.any():
        marker = "o" if there.sum() < 12 else None
        axes.plot(epochs[there], values[there], style, color=colour, lw=WIDTH, marker=marker, ms=3, label=label)


def _mark_best(loss: Axes, share: Axes, history: History) -> None:
    best = history.best()
    if best is None:
        return
    epoch, score = int(history.epochs[best]), 100 * history.column("validation", "balanced_accuracy")[best]
    for axes in (loss, share):
        axes.axvline(epoch, color=INK, lw=0.8, ls=":")
    share.plot(epoch, score, "o", color=VALIDATION, mec="white", ms=6)
    words = f"best epoch {epoch}: validation balanced accuracy {score:.1f} %"
    loss.text(0, 1.02, words, transform=loss.transAxes, va="bottom", fontsize=SMALL, color=INK)


def _with_n(split: str, history: History) -> str:
    return f"{split}, n = {history.n[split]:,}" if split in history.n else split
