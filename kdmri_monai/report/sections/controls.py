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
DATA = "low"
"""How names of controls of the slices themselves begin, which are the same for every network."""

SAYS = {
    ("erased", "background"): "answers above chance without the tumour",
    ("source_probe",): "has features that tell where a glioma comes from",
}
"""How names of controls of a network begin, and what it means when they are caught."""

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


def control_rows(member: Member, run: int = 0) -> list[Mapping[str, Any]]:
    """Controls of one run of an arm, the first by default; none where it was not examined."""
    evidence = member.evidence[run]
    return [row for name in SECTIONS for row in evidence.get(name, {}).get("rows", [])]


def over_runs(member: Member, name: str) -> list[Mapping[str, Any]]:
    """One control in every run of an arm that has it."""
    runs = (control_rows(member, run) for run in range(len(member.evidence)))
    return [row for rows in runs for row in rows if row["name"] == name]


def _table(shown: list[tuple[Member, list[Mapping[str, Any]]]]) -> Table:
    columns = (
        Column("Arm"),
        Column("Control"),
        Column("Value, %", True),
        Column("Chance, %", True, "and its 95 % range"),
        Column("Of what"),
        Column("Verdict"),
        Column("Every run, %", True),
        Column("n", True, "slices"),
        Column("What it says"),
    )
    rows = tuple(_row(member, row) for member, found in shown for row in found)
    caption = "First run of each arm; 95 % intervals over patient families, chance by permuting labels over families."
    return Table("controls", "All controls", caption, columns, rows)


def _row(member: Member, row: Mapping[str, Any]) -> tuple[Cell, ...]:
    chance = {"value": row["chance"], "low": row["null_low"], "high": row["null_high"]}
    runs = over_runs(member, row["name"])
    return (
        Cell(member.name, mark="strong"),
        Cell(row["title"]),
        percent_cell(row),
        percent_cell(chance, mark="muted"),
        Cell(row["metric"].replace("_", " ")),
        Cell(_verdict(runs, row["caught"]), mark="bad" if any(one["caught"] for one in runs) else ""),
        Cell(_values(runs), sort=bounded(row)[0]),
        Cell(f"{row['n']:,}", sort=row["n"]),
        Cell(row["explains"]),
    )


def _verdict(runs: list[Mapping[str, Any]], first: bool | None) -> str:
    caught = sum(bool(one["caught"]) for one in runs)
    return f"{VERDICTS[True]} in {caught} of {len(runs)} runs" if caught and len(runs) > 1 else VERDICTS[first]


def _values(runs: list[Mapping[str, Any]]) -> str:
    return ", ".join(f"{100 * bounded(one)[0]:.0f}" for one in runs if one["value"] is not None)


def _warnings(shown: list[tuple[Member, list[Mapping[str, Any]]]]) -> list[Text]:
    found = []
    for member, rows in shown:
        for begins, says in SAYS.items():
            caught = [words for row in rows if row["name"].startswith(begins) and (words := _caught(member, row))]
            if caught:
                found.append(Text(f"{member.name} {says}: {'; '.join(caught)}.", "warning"))
    of_data = [f"{_lower(row['title'])} {_values([row])} %" for row in shown[0][1]
               if row["caught"] and row["group"] == "features" and row["name"].startswith(DATA)]  # fmt: skip
    if of_data:
        found.append(
            Text(f"In these slices the class can be told without any network: {'; '.join(of_data)}.", "warning")
        )
    return found


def _caught(member: Member, row: Mapping[str, Any]) -> str:
    """``tumour erased, black 59, 67, 67 % (2 of 3 runs)``; empty where no run was caught."""
    runs = over_runs(member, row["name"])
    caught = sum(bool(one["caught"]) for one in runs)
    if not caught:
        return ""
    words = f"{_lower(row['title'])} {_values(runs)} %"
    return words if len(runs) == 1 else f"{words} ({caught} of {len(runs)} runs)"


def _lower(title: str) -> str:
    return title[0].lower() + title[1:]
