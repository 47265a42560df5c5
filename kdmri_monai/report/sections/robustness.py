"""What noise, blur, bias, motion and the like take away."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kdmri_monai.report.bounds import bounded, percent_cell
from kdmri_monai.report.figure_blocks import FigureBlocks
from kdmri_monai.report.figures_robustness import CorruptionPanel, Severities, robustness_figure
from kdmri_monai.report.material import Material
from kdmri_monai.report.page_model import Cell, Column, Section, Table, Text

INTRO = (
    "Eight corruptions at five severities, the same for every network and slice by slice. Relative degradation: what "
    "is lost of the balanced accuracy above chance, the mean over the severities."
)


def section(material: Material, figures: FigureBlocks) -> Section:
    """Curves of teacher, baseline and student, and the table of all arms."""
    shown = {one.name: found for one in material.members for found in one.sections("robustness")[:1]}
    if not shown:
        words = "Not examined yet: kdmri examine RUN... measures it."
        return Section("robustness", "Robustness", INTRO, (Text(words, "note"),))
    first = next(iter(shown.values()))
    leading = [one.name for one in (material.teacher, material.baseline, material.student) if one is not None]
    drawn = {name: shown[name] for name in (leading or shown) if name in shown} or shown
    panels = [_panel(number, drawn) for number in range(len(first["corruptions"]))]
    chance = 1 / len(set(material.table.label.tolist()))
    score = f"Balanced accuracy (%), n = {first['slices']:,} slices"
    n = f"{first['slices']:,} slices of {first['families']} families"
    caption = f"First run of each arm, {n}. Bounds: 95 % over families."
    figure = figures("robustness", robustness_figure(panels, score, chance), "Accuracy under corruptions", caption)
    return Section("robustness", "Robustness", INTRO, (figure, _table(shown)))


def _panel(number: int, shown: Mapping[str, Mapping[str, Any]]) -> CorruptionPanel:
    one = next(iter(shown.values()))["corruptions"][number]
    runs = {}
    for name, found in shown.items():
        numbers = [bounded(found["intact"]), *map(bounded, found["corruptions"][number]["balanced_accuracy"])]
        value, low, high = np.array(numbers).T
        runs[name] = Severities(value, low, high)
    return CorruptionPanel(one["title"], "", runs)


def _strengths(one: Mapping[str, Any]) -> str:
    return f"{', '.join(f'{parameter:g}' for parameter in one['parameters'])} {one['unit']}"


def _table(shown: Mapping[str, Mapping[str, Any]]) -> Table:
    first = next(iter(shown.values()))
    columns = [Column("Arm"), Column("Intact", True, "balanced accuracy, %")]
    columns += [Column(one["title"], True, _strengths(one)) for one in first["corruptions"]] + [Column("Mean", True)]
    rows = tuple(
        (
            Cell(name, mark="strong"),
            percent_cell(found["intact"]),
            *(percent_cell(one["relative_degradation"]) for one in found["corruptions"]),
            percent_cell(found["mean_relative_degradation"]),
        )
        for name, found in shown.items()
    )
    caption = "Relative degradation, % of the balanced accuracy above chance; 95 % intervals over patient families."
    return Table("robustness", "Relative degradation", caption, tuple(columns), rows)
