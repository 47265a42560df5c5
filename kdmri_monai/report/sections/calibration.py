"""How far probabilities can be believed, before and after temperature scaling, and what is gained by abstaining."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from kdmri_monai.evaluation.calibration import calibration_error
from kdmri_monai.evaluation.reliability import reliability_bins
from kdmri_monai.evaluation.risk_coverage import RiskCoverage, risk_coverage
from kdmri_monai.evaluation.temperature import calibration_before_after
from kdmri_monai.report import figures_calibration
from kdmri_monai.report.bounds import bounded, percent_cell, plain_cell
from kdmri_monai.report.figure_blocks import FigureBlocks
from kdmri_monai.report.figures_calibration import Reliability, reliability_figure, risk_coverage_figure
from kdmri_monai.report.material import Material, Member
from kdmri_monai.report.page_model import Cell, Column, FigureBlock, Section, Table, Text

BINS = 15
RULE = f"Calibration error: {BINS} bins of equal width of the confidence, weighed by their slices; it has no interval."


def section(material: Material, figures: FigureBlocks) -> Section:
    """Reliability diagrams, the table of scores, risk over coverage."""
    shown = [one for one in (material.student, material.baseline, material.teacher) if one is not None]
    shown = shown or list(material.members[:1])
    scaled = {one.name: found for one in material.members if (found := _scaled(one)) is not None}
    drawn = [_reliability(one, scaled.get(one.name), figures) for one in shown]
    curves = {one.name: risk_coverage(one.tables[0]) for one in shown}
    drawn.append(_abstaining(curves, figures))
    blocks: list[Any] = [*drawn, _scores(material, scaled), _kept(curves)]
    bound = [name for name, found in scaled.items() if found["at_bound"]]
    if bound:
        words = f"The temperature of {', '.join(bound)} is at its bound: the validation slices do not tell it."
        blocks.append(Text(words, "note"))
    if len(scaled) < len(material.members):
        missing = ", ".join(one.name for one in material.members if one.name not in scaled)
        words = f"No validation predictions of {missing}: no temperature was fitted. kdmri examine writes them."
        blocks.append(Text(words, "note"))
    intro = "First seed of each arm. The temperature is fitted on validation patients alone; it changes no decision."
    return Section("calibration", "Calibration and abstaining", intro, tuple(blocks))


def _scaled(member: Member) -> dict[str, Any] | None:
    if not member.validation or len(member.arm.folds) > 1:
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is at its bound.*")  # said in the section
        return calibration_before_after(member.validation[0], member.tables[0], BINS)


def _reliability(member: Member, scaled: Mapping[str, Any] | None, figures: FigureBlocks) -> FigureBlock:
    table = member.tables[0]
    if scaled is None:
        error = calibration_error(table.label, table.probabilities, BINS)
        diagrams = [_diagram("as trained", vars(reliability_bins(table, BINS)), error)]
    else:
        names = {"before": "as trained", "after": f"temperature {scaled['temperature']:.2f}"}
        diagrams = [
            _diagram(name, scaled[when]["reliability"]["width"], scaled[when]["ece"]["value"])
            for when, name in names.items()
        ]
    caption = f"{member.name}. Bounds are 95 % intervals that allow for slices of one family being alike. {RULE}"
    return figures(f"reliability_{member.role}", reliability_figure(diagrams), f"Reliability, {member.name}", caption)


def _diagram(name: str, bins: Mapping[str, Any], error: float) -> Reliability:
    arrays = {key: np.array(bins[key], dtype=np.float64) for key in ("confidence", "accuracy", "low", "high")}
    return Reliability(name=name, **arrays, count=np.array(bins["count"]), ece=(error, math.nan, math.nan))


def _abstaining(curves: Mapping[str, RiskCoverage], figures: FigureBlocks) -> FigureBlock:
    drawn = [
        figures_calibration.RiskCoverage(
            name=name,
            coverage=np.array(curve.coverage),
            risk=np.array([point.estimate for point in curve.risk]),
            area=bounded(curve.aurc),
        )
        for name, curve in curves.items()
    ]
    n = next(iter(curves.values())).slices
    caption = "Errors among the answers that are kept when the least confident are withheld; areas with 95 % intervals."
    return figures("risk_coverage", risk_coverage_figure(drawn, n=n), "Risk over coverage", caption)


def _scores(material: Material, scaled: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = [Column("Arm"), Column("Temperature", True)]
    columns += [
        Column(f"{name}, {when}", True)
        for name in ("ECE, %", "NLL, nats", "Brier, 0 to 2")
        for when in ("before", "after")
    ]
    rows = []
    for member in material.members:
        found = scaled.get(member.name)
        if found is None:
            continue
        cells = [Cell(member.name, mark="strong"), Cell(f"{found['temperature']:.2f}", sort=found["temperature"])]
        for key in ("ece", "nll", "brier"):
            make = percent_cell if key == "ece" else plain_cell
            cells += [make(found[when][key]) for when in ("before", "after")]
        rows.append(tuple(cells))
    caption = (
        f"n = {len(material.table):,} slices. {RULE} Other intervals: 95 % over test families, for this temperature."
    )
    return Table("calibration", "Before and after temperature scaling", caption, tuple(columns), tuple(rows))


def _kept(curves: Mapping[str, RiskCoverage]) -> Table:
    coverages = list(next(iter(curves.values())).accuracy)
    columns = [Column("Arm"), *(Column(f"{100 * share:.0f} % kept", True) for share in coverages)]
    columns += [Column("Area, %", True, "mean risk, lower is better"), Column("Above the best order, %", True)]
    rows = tuple(
        (
            Cell(name, mark="strong"),
            *(percent_cell(curve.accuracy[share]) for share in coverages),
            percent_cell(curve.aurc),
            percent_cell(curve.excess_aurc),
        )
        for name, curve in curves.items()
    )
    caption = "Accuracy, %, of the most confident slices. 95 % intervals over patient families."
    return Table("abstaining", "Accuracy when the least confident slices are withheld", caption, tuple(columns), rows)
