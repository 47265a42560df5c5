"""Runs side by side: metrics with intervals, and the paired difference to a reference run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.intervals import Interval, bootstrap, paired_bootstrap
from kdmri_monai.evaluation.pairing import aligned
from kdmri_monai.evaluation.predictions import Predictions, by_patient
from kdmri_monai.evaluation.predictions_file import read_predictions
from kdmri_monai.evaluation.resampling import Resampling


@dataclass(frozen=True)
class Level:
    """Metrics of one run by slice, or by patient.

    Attributes:
        n: Number of slices or of patients.
        accuracy: Share of right decisions.
        balanced_accuracy: Mean sensitivity.
        macro_f1: Mean F1.
        difference: Balanced accuracy minus that of the reference run, paired; ``None`` for the reference itself.
    """

    n: int
    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    difference: Interval | None


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        name: Name that tells it from the other runs.
        folder: Run folder.
        slices: Metrics by slice.
        patients: Metrics by patient.
        given: What the network was given beside the image (``the tumour mask: distance``), from ``run.json``; empty for
            the image alone.
    """

    name: str
    folder: Path
    slices: Level
    patients: Level
    given: str = ""


@dataclass(frozen=True)
class Comparison:
    """Runs over the same slices.

    Attributes:
        split: Split that was compared.
        reference: Name of the run that the differences are to.
        rows: One row a run, in the order given.
    """

    split: str
    reference: str
    rows: tuple[Row, ...]


def compare_runs(
    folders: Sequence[Path], split: str = "test", reference: str | None = None, resampling: Resampling | None = None
) -> Comparison:
    """Compares what several runs predicted for the same slices.

    Args:
        folders: Run folders, each with ``{split}_predictions.csv``; the ``name`` in ``run.json``, where there is
            one, stands for the name of the folder.
        split: Split to be compared.
        reference: Name of the run that the others are compared to; by default the one named ``baseline``, and the
            first where there is none.
        resampling: How the intervals are found; 2,000 replicates, 95 %, seed 0 by default.

    Returns:
        One row a run.

    Raises:
        ComparisonError: No runs, a run without predictions, an unknown reference, runs whose slices differ; the
            message names the runs.
        PredictionError: A table that cannot be trusted.
    """
    if not folders:
        raise ComparisonError("no runs to compare")
    names = run_names(folders)
    tables = dict(zip(names, (_read(folder, split) for folder in folders), strict=True))
    chosen = _reference(names, reference)
    _check_same_slices(tables, chosen, split)
    rows = []
    for name, folder in zip(names, folders, strict=True):
        pair = tables[name], None if name == chosen else tables[chosen]
        by_patients = by_patient(pair[0]), by_patient(pair[1]) if pair[1] else None
        levels = _level(*pair, resampling), _level(*by_patients, resampling)
        rows.append(Row(name, Path(folder), *levels, given=_given(Path(folder))))
    return Comparison(split, chosen, tuple(rows))


def run_names(folders: Sequence[Path]) -> list[str]:
    """A name for every run: from ``run.json`` or the folder; where names meet, the shortest paths that differ.

    Args:
        folders: Run folders.

    Raises:
        ComparisonError: A folder stands twice, or a ``run.json`` cannot be read.
    """
    parts = [Path(folder).resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        twice = next(path for path in parts if parts.count(path) > 1)
        raise ComparisonError(f"{Path(*twice)} is given twice")
    names = [_own_name(Path(*path)) for path in parts]
    depth = 1
    while len(set(names)) < len(names):
        names = ["/".join(path[-depth:]) for path in parts]
        depth += 1
    return names


def _own_name(folder: Path) -> str:
    name = _record(folder).get("name")
    return name if isinstance(name, str) and name else folder.name


def _given(folder: Path) -> str:
    settings = _record(folder).get("settings")
    uses = settings.get("network_uses") if isinstance(settings, dict) else None
    return uses.partition("from ")[2] if isinstance(uses, str) and "mask" in uses else ""


def _record(folder: Path) -> dict[str, Any]:
    file = folder / "run.json"
    if not file.is_file():
        return {}
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ComparisonError(f"{file}: is not JSON: {error}") from None
    return run if isinstance(run, dict) else {}


def _read(folder: Path, split: str) -> Predictions:
    file = Path(folder) / f"{split}_predictions.csv"
    if not file.is_file():
        raise ComparisonError(f"{folder}: has no {file.name}; evaluate the run first")
    return read_predictions(file)


def _reference(names: Sequence[str], wanted: str | None) -> str:
    if wanted is None:
        return next((name for name in names if name.rpartition("/")[2] == "baseline"), names[0])
    if wanted not in names:
        raise ComparisonError(f"no run is named {wanted!r}; the runs are {', '.join(names)}")
    return wanted


def _check_same_slices(tables: dict[str, Predictions], reference: str, split: str) -> None:
    faults = []
    for name, table in tables.items():
        try:
            aligned(table, tables[reference])
        except ComparisonError as error:
            faults.append(f"{name} against {reference}: {error}")
    if faults:
        raise ComparisonError(f"the {split} slices differ, so the runs cannot be compared. " + "; ".join(faults))


def _level(table: Predictions, reference: Predictions | None, resampling: Resampling | None) -> Level:
    metrics = bootstrap(table, resampling=resampling)
    difference = paired_bootstrap(table, reference, resampling)["balanced_accuracy"] if reference else None
    values = metrics["accuracy"], metrics["balanced_accuracy"], metrics["macro_f1"]
    return Level(len(table), *values, difference)
