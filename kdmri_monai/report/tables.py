"""Comparison of runs as a table for the terminal."""

import math
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
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
        A table for ``rich.console.Console.print``; 80 columns are enough for it.
    """
    table = Table(
        title=f"{comparison.split.capitalize()} split, percent",
        caption=_caption(comparison),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("run")
    for heading in ("accuracy", "balanced\naccuracy", "macro F1", "difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    for level, words in LEVELS.items():
        table.add_row(f"[bold]{words}, n = {getattr(comparison.rows[0], level).n:,}")
        for row in comparison.rows:
            values = getattr(row, level)
            shares = (percent(value) for value in (values.accuracy, values.balanced_accuracy, values.macro_f1))
            difference = points(values.difference) if values.difference else "reference"
            table.add_row(f"  {escape(row.name)}", *shares, difference)
        table.add_section()
    return table


def percent(interval: Interval) -> str:
    """A share and, on the next line, its bounds: ``91.2`` and ``88.1-94.0``; a missing number is an en dash."""
    return f"{_number(interval.estimate)}\n[dim]{_number(interval.low)}-{_number(interval.high)}[/]"


def points(interval: Interval) -> str:
    """A difference of shares in points and, on the next line, its bounds: ``+2.1`` and ``-0.4 to +4.6``."""
    bounds = f"{_number(interval.low, '+')} to {_number(interval.high, '+')}"
    return f"{_number(interval.estimate, '+')}\n[dim]{bounds}[/]"


def _number(share: float, sign: str = "") -> str:
    return "\N{EN DASH}" if math.isnan(share) else f"{100 * share:{sign}.1f}"


def _caption(comparison: Comparison) -> str:
    first = comparison.rows[0].slices.accuracy
    words = (
        f"Second lines: {100 * first.level:g} % intervals, bootstrap over {first.groups} patient families. Difference: "
        f"balanced accuracy minus that of {escape(comparison.reference)}, points, paired by family."
    )
    for row in comparison.rows:
        if row.given:
            words += f" {escape(row.name)} was given {escape(row.given)}: no one has that when a patient comes."
    if any(interval.low == interval.high for interval in _intervals(comparison)):
        words += " An interval without width: no error, or no difference, was seen that could be drawn again."
    return words


def _intervals(comparison: Comparison) -> Iterator[Interval]:
    for row in comparison.rows:
        for level in (row.slices, row.patients):
            yield from (level.accuracy, level.balanced_accuracy, level.macro_f1)
            if level.difference:
                yield level.difference
