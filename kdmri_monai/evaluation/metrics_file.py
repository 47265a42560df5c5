"""Metrics with intervals, by slice and by patient, and the JSON file that holds them."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kdmri_monai.data.atomic import replacing
from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.evaluation.calibration import calibration_error
from kdmri_monai.evaluation.intervals import Interval, bootstrap
from kdmri_monai.evaluation.predictions import Predictions, by_patient
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.statistic import every_statistic
from kdmri_monai.evaluation.summary import by_class

FORMAT = "kdmri-metrics-1"
GLIOMA = CLASSES[1]
METHOD = (
    "bootstrap over patient families, stratified by class; shares: score interval with effective n and Student's t, "
    "differences: Student's t, others: percentiles expanded for few families"
)


def evaluate_predictions(
    predictions: Predictions, seed: int = 0, replicates: int = 2000, level: float = 0.95
) -> dict[str, Any]:
    """Everything that is reported of one table of predictions.

    Args:
        predictions: One row a slice.
        seed: Seed of the bootstrap.
        replicates: Number of bootstrap replicates.
        level: Nominal coverage of the intervals, above 0 and below 1.

    Returns:
        ``format``, ``classes``, ``interval`` (method and its parameters), ``slices`` and ``patients``. The last two
        hold ``n``, ``families``, ``{"value", "low", "high"}`` for each of accuracy, balanced_accuracy, macro_f1,
        mcc, macro_auroc, nll (nats), brier (0..2) and ece, where ece has no bounds; ``per_class`` by name, with n,
        sensitivity, specificity, precision, f1, auroc and auprc; ``confusion_matrix``, true class by row;
        ``strata``: recall of gliomas by id for the classes of the Figshare set, empty for others. What is not defined
        is NaN.

    Raises:
        PredictionError: A patient with two labels or in two families.
        ValueError: ``replicates`` or ``level`` is out of range.
    """
    resampling = Resampling(replicates, level, seed)
    return {
        "format": FORMAT,
        "classes": list(predictions.classes),
        "interval": {"method": METHOD, "level": level, "replicates": replicates, "seed": seed},
        "slices": _evaluate(predictions, resampling),
        "patients": _evaluate(by_patient(predictions), resampling),
    }


def id_source(patient: str) -> str:
    """Where a patient id seems to come from: its leading letters, or ``numeric``.

    In the Figshare set all ids with ``MR`` are glioma, so the source of a slice betrays its class; a network that
    knows the source and not the tumour finds few of the gliomas with a numeric id.
    """
    letters = re.match(r"[^\W\d_]+", patient)
    return letters.group() if letters else "numeric"


def write_metrics(metrics: Mapping[str, Any], path: Path, provenance: Mapping[str, Any] | None = None) -> None:
    """Writes metrics as JSON, NaN as null.

    Args:
        metrics: What ``evaluate_predictions`` returns, or any tree of mappings, lists, strings and numbers.
        path: File to be written or replaced.
        provenance: Where the numbers come from (configuration, data list, revision); stands under ``provenance``.

    Raises:
        ValueError: A number is infinite.
        TypeError: A value has no form in JSON.
        OSError: The file cannot be written; an older one is then as it was.
    """
    tree = {**metrics, "provenance": provenance} if provenance is not None else metrics
    text = json.dumps(_null_for_nan(tree), indent=2, allow_nan=False, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _evaluate(predictions: Predictions, resampling: Resampling) -> dict[str, Any]:
    intervals = bootstrap(predictions, every_statistic(predictions), resampling)
    values = {name: _bounds(interval) for name, interval in intervals.items()}
    error = calibration_error(predictions.label, predictions.probabilities)
    values["ece"] = {"value": error, "low": math.nan, "high": math.nan}
    return {
        "families": len(np.unique(predictions.family)),
        **by_class(predictions, values),
        "strata": _strata(predictions, resampling),
    }


def _strata(predictions: Predictions, resampling: Resampling) -> dict[str, Any]:
    if tuple(predictions.classes) != CLASSES:
        return {}  # what an id tells of its source is known of the Figshare set alone
    return {"glioma_recall_by_id": _glioma_recall(predictions, resampling)}


def _glioma_recall(predictions: Predictions, resampling: Resampling) -> dict[str, Any]:
    gliomas = predictions.label == predictions.classes.index(GLIOMA)
    source = np.array([id_source(patient) for patient in predictions.patient.tolist()])
    recall = {}
    for name in np.unique(source[gliomas]).tolist():
        table = predictions.take(gliomas & (source == name))
        interval = bootstrap(table, resampling=resampling)["accuracy"]
        recall[name] = {"n": len(table), "families": interval.groups, **_bounds(interval)}
    return recall


def _bounds(interval: Interval) -> dict[str, float]:
    return {"value": interval.estimate, "low": interval.low, "high": interval.high}


def _null_for_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _null_for_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_null_for_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
