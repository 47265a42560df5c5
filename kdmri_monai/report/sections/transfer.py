"""Teacher against student: what was taken over, and what it costs."""

from collections.abc import Mapping
from typing import Any

from kdmri_monai.evaluation.transfer import transfer
from kdmri_monai.report.bounds import bounded, percent_cell, plain_cell
from kdmri_monai.report.figure_blocks import FigureBlocks
from kdmri_monai.report.figures_transfer import CostPoint, transfer_figure
from kdmri_monai.report.material import Material, Member
from kdmri_monai.report.page_model import Cell, Column, Section, Table, Text

NOT_EXAMINED = "Not examined yet: kdmri examine RUN... measures it."


def section(material: Material, figures: FigureBlocks) -> Section:
    """Retention, gap closed, agreement; parameters, arithmetic, bytes and latency."""
    intro = "Both networks are asked about the same slices; intervals are over patient families."
    blocks = [*_costs(material, figures), *_taken_over(material), _efficiency(material)]
    return Section("transfer", "Teacher against student", intro, tuple(blocks))


def _costs(material: Material, figures: FigureBlocks) -> list[Any]:
    drawn = []
    measures = (
        ("parameters", "Parameters", lambda one: one.get("parameters")),
        ("latency", "Milliseconds an image, median, one CPU thread", _single_thread),
    )
    for key, words, cost in measures:
        points = [
            CostPoint(member.name, bounded(member.averaged()["balanced_accuracy"]), float(found))
            for member in material.members
            for found in [next((cost(one) for one in member.sections("efficiency")), None)]
            if found
        ]
        if len(points) > 1:
            n = f"Balanced accuracy (%), n = {len(material.table):,} slices"
            caption = "95 % intervals over patient families. The scale of the cost is logarithmic, cheap is left."
            drawn.append(figures(f"cost_{key}", transfer_figure(points, n, words), f"Accuracy and {key}", caption))
    return drawn


def _single_thread(section: Mapping[str, Any]) -> float | None:
    found = [row for row in section["latency"] if row["device"] == "cpu" and row["threads"] == 1 and row["batch"] == 1]
    return found[0]["p50_ms"] if found else None


def _taken_over(material: Material) -> list[Any]:
    teacher, baseline, students = material.teacher, material.baseline, material.in_role("distilled")
    if teacher is None or baseline is None or not students:
        missing = "teacher" if teacher is None else "baseline" if baseline is None else "distilled student"
        return [Text(f"No {missing} is among the runs, so nothing can be said of what was taken over.", "note")]
    found = {one.name: transfer(one.tables, baseline.tables, teacher.tables[0]) for one in students}
    columns = [Column("Measure")] + [Column(name, numeric=True) for name in found]
    rows = [
        _row("Retention, % of the teacher's balanced accuracy", found, lambda one: percent_cell(one["retention"])),
        _row("Gap to the teacher closed, %", found, _gap_closed),
        _row("Agreement with the teacher, %", found, lambda one: percent_cell(one["agreement"]["student"])),
        _row("The baseline's agreement, %", found, lambda one: percent_cell(one["agreement"]["baseline"])),
        _row("Teacher's mistakes that are copied, %", found, lambda one: percent_cell(one["copied_errors"]["student"])),
        _row("The same of the baseline, %", found, lambda one: percent_cell(one["copied_errors"]["baseline"])),
        _row("KL(teacher, student), nats", found, lambda one: plain_cell(one["kl"]["student"])),
        _row("KL(teacher, baseline), nats", found, lambda one: plain_cell(one["kl"]["baseline"])),
        _row("Decided otherwise than the baseline, %", found, lambda one: percent_cell(one["churn"])),
        _row("What another seed alone changes, %", found, lambda one: percent_cell(one["churn_between_baselines"])),
    ]
    first = next(iter(found.values()))
    caption = (
        f"n = {first['slices']:,} slices of {first['families']} families; the teacher errs on "
        f"{first['teacher_errors']}. 95 % intervals over families, all networks weighed alike."
    )
    notes = [
        Text(f"{name}: {one['gap_closed_undefined']}", "note")
        for name, one in found.items()
        if one["gap_closed_undefined"]
    ]
    return [Table("transfer", "What the students took over", caption, tuple(columns), tuple(rows)), *notes]


def _row(title: str, found: Mapping[str, Any], cell: Any) -> tuple[Cell, ...]:
    return (Cell(title), *(cell(one) for one in found.values()))


def _gap_closed(one: Mapping[str, Any]) -> Cell:
    if one["gap_closed_undefined"]:
        return Cell("not defined", mark="muted")
    return percent_cell(one["gap_closed"])


def _efficiency(material: Material) -> Table | Text:
    shown = [(member, found[0]) for member in material.members if (found := member.sections("efficiency"))]
    if not shown:
        return Text(NOT_EXAMINED, "note")
    columns = (
        Column("Arm"),
        Column("Parameters", True),
        Column("Multiply-accumulates", True, "of one image"),
        Column("Bytes", True, "of the state dict"),
        Column("Latency, ms", True, "one image: median (95th percentile)"),
        Column("Device and threads"),
    )
    rows = []
    for member, one in shown:
        for timing in one["latency"]:
            if timing["batch"] == 1:
                rows.append(_cost_row(member, one, timing))
    caption = "One image at a time, after a warm-up, first run of the arm. Other machines differ; compare rows."
    return Table("efficiency", "Size and speed", caption, columns, tuple(rows))


def _cost_row(member: Member, one: Mapping[str, Any], timing: Mapping[str, Any]) -> tuple[Cell, ...]:
    counts = [Cell(f"{one[key]:,}", sort=one[key]) for key in ("parameters", "macs", "state_bytes")]
    words = f"{timing['p50_ms']:.2f} ({timing['p95_ms']:.2f})"
    threads = timing["threads"]
    where = timing["device"] + (f", {threads} thread{'s' if threads != 1 else ''}" if threads else "")
    return (Cell(member.name, mark="strong"), *counts, Cell(words, sort=timing["p50_ms"]), Cell(where))
