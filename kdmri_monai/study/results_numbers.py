"""What is told of an arm beside the comparison: recalls, gain by the teacher, calibration, and what was examined."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.evaluation.arms import Arm
from kdmri_monai.evaluation.calibration import calibration_error
from kdmri_monai.evaluation.comparison_rows import Row
from kdmri_monai.evaluation.intervals import Interval, seed_averaged
from kdmri_monai.evaluation.metrics_file import id_source
from kdmri_monai.evaluation.predictions import Predictions, by_patient
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.run_folder import RunFolder
from kdmri_monai.evaluation.temperature import fit_table_temperature, scaled

Number = dict[str, float]
"""``value``, ``low`` and ``high``; NaN where one is not defined."""

MENINGIOMA, GLIOMA = CLASSES[:2]
VALIDATION = "validation"


def arm_numbers(arm: Arm, row: Row, alone: Arm | None, resampling: Resampling) -> dict[str, Number]:
    """Numbers of an arm over the test patients of all folds, means over its seeds.

    Args:
        arm: Runs that were evaluated.
        row: The same arm in a comparison.
        alone: The same student without a teacher; ``None`` where there is none, or the arm has no teacher.
        resampling: How intervals are found.

    Returns:
        ``balanced_slices`` and ``balanced_patients``; ``gain_slices`` and ``gain_patients``, paired, where ``alone`` is
        given; ``meningioma`` and ``numeric_gliomas``, recalls on slices, for the classes of the Figshare set;
        ``ece_before`` and, where every run has a table of its validation patients, ``ece_after``; ``cam`` and
        ``inpainted``, where every run was examined. The last four have no bounds.

    Raises:
        ComparisonError: Runs that cannot be pooled.
        PredictionError: A table that cannot be trusted.
        ValueError: Evidence of another form.
    """
    tables = arm.tables("test")
    found = {
        "balanced_slices": _number(row.slices.balanced_accuracy),
        "balanced_patients": _number(row.patients.balanced_accuracy),
    }
    if alone is not None:
        found |= _gain(tables, alone.tables("test"), resampling)
    if tables[0].classes == CLASSES:
        found["meningioma"] = _number(row.slices.metrics[f"sensitivity/{MENINGIOMA}"])
        gliomas = [table.take(_numeric_gliomas(table)) for table in tables]
        if len(gliomas[0]):
            found["numeric_gliomas"] = _number(seed_averaged(gliomas, resampling=resampling)["accuracy"])
    return found | _calibration(arm, tables) | _examined(arm)


def temperature_of(validation: Predictions) -> float:
    """The temperature that validation slices ask for; 1 where they do not tell (all right, or none above chance)."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        value = fit_table_temperature(validation)
    return 1.0 if any("at its bound" in str(one.message) for one in heard) else value


def _gain(own: Sequence[Predictions], alone: Sequence[Predictions], resampling: Resampling) -> dict[str, Number]:
    slices = seed_averaged(own, alone, resampling)
    patients = seed_averaged(list(map(by_patient, own)), list(map(by_patient, alone)), resampling)
    return {
        "gain_slices": _number(slices["balanced_accuracy"]),
        "gain_patients": _number(patients["balanced_accuracy"]),
    }


def _numeric_gliomas(table: Predictions) -> np.ndarray[Any, np.dtype[np.bool_]]:
    numeric = np.array([id_source(patient) == "numeric" for patient in table.patient.tolist()])
    return numeric & (table.label == table.classes.index(GLIOMA))


def _calibration(arm: Arm, tables: Sequence[Predictions]) -> dict[str, Number]:
    """Errors of the tables that are reported, and of the same with every run's own temperature."""
    before = [calibration_error(table.label, table.probabilities) for table in tables]
    found = {"ece_before": _mean(before)}
    if all(run.predictions_path(VALIDATION).is_file() for run in arm.runs):
        found["ece_after"] = _mean([_error([run for run in arm.runs if run.seed == seed]) for seed in arm.seeds])
    return found


def _error(runs: Sequence[RunFolder]) -> float:
    tables = [scaled(run.predictions("test"), temperature_of(run.predictions(VALIDATION))) for run in runs]
    label = np.concatenate([table.label for table in tables])
    return calibration_error(label, np.concatenate([table.probabilities for table in tables]))


def _examined(arm: Arm) -> dict[str, Number]:
    found: dict[str, Number] = {}
    sections = [run.evidence("test") or {} for run in arm.runs]
    cams = [_grad_cam(one.get("localisation", {})) for one in sections]
    if None not in cams:
        found["cam"] = _mean([energy / area for energy, area in _by_seed(arm, cams)])
    inpainted = [_inpainted(one.get("network_controls", {})) for one in sections]
    if None not in inpainted:
        found["inpainted"] = _mean([right / slices for right, slices in _by_seed(arm, inpainted)])
    return found


def _grad_cam(section: Mapping[str, Any]) -> tuple[float, float] | None:
    """Energy in the mask and area of the mask, summed over slices."""
    for one in section.get("methods", []):
        if one["method"] == "grad_cam":
            slices = section["slices"] - one["without_heat"]
            energy, area = one["energy"]["value"], one["area"]["value"]
            return None if energy is None or not area else (slices * energy, slices * area)
    return None


def _inpainted(section: Mapping[str, Any]) -> tuple[float, float] | None:
    """Balanced accuracy times slices, and slices."""
    row = next((row for row in section.get("rows", []) if row["name"] == "erased_inpaint"), None)
    return None if row is None or row["value"] is None else (row["n"] * row["value"], float(row["n"]))


def _by_seed(arm: Arm, pairs: Sequence[Any]) -> Iterable[tuple[float, float]]:
    """Sums over the folds of every seed."""
    for seed in arm.seeds:
        own = [pair for run, pair in zip(arm.runs, pairs, strict=True) if run.seed == seed]
        yield math.fsum(first for first, _ in own), math.fsum(second for _, second in own)


def _mean(values: Sequence[float]) -> Number:
    return {"value": float(np.mean(values)), "low": math.nan, "high": math.nan}


def _number(interval: Interval) -> Number:
    return {"value": interval.estimate, "low": interval.low, "high": interval.high}
