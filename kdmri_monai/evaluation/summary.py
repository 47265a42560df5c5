"""Metrics of a table without intervals: quick enough for every epoch."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kdmri_monai.evaluation.calibration import calibration_error
from kdmri_monai.evaluation.metrics import confusion_matrix
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.statistic import estimates, every_statistic


def summarise(predictions: Predictions) -> dict[str, Any]:
    """Plain numbers of one table.

    Args:
        predictions: One row a slice or a patient.

    Returns:
        n, accuracy, balanced_accuracy, macro_f1, mcc, macro_auroc, nll (nats), brier (0..2), ece; ``per_class`` by
        name, with n, sensitivity, specificity, precision, f1, auroc and auprc; ``confusion_matrix``, true class by
        row. What is not defined, as everything of a class without rows, is NaN.
    """
    error = calibration_error(predictions.label, predictions.probabilities)
    return by_class(predictions, {**estimates(predictions, every_statistic(predictions)), "ece": error})


def by_class(predictions: Predictions, values: Mapping[str, Any]) -> dict[str, Any]:
    """Puts metrics that are named ``metric/class`` under their class, and adds the counts.

    Args:
        predictions: Table that the values are of.
        values: Numbers, or anything else, by name as ``statistic`` names them.

    Returns:
        ``n``, the metrics of the whole, ``per_class`` with ``n`` and the metrics of each, ``confusion_matrix``.
    """
    counts = np.bincount(predictions.label, minlength=len(predictions.classes)).tolist()
    tree: dict[str, Any] = {"n": len(predictions)}
    per_class: dict[str, Any] = {name: {"n": n} for name, n in zip(predictions.classes, counts, strict=True)}
    for name, value in values.items():
        metric, _, of_class = name.partition("/")
        place = per_class[of_class] if of_class else tree
        place[metric] = value
    confusion = confusion_matrix(predictions.label, predictions.prediction, len(predictions.classes))
    return {**tree, "per_class": per_class, "confusion_matrix": confusion.tolist()}
