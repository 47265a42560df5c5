"""Loss and accuracy over the epochs, how far training is ahead of validation, how soon the baseline is reached."""

import math

from kdmri_monai.evaluation.generalisation import generalisation
from kdmri_monai.report.figure_blocks import FigureBlocks
from kdmri_monai.report.figures_curves import arm_curves
from kdmri_monai.report.figures_terms import terms_figure
from kdmri_monai.report.material import Material, Member
from kdmri_monai.report.page_model import Cell, Column, Details, FigureBlock, Section, Table, Text

KEYS = {"teacher": 2, "baseline": 0, "distilled": 1, "other": 3}
"""Baseline and distilled stand side by side first, as in the report that this one grew out of."""

MEASURED = (
    "Training numbers are means over augmented slices while the weights move, validation numbers those of the weights "
    "after the epoch on slices as they are; the validation patients choose the epoch, so its validation accuracy is a "
    "little too high."
)


def section(material: Material, figures: FigureBlocks) -> Section:
    """Curves of every arm, and the table of gaps and epochs."""
    shown = sorted((one for one in material.members if one.histories), key=lambda one: KEYS[one.role])
    if not shown:
        return Section("training", "Training", "", (Text("No run has a metrics.jsonl.", "note"),))
    drawn = arm_curves({one.name: one.histories for one in shown})
    caption = "One thin line a seed, the strong line is their mean. Dots: the epoch that is kept."
    curves = [figures(f"curves_{_key(name)}", figure, name, caption) for name, figure in drawn.items()]
    return Section("training", "Training", MEASURED, (*curves, _gaps(material, shown), _terms(shown, figures)))


def _gaps(material: Material, shown: list[Member]) -> Table:
    columns = (
        Column("Arm"),
        Column("Best epoch", hint="of each run"),
        Column("Training accuracy, %", True, "at the epoch that is kept"),
        Column("Validation accuracy, %", True, "at the epoch that is kept"),
        Column("Training minus validation", True, "points, at the epoch that is kept"),
        Column("The same, last epoch", True, "points"),
        Column("Epochs to the baseline's best", hint="for each pair of runs; never: not within its epochs"),
    )
    baseline = material.baseline if material.baseline in shown else None
    return Table(
        "gaps",
        "Generalisation gap and convergence",
        f"Means over the runs. {_validated(shown)} The baseline's own best epochs are what its row shows.",
        columns,
        tuple(_gap_row(one, baseline) for one in shown),
    )


def _gap_row(member: Member, baseline: Member | None) -> tuple[Cell, ...]:
    validated_alike = baseline is not None and member.histories[0].n == baseline.histories[0].n
    against = [run.path for run in baseline.runs] if baseline is not None and validated_alike else []
    found = generalisation([run.path for run in member.runs if run.history is not None], against)
    chosen, last = found["mean"]["chosen"], found["mean"]["last"]
    epochs = [row["best_epoch"] for row in found["runs"]]
    return (
        Cell(member.name, mark="strong"),
        Cell(", ".join(map(str, epochs)), sort=sum(epochs) / len(epochs)),
        _points(chosen["training"]),
        _points(chosen["validation"]),
        _points(chosen["gap"], signed=True),
        _points(last["gap"], signed=True),
        _reached(found.get("epochs_to_baselines_best"), member is baseline),
    )


def _points(value: float, signed: bool = False) -> Cell:
    words = f"{100 * value:{'+' if signed else ''}.1f}".replace("-", "\N{MINUS SIGN}")
    return Cell("" if math.isnan(value) else words, sort=value)


def _reached(found: dict[str, object] | None, itself: bool) -> Cell:
    if found is None:
        return Cell("")
    if itself:
        own = found["baseline_best_epoch"]
        words = ", ".join(map(str, own)) if isinstance(own, list) else str(own)
        return Cell(f"own best: {words}", mark="muted")
    rows = found["epochs"]
    assert isinstance(rows, list)
    pairs = [epoch for row in rows for epoch in (row if isinstance(row, list) else [row])]
    counted = sorted(math.inf if epoch is None else float(epoch) for epoch in pairs)
    words = ", ".join("never" if epoch == math.inf else f"{epoch:.0f}" for epoch in counted)
    return Cell(words, sort=counted[len(counted) // 2])


def _validated(shown: list[Member]) -> str:
    n = sorted({one.n["validation"] for member in shown for one in member.histories if "validation" in one.n})
    return f"Validation: {' or '.join(f'{number:,}' for number in n)} slices." if n else ""


def _terms(shown: list[Member], figures: FigureBlocks) -> Details:
    blocks: list[FigureBlock | Text] = []
    for member in shown:
        history = member.histories[0]
        if len([term for term in history.terms() if term != "loss"]) > 1:
            caption = "Every term of the loss in the first run of the arm, as measured, weighted, and its gradient."
            blocks.append(figures(f"terms_{_key(member.name)}", terms_figure(history), member.name, caption))
    if not blocks:
        blocks.append(Text("No arm has a term beside the cross-entropy.", "note"))
    return Details("Loss terms over time", tuple(blocks))


def _key(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)
