"""Figures of a study: learning curves of every arm, and the differences to the reference."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdmri_monai.evaluation.comparison_rows import METRIC
from kdmri_monai.evaluation.history import Column, History
from kdmri_monai.report.axes import save
from kdmri_monai.report.figures_curves import arm_curves
from kdmri_monai.report.figures_forest import ForestRow, ForestScale, forest_figure
from kdmri_monai.report.number_words import Bounded

LEVELS = {"slices": "By slice", "patients": "By patient"}


def draw_study_curves(curves: Mapping[str, Sequence[Mapping[str, Any]]], out: Path) -> list[Path]:
    """Writes ``curves_ARM.png``: loss and accuracy, training and validation, mean over the runs of an arm.

    Args:
        curves: ``arms`` of ``curves.json``; an arm without numbers has no figure.
        out: Folder of the figures.

    Returns:
        The files, by arm.

    Raises:
        OSError: A file cannot be written.
    """
    histories = {arm: [_history(run) for run in runs] for arm, runs in curves.items() if runs}
    if not histories:
        return []
    return [file for arm, figure in arm_curves(histories).items() for file in save(figure, _file(out, arm), ("png",))]


def draw_differences(comparison: Mapping[str, Any], out: Path) -> list[Path]:
    """Writes ``differences.png``: balanced accuracy of every row minus that of the reference, paired.

    Args:
        comparison: Content of ``comparison.json``.
        out: Folder of the figure.

    Returns:
        The file; none where there is nothing beside the reference.

    Raises:
        OSError: It cannot be written.
    """
    rows = [
        ForestRow(row["name"], bounded(row[level]["differences"][METRIC]), _heading(words, row[level]))
        for level, words in LEVELS.items()
        for row in comparison["rows"]
        if row[level]["differences"] is not None
    ]
    if not rows:
        return []
    title = f"Balanced accuracy, points above {comparison['reference']}"
    scale = ForestScale(title, signed=True, reference=0.0, level=comparison["interval"]["level"])
    return save(forest_figure(rows, scale), out / "differences", ("png",))


def bounded(number: Mapping[str, float | None] | None) -> Bounded:
    """``value``, ``low`` and ``high`` of a number of a JSON file; NaN where it is not defined."""
    if number is None:
        return (math.nan,) * 3
    value, low, high = (_or_nan(number[part]) for part in ("value", "low", "high"))
    return value, low, high


def _file(out: Path, arm: str) -> Path:
    return out / f"curves_{arm}"


def _heading(words: str, level: Mapping[str, Any]) -> str:
    return f"{words}, n = {level['n']:,}, {level['families']} families"


def _history(run: Mapping[str, Any]) -> History:
    columns: dict[str, Column] = {
        name: np.array([_or_nan(value) for value in values]) for name, values in run["columns"].items()
    }
    return History(np.array(run["epochs"], dtype=np.int64), columns, dict(run["n"]))


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)
