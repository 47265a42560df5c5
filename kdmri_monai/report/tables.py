"""Comparison of runs as a table for the terminal."""

import math

from rich.markup import escape
from rich.table import Table

from kdmri_monai.evaluation.comparison import Comparison
from kdmri_monai.evaluation.intervals import Interval

LEVELS = {"slices": "by slice", "patients": "by patient"}


def comparison_table(comparison: Comparison) -> Table:
    """One row a run, by slice and then by patient: percent with intervals, and points to the reference run.

    Args:
        comparison: Runs over the same slices.

    Returns:
        A table for ``rich.console.Console.print``.
    """
    first = comparison.rows[0].slices.accuracy
    table = Table(
        title=f"{comparison.split.capitalize()} split, % with {100 * first.level:g} % interval",
        caption=f"Interval: bootstrap over {first.groups} patient families. Difference: balanced accuracy minus that "
        f"of {comparison.reference}, in points, paired by family.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("run")
    for heading in ("n", "accuracy", "balanced accuracy", "macro F1", "difference"):
        table.add_column(heading, justify="right")
    for level, words in LEVELS.items():
        table.add_row(f"[bold]{words}")
        for row in comparison.rows:
            values = getattr(row, level)
            shares = (percent(value) for value in (values.accuracy, values.balanced_accuracy, values.macro_f1))
            difference = points(values.difference) if values.difference else "reference"
            table.add_row(f"  {escape(row.name)}", f"{values.n:,}", *shares, difference)
        table.add_section()
    return table


def percent(interval: Interval) -> str:
    """``91.2 (88.1-94.0)`` for a share and its bounds; a missing number is an en dash."""
    return f"{_number(interval.estimate)} ({_number(interval.low)}-{_number(interval.high)})"


def points(interval: Interval) -> str:
    """``+2.1 (-0.4 to +4.6)`` for a difference of shares, in points."""
    low, high = _number(interval.low, "+"), _number(interval.high, "+")
    return f"{_number(interval.estimate, '+')} ({low}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{high})"


def _number(share: float, sign: str = "") -> str:
    return "\N{EN DASH}" if math.isnan(share) else f"{100 * share:{sign}.1f}"
