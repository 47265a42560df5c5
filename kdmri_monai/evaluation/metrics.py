"""Metrics of decided classes, as functions of confusion matrices.

Every function takes a matrix of shape ``(..., K, K)``, true class by row and predicted class by column, of counts
or of non-negative weights, so that one call serves a table and two thousand bootstrap replicates of it. What is
not defined is NaN, without a warning: everything of a class that is absent in the labels, a specificity without
other classes, a precision without predictions. Means over classes are over the classes that are present in the
labels, as in ``sklearn.metrics.balanced_accuracy_score``.
"""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.number]


def confusion_matrix(label: NDArray[np.int64], prediction: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Counts of true class (row) and predicted class (column).

    Args:
        label: True classes 0..K-1, shape ``(N,)``.
        prediction: Predicted classes 0..K-1, shape ``(N,)``.
        classes: K.

    Returns:
        Counts, shape ``(K, K)``.

    Raises:
        ValueError: Sizes differ, or a class is outside 0..K-1.
    """
    if label.shape != prediction.shape or label.ndim != 1:
        raise ValueError(f"labels have shape {label.shape} and predictions {prediction.shape}, expected two of (N,)")
    for name, values in (("label", label), ("prediction", prediction)):
        if values.size and (values.min() < 0 or values.max() >= classes):
            raise ValueError(f"{name} {values.min()}..{values.max()} is outside 0..{classes - 1}")
    return np.bincount(label * classes + prediction, minlength=classes**2).reshape(classes, classes)


def accuracy(confusion: Matrix) -> NDArray[np.float64]:
    """Share of right decisions, shape ``(...,)``."""
    return ratio(_hits(confusion).sum(-1), confusion.sum((-2, -1)))


def sensitivity(confusion: Matrix) -> NDArray[np.float64]:
    """Share of a class that is found (recall), shape ``(..., K)``."""
    return ratio(_hits(confusion), confusion.sum(-1))


def specificity(confusion: Matrix) -> NDArray[np.float64]:
    """Share of the other classes that is not taken for a class, shape ``(..., K)``."""
    others = confusion.sum((-2, -1))[..., None] - confusion.sum(-1)
    false_positive = confusion.sum(-2) - _hits(confusion)
    return ratio(others - false_positive, others)


def precision(confusion: Matrix) -> NDArray[np.float64]:
    """Share of the decisions for a class that is right, shape ``(..., K)``."""
    return np.where(confusion.sum(-1) > 0, ratio(_hits(confusion), confusion.sum(-2)), np.nan)


def f1(confusion: Matrix) -> NDArray[np.float64]:
    """F1 of every class, ``2 TP / (2 TP + FP + FN)``, shape ``(..., K)``; 0 for a class that is never found."""
    score = ratio(2 * _hits(confusion), confusion.sum(-1) + confusion.sum(-2))
    return np.where(confusion.sum(-1) > 0, score, np.nan)


def balanced_accuracy(confusion: Matrix) -> NDArray[np.float64]:
    """Mean sensitivity of the classes that are present, shape ``(...,)``."""
    return mean_of_defined(sensitivity(confusion))


def macro_f1(confusion: Matrix) -> NDArray[np.float64]:
    """Mean F1 of the classes that are present, shape ``(...,)``."""
    return mean_of_defined(f1(confusion))


def mcc(confusion: Matrix) -> NDArray[np.float64]:
    """Matthews correlation of K classes, shape ``(...,)``.

    0 where all labels, or all predictions, are one class, as in ``sklearn.metrics.matthews_corrcoef``.

    Source: Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient",
        Computational Biology and Chemistry 2004, equation 8.
    """
    true, predicted = confusion.sum(-1).astype(np.float64), confusion.sum(-2).astype(np.float64)
    total = true.sum(-1)
    covariance = _hits(confusion).sum(-1) * total - (true * predicted).sum(-1)
    spread = (total**2 - (true**2).sum(-1)) * (total**2 - (predicted**2).sum(-1))
    return np.where(spread > 0, ratio(covariance, np.sqrt(np.maximum(spread, 0))), 0.0)


def ratio(part: Matrix, whole: Matrix) -> NDArray[np.float64]:
    """``part / whole``, NaN where ``whole`` is 0; without a warning."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis of what is not NaN, NaN where nothing is; without a warning."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1))


def _hits(confusion: Matrix) -> Matrix:
    return np.diagonal(confusion, axis1=-2, axis2=-1)
