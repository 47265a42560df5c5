"""What is taken for what: confusion matrices, the table by class, ROC curves."""

import numpy as np
from matplotlib.figure import Figure

from kdmri_monai.evaluation.intervals import bootstrap
from kdmri_monai.evaluation.metrics import confusion_matrix
from kdmri_monai.evaluation.roc import roc_curves
from kdmri_monai.evaluation.statistic import every_statistic
from kdmri_monai.report import figures_ranking
from kdmri_monai.report.bounds import bounded, percent_cell
from kdmri_monai.report.figure_blocks import FigureBlocks
from kdmri_monai.report.figures_confusion import confusion_figure
from kdmri_monai.report.figures_ranking import roc_figure
from kdmri_monai.report.material import Material, Member
from kdmri_monai.report.page_model import Cell, Column, Section, Table

BY_CLASS = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "f1": "F1",
    "auroc": "AUROC",
    "auprc": "AUPRC",
}


def section(material: Material, figures: FigureBlocks) -> Section:
    """The first seed of every arm; sums over seeds would count slices several times."""
    shown = [one for one in (material.student, material.baseline, material.teacher) if one is not None]
    shown = shown or list(material.members[:1])
    blocks = []
    for member in shown:
        for unit, table in (("slices", member.tables[0]), ("patients", member.patients[0])):
            counts = confusion_matrix(table.label, table.prediction, len(table.classes))
            caption = f"{_who(member)}. Counts, and their share of the true class."
            key = f"confusion_{member.role}_{unit}"
            blocks.append(
                figures(key, confusion_figure(counts, table.classes, unit), f"{member.name}, {unit}", caption)
            )
    for member in shown:
        caption = (
            f"{_who(member)}. One class against the others; bands are pointwise 95 % intervals over patient families."
        )
        blocks.append(figures(f"roc_{member.role}", _roc(member), f"ROC, {member.name}", caption))
    return Section("decisions", "Decisions by class", "", (*blocks, _table(material)))


def _roc(member: Member) -> Figure:
    curves = [
        figures_ranking.RocCurve(
            name=one.name,
            fpr=np.array(one.grid),
            tpr=np.array([point.estimate for point in one.band]),
            low=np.array([point.low for point in one.band]),
            high=np.array([point.high for point in one.band]),
            area=bounded(one.area),
            n=one.positives,
        )
        for one in roc_curves(member.tables[0])
    ]
    return roc_figure(curves)


def _table(material: Material) -> Table:
    columns = [Column("Arm"), Column("Class"), Column("n", True, "slices")]
    columns += [Column(title, True) for title in BY_CLASS.values()]
    rows = []
    for member in material.members:
        table = member.tables[0]
        found = bootstrap(table, every_statistic(table))
        for number, name in enumerate(table.classes):
            n = int((table.label == number).sum())
            cells = [percent_cell(found[f"{metric}/{name}"]) for metric in BY_CLASS]
            rows.append((Cell(member.name, mark="strong"), Cell(name), Cell(str(n), sort=n), *cells))
    caption = "Per cent, by slice, first seed of each arm. 95 % intervals over patient families."
    return Table("classes", "By class", caption, tuple(columns), tuple(rows))


def _who(member: Member) -> str:
    seed = member.arm.seeds[0]
    return f"{member.name}, seed {seed}" if seed is not None else member.name
