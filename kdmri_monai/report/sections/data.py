"""Data and split: counts, folds, checksums, and whether anybody stands on both sides."""

from collections.abc import Mapping
from typing import Any

from kdmri_monai.data.datalist import class_names
from kdmri_monai.report.material import Material
from kdmri_monai.report.page_model import Cell, Column, Section, Table, Text

SPLITS = ("training", "validation", "test")


def section(material: Material) -> Section:
    """Counts by split and class, where they come from, and the check for leaks."""
    blocks: list[Any] = []
    for datalist in material.datalists.values():
        blocks += [_counts(datalist), _facts(datalist)]
    if not material.datalists:
        blocks.append(Text("The datalist was not found where the runs say; --data names its folder.", "note"))
    blocks += [_checksums(material), _leaks(material)]
    return Section("data", "Data and split", "", tuple(blocks))


def _counts(datalist: Mapping[str, Any]) -> Table:
    table = datalist["counts"]["table"]
    columns = [
        Column("Class"),
        *(Column(f"{split.capitalize()}: slices of patients (families)", True) for split in SPLITS),
    ]
    rows = tuple(
        (Cell(name, mark="strong"), *(_count(table.get(split, {}).get(name)) for split in SPLITS))
        for name in (*class_names(datalist), "all")
    )
    fold = datalist.get("fold")
    title = "Counts" if fold is None else f"Counts, fold {fold}"
    return Table(f"counts_{fold}", title, "A family is what may be one patient scanned twice.", tuple(columns), rows)


def _count(count: Mapping[str, int] | None) -> Cell:
    if count is None:
        return Cell("0", sort=0)
    return Cell(f"{count['slices']:,} of {count['patients']} ({count['families']})", sort=count["slices"])


def _facts(datalist: Mapping[str, Any]) -> Table:
    source, split = datalist.get("source", {}), datalist.get("preparation", {}).get("split", {})
    file = datalist.get("folds_file")
    facts = {
        "Data set": datalist.get("description", ""),
        "Source": f"{source.get('kind', 'unknown')}, {source.get('files', '?')} files",
        "Skipped": f"{len(datalist.get('skipped', []))} slices could not be used",
        "Kept together": f"{datalist.get('group_rule')}; images that are equal bit by bit too",
        "Folds": f"fold {datalist.get('fold')} of {datalist.get('folds')}, "
        + (f"published folds {file}" if file else f"drawn by class with seed {datalist.get('seed')}"),
        "Validation": f"{100 * split.get('validation', 0):.0f} % of the families of the other folds",
        "Preparation": f"fingerprint {datalist.get('preparation', {}).get('fingerprint', 'not recorded')}",
    }
    rows = tuple((Cell(name, mark="strong"), Cell(str(words))) for name, words in facts.items())
    return Table(
        f"source_{datalist.get('fold')}", "Source and folds", "", (Column("What"), Column("From the datalist")), rows
    )


def _checksums(material: Material) -> Table:
    rows = tuple(
        (
            Cell(member.name, mark="strong"),
            Cell(str(run.path.name)),
            Cell("" if run.fold is None else str(run.fold), sort=run.fold),
            Cell(str(run.data.get("sha256", "not recorded"))),
        )
        for member in material.members
        for run in member.runs
    )
    columns = (Column("Arm"), Column("Run"), Column("Fold", True), Column("SHA-256 of the datalist"))
    return Table("checksums", "Datalist of every run", "Recorded when the run began.", columns, rows)


def _leaks(material: Material) -> Text:
    if material.leaks:
        words = "; ".join(f"{name}: {what}" for name, what in material.leaks.items())
        return Text(f"Leak: {words}. No number of this page says anything about new patients.", "warning")
    silent = [
        str(run.path.name) for one in material.members for run in one.runs if not run.data.get("training_families")
    ]
    if silent:
        return Text(
            f"Not known who {', '.join(silent)} learned from: run.json does not say. No leak is known.", "warning"
        )
    return Text(
        "Leak check: no family of the tested slices is among those that any network here, the teacher included, has "
        "learned from.",
        "plain",
    )
