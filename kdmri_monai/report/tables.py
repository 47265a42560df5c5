"""Comparison of runs or arms as tables for the terminal."""

import math
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from kdmri_monai.evaluation.comparison_files import includes_zero
from kdmri_monai.evaluation.comparison_rows import METRIC, Comparison, Level, Row
from kdmri_monai.evaluation.intervals import Interval

LEVELS = {"slices": "by slice", "patients": "by patient"}
"""Attribute of a row, and what stands above its lines."""

SAME = "~"
"""Mark of a difference that may be none."""


def comparison_table(comparison: Comparison) -> Table:
    """One row a run or an arm, by slice and then by patient: percent with intervals, points to the reference, and p.

    Args:
        comparison: Rows over the same slices.

    Returns:
        A table for ``rich.console.Console.print``; 80 columns are enough for it.
    """
    table = _empty(f"{comparison.split.capitalize()} split{_folds(comparison)}, percent", _caption(comparison))
    table.add_column(comparison.by, overflow="fold")
    for heading in ("accuracy", "balanced\naccuracy", "macro F1", "difference", "p\n[dim]Holm[/]"):
        table.add_column(heading, justify="right", no_wrap=True)
    for level, words in LEVELS.items():
        table.add_row(f"[bold]{words}[/]\n{getattr(comparison.rows[0], level).n:,} {level}")
        for row in comparison.rows:
            values: Level = getattr(row, level)
            shares = (percent(value) for value in (values.accuracy, values.balanced_accuracy, values.macro_f1))
            difference = points(values.difference) if values.difference else "reference"
            table.add_row(_named(row, comparison.by), *shares, difference, _tested(values))
        table.add_section()
    return table


def seeds_table(comparison: Comparison) -> Table | None:
    """Balanced accuracy of every seed of every arm, percent, by slice and by patient.

    Args:
        comparison: Arms over the same slices.

    Returns:
        A table; ``None`` where no arm has several seeds.
    """
    if all(len(row.seeds) < 2 for row in comparison.rows):
        return None
    seeds = sorted({seed for row in comparison.rows for seed in row.seeds}, key=lambda seed: (seed is None, seed))
    words = "What another seed changes is seen here; the intervals above are those of other patients."
    table = _empty("Balanced accuracy, percent, slice / patient", words)
    table.add_column(comparison.by, overflow="fold")
    for seed in seeds:
        table.add_column("no seed" if seed is None else f"seed {seed}", justify="right", no_wrap=True)
    for row in comparison.rows:
        pairs = zip(row.seeds, row.slices.by_seed, row.patients.by_seed, strict=True)
        cells = {seed: " / ".join(_number(level[METRIC]) for level in levels) for seed, *levels in pairs}
        table.add_row(escape(row.name), *(cells.get(seed, "") for seed in seeds))
    return table


def percent(interval: Interval) -> str:
    """A share and, on the next line, its bounds: ``91.2`` and ``88.1-94.0``; a missing number is an en dash."""
    return f"{_number(interval.estimate)}\n[dim]{_number(interval.low)}-{_number(interval.high)}[/]"


def points(interval: Interval) -> str:
    """A difference of shares in points and, on the next line, its bounds: ``~ +2.1`` and ``-0.4 to +4.6``.

    The tilde marks a difference whose interval includes zero, or is not defined.
    """
    bounds = f"{_number(interval.low, '+')} to {_number(interval.high, '+')}"
    mark = f"{SAME} " if includes_zero(interval) else ""
    return f"{mark}{_number(interval.estimate, '+')}\n[dim]{bounds}[/]"


def probability(p: float) -> str:
    """A p-value with three digits, ``<0.001`` below them; an en dash for none."""
    if math.isnan(p):
        return "\N{EN DASH}"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _empty(title: str, caption: str) -> Table:
    return Table(
        title=title,
        caption=f"\n{caption}",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )


def _named(row: Row, by: str) -> str:
    lines = [escape(row.name)]
    if by == "arm" and any(seed is not None for seed in row.seeds):
        lines.append(f"[dim]{_listed('seed', row.seeds)}[/]")
    lines += ["[yellow]given the mask[/]"] if row.given else []
    lines += ["[red]leaky[/]"] if row.leaky else ["[yellow]teacher unknown[/]"] if row.unsure else []
    return "\n".join(lines)


def _listed(what: str, numbers: tuple[int | None, ...]) -> str:
    return f"{what}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _folds(comparison: Comparison) -> str:
    folds = comparison.rows[0].folds
    if comparison.by == "run" or None in folds:
        return ""
    of = f" of {comparison.fold_count} folds" if comparison.fold_count else ""
    return f", {_listed('fold', folds)}{of and f' ({len(folds)}{of})'}"


def _tested(level: Level) -> str:
    if level.difference is None:
        return ""
    return f"{probability(level.p)}\n[dim]{probability(level.p_holm)}[/]"


def _number(share: float, sign: str = "") -> str:
    return "\N{EN DASH}" if math.isnan(share) else f"{100 * share:{sign}.1f}"


def _caption(comparison: Comparison) -> str:
    level, resampling = comparison.rows[0].slices, comparison.resampling
    arms, others = comparison.by == "arm", len(comparison.rows) - 1
    sentences = ["Values are means over the seeds."] if arms else []
    sentences.append(
        f"Second lines: {100 * level.accuracy.level:g} % intervals, bootstrap over {level.families} patient families, "
        f"{resampling.replicates:,} replicates{': of other patients, not of other seeds' if arms else ''}."
    )
    if others:
        sentences.append(
            f"Difference: balanced accuracy minus that of {escape(comparison.reference)}, points, paired by family. "
            "p: paired permutation by family; below it adjusted by Holm for "
            + (f"{others} comparisons, for which intervals are not adjusted." if others > 1 else "one comparison.")
        )
    if any(includes_zero(interval) for interval in _differences(comparison)):
        sentences.append(f"Marked {SAME}: the interval includes zero, so no difference is shown.")
    for row in comparison.rows:
        if row.given:
            sentences.append(f"{escape(row.name)} was given {escape(row.given)}: no one has that when a patient comes.")
        if row.leaky:
            sentences.append(f"{escape(row.name)} is leaky, its numbers mean little: {escape(row.leaky)}.")
        if row.unsure:
            sentences.append(
                f"{escape(row.name)} may be too good: {escape(row.unsure)}, so it may know patients of the test."
            )
    if any(interval.low == interval.high for interval in _intervals(comparison)):
        sentences.append("An interval without width: no difference was seen that could be drawn again.")
    return " ".join(sentences)


def _differences(comparison: Comparison) -> Iterator[Interval]:
    for row in comparison.rows:
        yield from (level.difference for level in (row.slices, row.patients) if level.difference is not None)


def _intervals(comparison: Comparison) -> Iterator[Interval]:
    yield from _differences(comparison)
    for row in comparison.rows:
        for level in (row.slices, row.patients):
            yield from (level.accuracy, level.balanced_accuracy, level.macro_f1)
