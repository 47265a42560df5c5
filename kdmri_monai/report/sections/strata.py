"""Where the network is good and where it is not: plane, size of the tumour, source of the id, slices of the patient."""

from collections.abc import Mapping
from typing import Any

from kdmri_monai.evaluation.strata import find_strata, stratum_rows
from kdmri_monai.report.bounds import bounded, percent_cell
from kdmri_monai.report.figure_blocks import FigureBlocks
from kdmri_monai.report.figures_forest import ForestRow, ForestScale, forest_figure
from kdmri_monai.report.material import Material, Member
from kdmri_monai.report.page_model import Cell, Column, Section, Table, Text

TITLES = {
    "plane": "Plane",
    "tumour_area": "Area of the tumour, thirds of the slices",
    "id_source": "Form of the patient id",
    "slices_of_patient": "Slices of the patient",
}


def section(material: Material, figures: FigureBlocks) -> Section:
    """Accuracy by stratum of the student, and of every arm in the table."""
    if not material.entries:
        words = "The datalist was not found where the runs say; --data names its folder."
        return Section("strata", "Strata", "", (Text(words, "note"),))
    first = material.student or material.baseline or material.members[0]
    found = {one.name: _rows(one, material) for one in material.members}
    rows = [
        ForestRow(f"{row['level']}, n = {row['n']}", bounded(row["accuracy"]), TITLES[row["stratum"]])
        for row in found[first.name]
    ]
    caption = f"{first.name}, first seed. Accuracy, %, with 95 % intervals over the families of the stratum."
    figure = figures("strata", forest_figure(rows, ForestScale("Accuracy (%)")), "Accuracy by stratum", caption)
    absent = find_strata(first.tables[0], list(material.entries.values()), material.areas).absent
    notes = [Text(f"{TITLES[name]}: {reason}.", "note") for name, reason in absent.items()]
    return Section("strata", "Strata", "", (figure, _table(material, found), *notes))


def _rows(member: Member, material: Material) -> list[dict[str, Any]]:
    table = member.tables[0]
    return stratum_rows(table, find_strata(table, list(material.entries.values()), material.areas))


def _table(material: Material, found: Mapping[str, list[dict[str, Any]]]) -> Table:
    classes = material.table.classes
    columns = [Column("Arm"), Column("Stratum"), Column("Level"), Column("n", True, "slices"), Column("Families", True)]
    columns += [Column("Accuracy", True), Column("Balanced accuracy", True, "where all classes are there")]
    columns += [Column(f"Recall, {name}", True) for name in classes]
    rows = []
    for name, levels in found.items():
        for row in levels:
            counts = [Cell(f"{row[key]}", sort=row[key]) for key in ("n", "families")]
            numbers = [percent_cell(row[key]) for key in ("accuracy", "balanced_accuracy")]
            recalls = [_recall(row["recall"].get(kind)) for kind in classes]
            stratum = TITLES[row["stratum"]].partition(",")[0]
            rows.append((Cell(name, mark="strong"), Cell(stratum), Cell(row["level"]), *counts, *numbers, *recalls))
    caption = "Per cent, by slice, first seed of each arm; in brackets 95 % intervals over the families of the level."
    return Table("strata", "All strata", caption, tuple(columns), tuple(rows))


def _recall(recall: Mapping[str, Any] | None) -> Cell:
    return Cell("none", sort=None, mark="muted") if recall is None else percent_cell(recall)
