"""DeLong's test of two correlated areas under the ROC curve, one class against the others, on the same patients.

Sources: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
characteristic curves: a nonparametric approach", Biometrics 1988 (structural components, equations 4 to 6); Sun and Xu,
"Fast implementation of DeLong's algorithm for comparing the areas under correlated receiver operating characteristic
curves", IEEE Signal Processing Letters 2014 (components from midranks, equations 5 and 8 to 11).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.independent_rows import check_independent
from kdmri_monai.evaluation.pairing import aligned
from kdmri_monai.evaluation.predictions import Predictions

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DeLong:
    """Difference of two areas, candidate minus reference.

    Attributes:
        candidate: Area of the candidate, 0..1.
        reference: Area of the reference.
        difference: Candidate minus reference.
        standard_error: Of the difference.
        low: Lower bound of the difference, by the normal distribution.
        high: Upper bound.
        level: Nominal coverage of the bounds, 0..1.
        p: Two-sided p-value of no difference; 1 where both rank alike, NaN where they differ without variance.
    """

    candidate: float
    reference: float
    difference: float
    standard_error: float
    low: float
    high: float
    level: float
    p: float


def delong(candidate: Predictions, reference: Predictions, name: str, level: float = 0.95) -> DeLong:
    """Tests the areas of one class against the others.

    Args:
        candidate: Table with one row a patient, and no two patients of a family (see ``by_family``).
        reference: Table over the same ids; their order does not matter.
        name: The class.
        level: Nominal coverage of the bounds, above 0 and below 1.

    Raises:
        ComparisonError: Several rows of a patient or a family; tables that differ in classes, ids, labels, patients or
            families; fewer than two patients of the class, or of the others.
        ValueError: An unknown class, or ``level`` is out of range.
    """
    if name not in reference.classes:
        raise ValueError(f"class is {name!r}, allowed are {', '.join(reference.classes)}")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, allowed is above 0 and below 1")
    candidate = aligned(candidate, reference)
    check_independent(reference, "DeLong's test")
    k = reference.classes.index(name)
    positive = reference.label == k
    if min(positive.sum(), (~positive).sum()) < 2:
        raise ComparisonError(f"{positive.sum()} of {len(positive)} patients have {name}; two with and two without it")
    areas, covariance = correlated_areas(positive, np.stack([t.probabilities[:, k] for t in (candidate, reference)]))
    difference = float(areas[0] - areas[1])
    error = float(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0)))
    reach = float(ndtri((1 + level) / 2)) * error
    return DeLong(
        float(areas[0]), float(areas[1]), difference, error, difference - reach, difference + reach, level,
        _p_value(difference, error),
    )  # fmt: skip


def correlated_areas(positive: NDArray[np.bool_], scores: Array) -> tuple[Array, Array]:
    """Areas under the ROC curves of several scores of the same rows, and their covariance.

    Args:
        positive: Whether a row is of the class, shape ``(N,)``; two of both kinds at least.
        scores: Scores, larger for the class, shape ``(M, N)``.

    Returns:
        Areas, shape ``(M,)``; covariance, shape ``(M, M)``.
    """
    above, below = scores[:, positive], scores[:, ~positive]
    m, n = above.shape[1], below.shape[1]
    among_all = rankdata(scores, axis=1)  # midranks
    of_positives = (among_all[:, positive] - rankdata(above, axis=1)) / n
    of_negatives = 1 - (among_all[:, ~positive] - rankdata(below, axis=1)) / m
    covariance = np.cov(of_positives) / m + np.cov(of_negatives) / n
    return of_positives.mean(axis=1), np.atleast_2d(covariance)


def _p_value(difference: float, error: float) -> float:
    if error > np.finfo(np.float64).eps:
        return float(2 * ndtr(-abs(difference) / error))
    return 1.0 if abs(difference) <= np.finfo(np.float64).eps else float("nan")
