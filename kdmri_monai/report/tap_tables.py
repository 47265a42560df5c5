"""Places to tap, and how alike two networks are there, as tables for the terminal."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from kdmri_monai.networks.tap_survey import TapRow

PAIRED = "*"
"""Mark of a proposed pair, beside bold type, which a file does not keep."""

WIDTH = 80
"""Columns of a terminal, up to which a table is widened for its legend."""


def survey_table(rows: Sequence[TapRow]) -> Table:
    """One row a module that can be tapped: name, class, shape, layout, stride and parameters.

    Args:
        rows: What ``survey`` found.

    Returns:
        A table for ``rich.console.Console.print``; long names are folded, never cut.
    """
    table = Table(
        caption="shape without the batch, as the module gives it; stride: pixels of the image per position; "
        "channel_last: give the tap this layout; tokens +1: prefix_tokens=1",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("module", overflow="fold", ratio=3)
    table.add_column("class", overflow="fold", ratio=2)
    for heading in ("shape", "layout", "stride"):
        table.add_column(heading, no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    for row in rows:
        cells = _times(row.shape), _layout(row), _stride(row), f"{row.parameters:,}"
        table.add_row(escape(row.name), escape(row.kind), *cells)
    return table


def cka_table(
    matrix: NDArray[np.float64],
    student_names: Sequence[str],
    teacher_names: Sequence[str],
    pairing: Sequence[tuple[int, int]],
) -> Table:
    """CKA of every student tap, down, with every teacher tap, across; proposed pairs are bold and have a star.

    Args:
        matrix: Shape ``(S, T)``; NaN is shown as a dash.
        student_names: S names.
        teacher_names: T names; the columns are numbered and the names stand below, since four do not fit side by side.
        pairing: Index of the student tap and of the teacher tap.

    Raises:
        ValueError: The matrix is not of the shape of the names.
    """
    if matrix.shape != (len(student_names), len(teacher_names)):
        raise ValueError(
            f"a matrix {_times(matrix.shape)} for {len(student_names)} student and {len(teacher_names)} teacher taps"
        )
    legend = _legend(student_names, teacher_names, pairing)
    table = Table(
        title="CKA of student taps (rows) and teacher taps (columns)",
        caption=escape("\n".join(legend)),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        min_width=min(WIDTH, max(map(len, legend))),
    )
    table.add_column("", overflow="fold")
    for number in range(1, len(teacher_names) + 1):
        table.add_column(str(number), justify="right", no_wrap=True)
    paired = set(pairing)
    for i, name in enumerate(student_names):
        cells = (_cell(float(matrix[i, j]), (i, j) in paired) for j in range(len(teacher_names)))
        table.add_row(escape(name), *cells)
    return table


def _legend(students: Sequence[str], teachers: Sequence[str], pairing: Sequence[tuple[int, int]]) -> list[str]:
    columns = [f"{number} {name}" for number, name in enumerate(teachers, start=1)]
    return [
        "teacher taps:",
        *columns,
        "proposed pairs:",
        *(f"{PAIRED} {students[i]}, {teachers[j]}" for i, j in pairing),
    ]


def _cell(value: float, paired: bool) -> str:
    if np.isnan(value):
        return "\N{EN DASH} "
    return f"[bold]{value:.2f}{PAIRED}[/]" if paired else f"{value:.2f} "


def _layout(row: TapRow) -> str:
    if row.layout == "channel_first":
        return "maps"
    return f"{row.layout} +{row.prefix_tokens}" if row.prefix_tokens else row.layout


def _stride(row: TapRow) -> str:
    if row.stride is None:
        return ""
    return _times(row.stride[:1] if len(set(row.stride)) == 1 else row.stride)


def _times(sizes: Sequence[float]) -> str:
    return " x ".join(f"{size:.3g}" if isinstance(size, float) else str(size) for size in sizes)
