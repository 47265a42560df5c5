"""Metrics of ranking by a class's probability: area under the ROC curve and average precision.

They are computed for many weightings of the same rows at once, which is what a bootstrap needs: the rows are sorted
once, equal scores are merged, and every weighting costs a cumulated sum. One row of weights 1 gives
``sklearn.metrics.roc_auc_score`` and ``average_precision_score``.
"""

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.evaluation.metrics import ratio

Sums = tuple[NDArray[np.float64], NDArray[np.float64]]


def rank_sums(positive: NDArray[np.bool_], score: NDArray[np.float64], weights: NDArray[np.float64]) -> Sums:
    """Weight of positives and of negatives at every different score, ascending.

    Args:
        positive: Whether a row is of the class, shape ``(N,)``.
        score: Probability of the class, shape ``(N,)``.
        weights: Non-negative weight of every row in each of R weightings, shape ``(R, N)``.

    Returns:
        Two arrays of shape ``(R, U)``, U the number of different scores.
    """
    order = np.argsort(score, kind="stable")
    ascending = score[order]
    start = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]])
    weights = weights[:, order]
    every = np.add.reduceat(weights, start, axis=1)
    positives = np.add.reduceat(weights * positive[order], start, axis=1)
    return positives, every - positives


def auroc(sums: Sums) -> NDArray[np.float64]:
    """Area under the ROC curve, ties counted half, shape ``(R,)``; NaN without positives or without negatives.

    Source: the Mann-Whitney form; Hanley and McNeil, Radiology 1982.
    """
    positives, negatives = sums
    below = np.cumsum(negatives, axis=1) - negatives / 2
    return ratio((positives * below).sum(1), positives.sum(1) * negatives.sum(1))


def average_precision(sums: Sums) -> NDArray[np.float64]:
    """Area under the precision-recall curve by steps, shape ``(R,)``; NaN without positives.

    The sum of precision times the gain in recall, without interpolation, as in scikit-learn.
    """
    positives, negatives = (part[:, ::-1] for part in sums)
    found = np.cumsum(positives, axis=1)
    taken = found + np.cumsum(negatives, axis=1)
    precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
    return ratio((precision * positives).sum(1), positives.sum(1))
