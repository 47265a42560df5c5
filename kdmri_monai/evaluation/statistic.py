"""Metrics of a predictions table as functions of how often every patient family counts.

A bootstrap replicate is a weight for every family. What a metric needs of a family is summed once (the confusion
matrix, the summed log loss), or the rows are sorted once (areas under curves); a thousand replicates are then one
matrix product. One row of weights 1 gives the metric itself, so an estimate and its interval share one definition.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.evaluation import metrics
from kdmri_monai.evaluation.calibration import brier_scores, log_losses
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.ranking import auroc, average_precision, rank_sums

Values = dict[str, NDArray[np.float64]]
"""Metric by name, each of shape ``(R,)``; a metric of one class is named ``sensitivity/glioma``."""

Statistic = Callable[[NDArray[np.float64]], Values]
"""Weights of the families in sorted order, shape ``(R, G)``, to values."""


def decision_statistic(predictions: Predictions) -> Statistic:
    """Metrics of the decided classes.

    Args:
        predictions: One row a slice or a patient.

    Returns:
        accuracy, balanced_accuracy, macro_f1, mcc; sensitivity, specificity, precision and f1 of every class.
    """
    table = family_confusions(predictions)
    by_family = table.reshape(len(table), -1)

    def statistic(weights: NDArray[np.float64]) -> Values:
        confusion = (weights @ by_family).reshape(len(weights), *table.shape[1:])
        return decision_values(confusion, predictions.classes)

    return statistic


def family_confusions(predictions: Predictions) -> NDArray[np.float64]:
    """Confusion matrix of every family in sorted order, true class by row, shape ``(G, K, K)``."""
    classes = len(predictions.classes)
    families, family = np.unique(predictions.family, return_inverse=True)
    cell = predictions.label * classes + predictions.prediction
    table = np.bincount(family * classes**2 + cell, minlength=len(families) * classes**2)
    return table.reshape(len(families), classes, classes).astype(np.float64)


def decision_values(confusion: NDArray[np.float64], classes: tuple[str, ...]) -> Values:
    """Metrics of the decided classes, by the names of ``decision_statistic``.

    Args:
        confusion: Counts or weights, true class by row, shape ``(R, K, K)``.
        classes: Names of the K classes.
    """
    overall = (metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1, metrics.mcc)
    of_class = (metrics.sensitivity, metrics.specificity, metrics.precision, metrics.f1)
    values = {metric.__name__: metric(confusion) for metric in overall}
    for metric in of_class:
        by_class = metric(confusion)
        values |= {f"{metric.__name__}/{name}": by_class[:, k] for k, name in enumerate(classes)}
    return values


def probability_statistic(predictions: Predictions) -> Statistic:
    """Metrics of the probabilities.

    Args:
        predictions: One row a slice or a patient.

    Returns:
        nll, brier, macro_auroc (the mean over the classes for which there is one); auroc and auprc of every
        class against the others.
    """
    _, family = np.unique(predictions.family, return_inverse=True)
    scores = (log_losses, brier_scores)
    sums = [np.bincount(family, weights=score(predictions.label, predictions.probabilities)) for score in scores]
    rows = np.bincount(family).astype(np.float64)

    def statistic(weights: NDArray[np.float64]) -> Values:
        total = weights @ rows
        values = {name: metrics.ratio(weights @ part, total) for name, part in zip(("nll", "brier"), sums, strict=True)}
        by_row = weights[:, family]
        for k, name in enumerate(predictions.classes):
            ranked = rank_sums(predictions.label == k, predictions.probabilities[:, k], by_row)
            values |= {f"auroc/{name}": auroc(ranked), f"auprc/{name}": average_precision(ranked)}
        areas = np.stack([values[f"auroc/{name}"] for name in predictions.classes], axis=1)
        return values | {"macro_auroc": metrics.mean_of_defined(areas)}

    return statistic


def every_statistic(predictions: Predictions) -> Statistic:
    """What ``decision_statistic`` and ``probability_statistic`` give, together."""
    decisions, probabilities = decision_statistic(predictions), probability_statistic(predictions)
    return lambda weights: decisions(weights) | probabilities(weights)


def estimates(predictions: Predictions, statistic: Statistic) -> dict[str, float]:
    """The metrics of the table itself: every family counts once."""
    families = len(np.unique(predictions.family))
    return {name: float(value[0]) for name, value in statistic(np.ones((1, families))).items()}
