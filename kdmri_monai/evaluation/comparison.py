"""Runs, or arms of several runs, side by side: metrics with intervals, and paired differences to one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from kdmri_monai.evaluation.arms import Arm, arms_of, some
from kdmri_monai.evaluation.comparison_rows import METRIC, Comparison, Level, Row
from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.fold_scheme import check_design
from kdmri_monai.evaluation.intervals import seed_averaged
from kdmri_monai.evaluation.multiple_testing import holm
from kdmri_monai.evaluation.pairing import aligned
from kdmri_monai.evaluation.permutation import arms_permutation_p
from kdmri_monai.evaluation.predictions import Predictions, by_patient
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.run_folder import RunFolder
from kdmri_monai.evaluation.statistic import decision_statistic, estimates

__all__ = ["By", "Comparison", "Level", "Row", "compare_runs", "run_names"]

By = Literal["run", "arm", "auto"]
Tables = tuple[Predictions, ...]


def compare_runs(
    folders: Sequence[Path],
    split: str = "test",
    reference: str | None = None,
    resampling: Resampling | None = None,
    by: By = "run",
) -> Comparison:
    """Compares what several runs predicted for the same slices.

    Args:
        folders: Run folders, each with ``{split}_predictions.csv``; the ``name`` in ``run.json``, where there is
            one, stands for the name of the folder.
        split: Split to be compared.
        reference: Name of the row that the others are compared to; by default the one named ``baseline``, and the
            first where there is none.
        resampling: How intervals and p-values are found; 2,000 replicates, 95 %, seed 0 by default.
        by: Whether a row is a run, or an arm: the runs that differ by seed and fold alone (``arms_of``). ``auto``
            takes arms where one has several runs.

    Returns:
        One row a run or an arm.

    Raises:
        ComparisonError: No runs, a run without predictions, an unknown reference, rows whose patients or slices
            differ, arms that are not complete; the message names the runs.
        PredictionError: A table that cannot be trusted.
        ValueError: ``by`` is none of the three, or a configuration cannot be read.
    """
    if by not in ("run", "arm", "auto"):
        raise ValueError(f"by is {by!r}, allowed are run, arm, auto")
    if not folders:
        raise ComparisonError("no runs to compare")
    runs = _opened(folders)
    names = _names(runs)
    arms = () if by == "run" else arms_of(runs)
    grouped = by == "arm" or any(len(arm.runs) > 1 for arm in arms)
    rows = arms if grouped else tuple(Arm(name, (run,)) for name, run in zip(names, runs, strict=True))
    chosen = _reference([arm.name for arm in rows], reference)
    fold_count = check_design(rows) if grouped else None
    tables = {arm.name: arm.tables(split) for arm in rows}
    _check_same_slices(rows, tables, chosen, split)
    resampling = resampling or Resampling()
    slices = _levels(tables, chosen, resampling)
    patients = _levels({name: tuple(map(by_patient, own)) for name, own in tables.items()}, chosen, resampling)
    found = tuple(_row(arm, slices[arm.name], patients[arm.name], split) for arm in rows)
    return Comparison(split, chosen, found, "arm" if grouped else "run", resampling, fold_count)


def run_names(folders: Sequence[Path]) -> list[str]:
    """A name for every run: from ``run.json`` or the folder; where names meet, the shortest paths that differ.

    Args:
        folders: Run folders.

    Raises:
        ComparisonError: A folder is missing or stands twice, or a ``run.json`` cannot be read.
    """
    return _names(_opened(folders))


def _opened(folders: Sequence[Path]) -> list[RunFolder]:
    paths = [Path(folder).resolve() for folder in folders]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise ComparisonError(f"{twice} is given twice")
    return [RunFolder(Path(folder)) for folder in folders]


def _names(runs: Sequence[RunFolder]) -> list[str]:
    names, depth = [run.name for run in runs], 1
    while len(set(names)) < len(names):
        names = ["/".join(run.path.resolve().parts[-depth:]) for run in runs]
        depth += 1
    return names


def _reference(names: Sequence[str], wanted: str | None) -> str:
    if wanted is None:
        return next((name for name in names if name.rpartition("/")[2] == "baseline"), names[0])
    if wanted not in names:
        raise ComparisonError(f"no run is named {wanted!r}; the runs are {', '.join(names)}")
    return wanted


def _check_same_slices(arms: Sequence[Arm], tables: Mapping[str, Tables], reference: str, split: str) -> None:
    first, faults = tables[reference][0], []
    for arm in arms:
        for seed, table in zip(arm.seeds, tables[arm.name], strict=True):
            try:
                _check_same_patients(table, first)
                aligned(table, first)
            except ComparisonError as error:
                runs = [run.name for run in arm.runs if run.seed == seed]
                named = arm.name if len(arm.runs) == 1 else f"{arm.name} ({some(runs)})"
                faults.append(f"{named} against {reference}: {error}")
    if faults:
        raise ComparisonError(f"the {split} slices differ, so the runs cannot be compared. " + "; ".join(faults))


def _check_same_patients(table: Predictions, reference: Predictions) -> None:
    own, other = set(table.patient.tolist()), set(reference.patient.tolist())
    missing, added = sorted(other - own), sorted(own - other)
    parts = [f"{len(missing)} missing ({some(missing)})"] if missing else []
    parts += [f"{len(added)} more ({some(added)})"] if added else []
    if parts:
        raise ComparisonError(f"patients differ: {', '.join(parts)}")


def _levels(tables: Mapping[str, Tables], reference: str, resampling: Resampling) -> dict[str, Level]:
    base = tables[reference]
    levels = {}
    for name, own in tables.items():
        metrics = seed_averaged(own, resampling=resampling)
        by_seed = tuple(estimates(table, decision_statistic(table)) for table in own)
        level = Level(len(own[0]), metrics[METRIC].groups, metrics, by_seed)
        if name != reference:
            p = arms_permutation_p(own, base, METRIC, resampling)
            level = replace(level, differences=seed_averaged(own, base, resampling), p=p)
        levels[name] = level
    adjusted = holm([level.p for level in levels.values()])  # the reference is NaN, and does not count
    return {name: replace(level, p_holm=float(p)) for (name, level), p in zip(levels.items(), adjusted, strict=True)}


def _row(arm: Arm, slices: Level, patients: Level, split: str) -> Row:
    given = next((run.given for run in arm.runs if run.given), "")
    leaks = {} if split == "training" else {run.name: run.leak(run.predictions(split)) for run in arm.runs}
    told = [words if len(arm.runs) == 1 else f"{name}: {words}" for name, words in leaks.items() if words]
    folders = tuple(run.path for run in arm.runs)
    unsure = next((run.unsure for run in arm.runs if run.unsure), "")
    return Row(arm.name, folders, arm.seeds, arm.folds, slices, patients, given, "; ".join(told), unsure)
