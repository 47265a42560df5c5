"""Teacher, baseline and distilled student, with intervals, in sentences that claim no more than the interval does."""

from collections.abc import Sequence
from functools import lru_cache

from kdmri_monai.evaluation.intervals import Interval
from kdmri_monai.evaluation.multiple_testing import holm
from kdmri_monai.evaluation.permutation import arms_permutation_p
from kdmri_monai.report.bounds import bounded, excludes_zero, percent, percent_cell
from kdmri_monai.report.figure_blocks import FigureBlocks
from kdmri_monai.report.figures_forest import ForestRow, ForestScale, forest_figure
from kdmri_monai.report.material import Material, Member
from kdmri_monai.report.page_model import Cell, Column, Section, Table, Text, Tile

METRIC = "balanced_accuracy"
INTERVALS = "95 % intervals over patient families, for these trained networks"


def lead(material: Material) -> tuple[str, ...]:
    """What is to be known first, a sentence each."""
    table, student = material.table, material.student
    said = [_tested(material)]
    for member in (student, material.baseline, material.teacher):
        if member is not None:
            said.append(_reaches(member))
    if student is not None and material.baseline is not None:
        said += [_difference(material, student, by_patients) for by_patients in (False, True)]
    said.append(
        f"Chance is {100 / len(set(table.label.tolist())):.1f} %. For research only: there is no healthy class."
    )
    return tuple(said)


def tiles(material: Material) -> tuple[Tile, ...]:
    """The headline in numbers: balanced accuracy of the three, and the paired difference."""
    found = []
    for member, label in (
        (material.teacher, "Teacher"),
        (material.baseline, "Baseline"),
        (material.student, "Distilled"),
    ):
        if member is not None:
            value = member.averaged()[METRIC]
            note = f"{member.name}, {_runs(member)}" + (f"; is given {member.given}" if member.given else "")
            found.append(Tile(f"{label}, balanced accuracy", *_parts(value), note))
    if material.student is not None and material.baseline is not None:
        gain = material.student.averaged(reference=material.baseline)[METRIC]
        note = "the interval includes zero" if not excludes_zero(gain) else "the interval excludes zero"
        found.append(Tile("Distilled minus baseline", *_parts(gain, signed=True), note))
    return tuple(found)


def section(material: Material, figures: FigureBlocks) -> Section:
    """Every arm with its intervals, by slice and by patient, and its difference to the baseline."""
    baseline = material.baseline
    rows = [
        ForestRow(
            member.name if member.role in ("other", member.name) else f"{member.name} ({member.role})",
            bounded(member.averaged(by_patients)[METRIC]),
            _level(material, by_patients),
        )
        for by_patients in (False, True)
        for member in material.members
    ]
    blocks: list[Text | Table] = []
    forest = forest_figure(rows, ForestScale("Balanced accuracy (%)"))
    caption = f"Mean of the seeds. {INTERVALS}."
    drawn = [figures("headline", forest, "Balanced accuracy of every arm", caption)]
    others = [member for member in material.members if member is not baseline and member.role != "teacher"]
    if baseline is not None and others:
        differences = [
            ForestRow(
                member.name, bounded(member.averaged(by_patients, baseline)[METRIC]), _level(material, by_patients)
            )
            for by_patients in (False, True)
            for member in others
        ]
        scale = ForestScale(f"Points above {baseline.name}", signed=True, reference=0.0)
        words = f"Paired: both networks are asked about the same patients in every replicate. {INTERVALS}."
        drawn.append(figures("differences", forest_figure(differences, scale), f"Difference to {baseline.name}", words))
    blocks.append(_table(material))
    given = [member for member in material.members if member.given]
    blocks += [
        Text(f"{one.name} is given {one.given}: it cannot be used where there is no mask, and what it reaches is no "
             "bound for a network that sees the image alone.", "warning")
        for one in given
    ]  # fmt: skip
    return Section("headline", "Headline", "", (*drawn, *blocks))


def _table(material: Material) -> Table:
    columns = [Column("Arm"), Column("Runs", numeric=True)]
    for level in ("slices", "patients"):
        columns += [Column(f"Accuracy, {level}", True), Column(f"Balanced accuracy, {level}", True)]
        columns += [Column(f"Macro F1, {level}", True)]
        if material.baseline is not None:
            columns += [Column(f"Minus baseline, {level}", True, "balanced accuracy, points, paired")]
            columns += [Column(f"p, {level}", True, "permutation of families, Holm over the arms")]
    p_values = {by_patients: adjusted_p(material, by_patients) for by_patients in (False, True)}
    rows = []
    for member in material.members:
        cells = [Cell(member.name, mark="strong"), Cell(str(len(member.runs)), sort=len(member.runs))]
        for by_patients in (False, True):
            found = member.averaged(by_patients)
            cells += [percent_cell(found[name]) for name in ("accuracy", METRIC, "macro_f1")]
            if material.baseline is not None:
                cells += _against(member, material.baseline, by_patients, p_values[by_patients])
        rows.append(tuple(cells))
    caption = (
        f"Per cent. {material_counts(material)}. {INTERVALS}; means over the seeds. p: the answers of two arms for a "
        "family are swapped by chance; adjusted by Holm over the arms of the table."
    )
    return Table("arms", "All arms", caption, tuple(columns), tuple(rows))


@lru_cache(maxsize=8)
def adjusted_p(material: Material, by_patients: bool) -> dict[str, float]:
    """Permutation p of every arm against the baseline, adjusted by Holm; by name."""
    baseline = material.baseline
    others = [member for member in material.members if member is not baseline]
    if baseline is None or not others:
        return {}
    reference = baseline.patients if by_patients else baseline.tables
    values = [arms_permutation_p(one.patients if by_patients else one.tables, reference) for one in others]
    return dict(zip((one.name for one in others), holm(values), strict=True))


def _against(member: Member, baseline: Member, by_patients: bool, p_values: dict[str, float]) -> list[Cell]:
    if member is baseline:
        return [Cell("reference", mark="muted"), Cell("", mark="muted")]
    difference = member.averaged(by_patients, baseline)[METRIC]
    clear = excludes_zero(difference)
    mark = "" if not clear else "good" if difference.estimate > 0 else "bad"
    p = p_values[member.name]
    return [percent_cell(difference, signed=True, mark=mark), Cell(p_words(p), sort=p)]


def material_counts(material: Material) -> str:
    """``499 slices of 37 patients (33 families)``."""
    table = material.table
    patients, families = len(set(table.patient.tolist())), len(set(table.family.tolist()))
    return f"{len(table):,} slices of {patients} patients ({families} families)"


def _tested(material: Material) -> str:
    folds = {run.fold for member in material.members for run in member.runs}
    where = f"{len(folds)} folds, pooled" if len(folds) > 1 else f"the {material.split} split"
    tested = f"Tested on {material_counts(material)} of {where}"
    leaks = material.leaks
    if leaks:
        return f"{tested}. Not to be trusted: {'; '.join(f'{name}: {words}' for name, words in leaks.items())}."
    return f"{tested}, whom no network has learned from; epochs are chosen on other patients."


def _reaches(member: Member) -> str:
    slices, patients = (member.averaged(by_patients)[METRIC] for by_patients in (False, True))
    who = {"teacher": "The teacher", "baseline": "The same student without a teacher"}.get(member.role, "The student")
    given = f", which is given {member.given}," if member.given else ""
    return (
        f"{who} ({member.name}, {_runs(member)}){given} has a balanced accuracy of {percent(slices)} % by slice and "
        f"{percent(patients)} % by patient."
    )


def _difference(material: Material, student: Member, by_patients: bool) -> str:
    difference = student.averaged(by_patients, material.baseline)[METRIC]
    p = adjusted_p(material, by_patients)[student.name]
    others = sum(one is not material.baseline for one in material.members)
    test = f"permutation, Holm over {others} arms" if others > 1 else "permutation"
    points = percent(difference, signed=True)
    words = f"By {'patient' if by_patients else 'slice'}, distilled minus baseline is {points} points, paired; "
    words += f"p = {p_words(p)} ({test}): "
    return words + verdict(difference, p)


def verdict(difference: Interval, p: float, level: float = 0.05) -> str:
    """What may be said of a paired difference: no more than interval and permutation test say together.

    Args:
        difference: Distilled minus baseline with its interval.
        p: Of the permutation test, adjusted.
        level: Below which p counts.
    """
    if not excludes_zero(difference):
        return "these patients do not tell the two apart."
    better = "higher" if difference.estimate > 0 else "lower"
    if p >= level:
        return f"{better}, but this is not told from chance once all arms are counted; the interval counts one alone."
    return f"the distilled student is {better} on these patients, for these trained networks."


def p_words(p: float) -> str:
    """``.023``, or ``below .001``."""
    return "below .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def _parts(value: Interval, signed: bool = False) -> tuple[str, str]:
    words = percent(value, signed)
    number, _, rest = words.partition(" ")
    return f"{number} {'points' if signed else '%'}", rest.strip("()")


def _runs(member: Member) -> str:
    seeds: Sequence[int | None] = member.arm.seeds
    folds = f", {len(member.arm.folds)} folds" if len(member.arm.folds) > 1 else ""
    return f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}{folds}"


def _level(material: Material, by_patients: bool) -> str:
    table = material.table
    return f"By patient, n = {len(set(table.patient.tolist()))}" if by_patients else f"By slice, n = {len(table):,}"
