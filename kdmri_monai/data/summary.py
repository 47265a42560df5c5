"""The summary of a data set: as numbers for the datalist, as tables for people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kdmri_monai.data.findings import Finding, Remark, group_findings
from kdmri_monai.data.records import SliceRecord
from kdmri_monai.data.taxonomy import CLASSES, PLANES, SPLITS

ALL = "all"


def count_slices(
    records: Sequence[SliceRecord],
    split: Mapping[str, str],
    families: Mapping[str, str],
    skipped: Sequence[Finding],
    remarks: Sequence[Remark],
    classes: Sequence[str] = CLASSES,
) -> dict[str, Any]:
    """The numbers of a data set, ready for JSON.

    Args:
        records: Slices of the data set.
        split: Split of every slice id.
        families: Family of every patient.
        skipped: What was left out.
        remarks: What is said of data that are kept.
        classes: Names of the K classes.

    Returns:
        ``slices``, ``patients``, ``families``, ``with_mask``; ``table`` by split, the sum under ``all``, and class:
        slices, patients and families of each; ``sizes`` (``rows x columns``), ``planes`` and ``patient_sources``:
        slices of each; ``skipped`` and ``remarks``: how many, and ``skipped_groups``, ``remark_groups`` as
        ``group_findings`` gives them.
    """
    return {
        **_count(records, families),
        "with_mask": sum(record.has_mask for record in records),
        "table": _by_split_and_class(records, split, families, classes),
        "sizes": _tally(f"{rows} x {columns}" for rows, columns in (record.size for record in records)),
        "planes": {
            plane: count
            for plane, count in ((p, sum((r.plane or "unknown") == p for r in records)) for p in (*PLANES, "unknown"))
            if count
        },
        "patient_sources": _tally(record.patient_source for record in records),
        "skipped": len(skipped),
        "skipped_groups": group_findings(skipped),
        "remarks": len(remarks),
        "remark_groups": group_findings(remarks),
    }


def render_summary(counts: Mapping[str, Any], notes: Sequence[str] = ()) -> RenderableType:
    """The summary for a terminal.

    Names from the source are shown as they are; nothing in them is taken for markup.

    Args:
        counts: From ``count_slices``; ``counts`` of a datalist.
        notes: Sentences on the split; ``notes`` of a datalist.
    """
    parts: list[RenderableType] = [_class_table(counts), _facts(counts)]
    if counts["skipped_groups"]:
        parts.append(_findings_table("Left out", counts["skipped_groups"], "bold red"))
    if counts["remark_groups"]:
        parts.append(_findings_table("To know", counts["remark_groups"], "bold yellow"))
    parts += [Text(f"Note: {note}", style="yellow") for note in notes]
    return Group(*parts)


def _count(records: Sequence[SliceRecord], families: Mapping[str, str]) -> dict[str, int]:
    patients = {record.patient for record in records}
    return {
        "slices": len(records),
        "patients": len(patients),
        "families": len({families[patient] for patient in patients}),
    }


def _by_split_and_class(
    records: Sequence[SliceRecord], split: Mapping[str, str], families: Mapping[str, str], classes: Sequence[str]
) -> dict[str, dict[str, dict[str, int]]]:
    table = {}
    for name in (*SPLITS, ALL):
        part = [record for record in records if name in (ALL, split[record.id])]
        table[name] = {
            group: _count([r for r in part if group in (ALL, classes[r.label])], families) for group in (*classes, ALL)
        }
    return table


def _tally(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _class_table(counts: Mapping[str, Any]) -> Table:
    table = Table(title="slices / patients / families", title_justify="left")
    table.add_column("")
    for name in (*SPLITS, ALL):
        table.add_column(name, justify="right")
    for group in counts["table"][ALL]:
        cells = (counts["table"][name][group] for name in (*SPLITS, ALL))
        texts = (f"{cell['slices']:,} / {cell['patients']:,} / {cell['families']:,}" for cell in cells)
        table.add_row(group, *texts, style="bold" if group == ALL else None)
    return table


def _facts(counts: Mapping[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_row("with tumour mask", f"{counts['with_mask']:,} of {counts['slices']:,} slices")
    for title, key in (("sizes", "sizes"), ("planes", "planes"), ("patient ids from", "patient_sources")):
        grid.add_row(title, Text(", ".join(f"{name} ({count:,})" for name, count in counts[key].items())))
    grid.add_row("left out", f"{counts['skipped']:,}")
    return grid


def _findings_table(title: str, groups: Sequence[Mapping[str, Any]], style: str) -> Table:
    table = Table(title=title, title_justify="left", title_style=style)
    table.add_column("count", justify="right")
    for column in ("field", "reason", "first of them"):
        table.add_column(column, overflow="fold")
    for group in groups:
        more = ", ..." if group["count"] > len(group["first"]) else ""
        names = Text(", ".join(group["first"]) + more)
        table.add_row(f"{group['count']:,}", Text(group["field"]), Text(group["reason"]), names)
    return table
