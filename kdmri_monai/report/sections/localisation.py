"""Where networks look, minus chance, and whether an untrained copy would look there too."""

from collections.abc import Mapping
from typing import Any

from kdmri_monai.report.bounds import percent_cell, plain_cell
from kdmri_monai.report.material import Material, Member
from kdmri_monai.report.page_model import Cell, Column, Section, Table, Text

INTRO = (
    "Energy: share of the heat inside the tumour. Pointing: the hottest place lies in the tumour or within the "
    "tolerance. Overlap: of the heat above the share of its maximum that was best on validation slices. Each beside "
    "what chance gives. A heat map that an untrained copy of the network gives too says nothing of what was learned."
)


def section(material: Material) -> Section:
    """The table of all arms and methods."""
    rows = [
        _row(member, found, one)
        for member in material.members
        for found in member.sections("localisation")[:1]
        for one in found.get("methods", [])
    ]
    notes = [
        Text(f"{member.name}: no heat map, {found['skipped']}.", "note")
        for member in material.members
        for found in member.sections("localisation")[:1]
        if found.get("skipped")
    ]
    blocks: list[Any] = [_table(rows)] if rows else []
    if not rows and not notes:
        notes = [Text("Not examined yet: kdmri examine RUN... measures it.", "note")]
    return Section("localisation", "Where the networks look", INTRO, (*blocks, *notes, *_predicted(material)))


def _table(rows: list[tuple[Cell, ...]]) -> Table:
    columns = (
        Column("Arm"),
        Column("Method and layer"),
        Column("Energy, %", True),
        Column("Chance, %", True, "area of the tumour"),
        Column("Energy over chance", True),
        Column("Pointing, %", True),
        Column("Minus chance", True, "points"),
        Column("Overlap (IoU), %", True),
        Column("Minus chance", True, "points"),
        Column("Likeness to untrained copies", True, "rank correlation of the heat"),
        Column("Untrained: energy over chance", True),
        Column("n", True, "slices"),
    )
    caption = "First run of each arm, slices with a mask. 95 % intervals over patient families."
    return Table("localisation", "Heat and tumour", caption, columns, tuple(rows))


def _row(member: Member, found: Mapping[str, Any], one: Mapping[str, Any]) -> tuple[Cell, ...]:
    untrained = one.get("randomised") or {}
    return (
        Cell(member.name, mark="strong"),
        Cell(f"{one['method'].replace('_', ' ')}, {one['layer']}"),
        percent_cell(one["energy"]),
        percent_cell(one["area"], mark="muted"),
        plain_cell(one["energy_over_area"]),
        percent_cell(one["pointing_game"]),
        percent_cell(one["pointing_minus_chance"], signed=True),
        percent_cell(one["iou"]),
        percent_cell(one["iou_minus_chance"], signed=True),
        plain_cell(untrained.get("similarity")),
        plain_cell(untrained.get("energy_over_area")),
        Cell(f"{found['slices']:,}", sort=found["slices"]),
    )


def _predicted(material: Material) -> list[Table]:
    rows = tuple(
        (
            Cell(member.name, mark="strong"),
            percent_cell(found["dice"]),
            percent_cell(found["peak_inside"]),
            percent_cell(found["area"], mark="muted"),
        )
        for member in material.members
        for found in member.sections("predicted_mask")[:1]
        if "skipped" not in found
    )
    if not rows:
        return []
    columns = (
        Column("Arm"),
        Column("Dice, %", True),
        Column("Peak inside, %", True),
        Column("Chance of the peak, %", True),
    )
    caption = "Students with a geometry head, first run: the tumour that they predict from the image alone."
    return [Table("predicted_mask", "Predicted tumour", caption, columns, rows)]
