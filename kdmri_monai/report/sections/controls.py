"""What can be told without the tumour: shortcut controls, each beside its chance."""

from collections.abc import Mapping
from typing import Any

from kdmri_monai.report.bounds import bounded, percent_cell
from kdmri_monai.report.figure_blocks import FigureBlocks
from kdmri_monai.report.figures_forest import ForestRow, ForestScale, forest_figure
from kdmri_monai.report.material import Material, Member
from kdmri_monai.report.page_model import Cell, Column, Section, Table, Text

SECTIONS = ("network_controls", "source_probe", "data_controls")
GROUPS = {"network": "What the network says", "features": "What simple features say", "labels": "Labels and splits"}
VERDICTS = {True: "above chance", False: "not above chance", None: ""}
INTRO = (
    "A network that needs the tumour falls to chance when the tumour is gone. Grey: the range that chance gives when "
    "the labels are permuted over patient families. A warning: the class can be told from what is no tumour."
)


def section(material: Material, figures: FigureBlocks) -> Section:
    """A forest of the student's controls and the table of all arms."""
    shown = [(one, rows) for one in material.members if (rows := control_rows(one))]
    if not shown:
        words = "Not examined yet: kdmri examine RUN... measures the controls."
        return Section("controls", "Shortcut controls", INTRO, (Text(words, "note"),))
    first = next((pair for pair in shown if pair[0] is material.student), shown[0])
    forest = [
        ForestRow(
            row["title"],
            bounded(row),
            GROUPS.get(row["group"], row["group"]),
            (row["chance"], *bounded({"low": row["null_low"], "high": row["null_high"], "value": None})[1:]),
            warns=row["caught"] is True,
        )
        for row in sorted(first[1], key=lambda row: list(GROUPS).index(row["group"]))
        if row["metric"] == "balanced_accuracy"
    ]
    scale = ForestScale("Balanced accuracy (%)", warning="above chance without the tumour")
    caption = f"{first[0].name}, first run. 95 % intervals over patient families; grey: chance."
    figure = figures("controls", forest_figure(forest, scale), "Shortcut controls", caption)
    return Section("controls", "Shortcut controls", INTRO, (figure, _table(shown), *_warnings(shown)))


def control_rows(member: Member) -> list[Mapping[str, Any]]:
    """Controls of the first run of an arm."""
    return [row for name in SECTIONS for found in member.sections(name)[:1] for row in found["rows"]]


def _table(shown: list[tuple[Member, list[Mapping[str, Any]]]]) -> Table:
    columns = (
        Column("Arm"),
        Column("Control"),
        Column("Value, %", True),
        Column("Chance, %", True, "and its 95 % range"),
        Column("Of what"),
        Column("Verdict"),
        Column("n", True, "slices"),
        Column("What it says"),
    )
    rows = tuple(_row(member, row) for member, found in shown for row in found)
    caption = "First run of each arm; 95 % intervals over patient families, chance by permuting labels over families."
    return Table("controls", "All controls", caption, columns, rows)


def _row(member: Member, row: Mapping[str, Any]) -> tuple[Cell, ...]:
    chance = {"value": row["chance"], "low": row["null_low"], "high": row["null_high"]}
    caught = row["caught"]
    return (
        Cell(member.name, mark="strong"),
        Cell(row["title"]),
        percent_cell(row),
        percent_cell(chance, mark="muted"),
        Cell(row["metric"].replace("_", " ")),
        Cell(VERDICTS[caught], mark="bad" if caught else ""),
        Cell(f"{row['n']:,}", sort=row["n"]),
        Cell(row["explains"]),
    )


def _warnings(shown: list[tuple[Member, list[Mapping[str, Any]]]]) -> list[Text]:
    found = []
    for member, rows in shown:
        caught = _named([row for row in rows if row["caught"] and row["group"] == "network"])
        if caught:
            found.append(Text(f"{member.name} answers above chance without the tumour: {caught}.", "warning"))
    of_data = _named([row for row in shown[0][1] if row["caught"] and row["group"] != "network"])
    if of_data:
        found.append(Text(f"In these slices the class can be told without any network: {of_data}.", "warning"))
    return found


def _named(rows: list[Mapping[str, Any]]) -> str:
    return "; ".join(f"{row['title'][0].lower()}{row['title'][1:]} {bounded(row)[0] * 100:.0f} %" for row in rows)
