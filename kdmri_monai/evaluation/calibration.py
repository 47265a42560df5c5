"""How far probabilities can be believed: logarithmic score, Brier score, calibration error."""

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.evaluation.predictions import FLOOR


def log_losses(label: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Negative log-probability of the true class, nats, shape ``(N,)``; probabilities below ``FLOOR`` count as it.

    Args:
        label: True classes 0..K-1, shape ``(N,)``.
        probabilities: Rows that sum to 1, shape ``(N, K)``.
    """
    return -np.log(np.maximum(probabilities[np.arange(len(label)), label], FLOOR))


def brier_scores(label: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distance to the true class, 0..2, shape ``(N,)``; the mean is the Brier score of K classes.

    Source: Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 1950.

    Args:
        label: True classes 0..K-1, shape ``(N,)``.
        probabilities: Rows that sum to 1, shape ``(N, K)``.
    """
    truth = np.arange(probabilities.shape[1]) == label[:, None]
    return np.square(probabilities - truth).sum(axis=1)


def calibration_error(label: NDArray[np.int64], probabilities: NDArray[np.float64], bins: int = 15) -> float:
    """Expected calibration error of the most probable class.

    Bin rule: ``bins`` of equal width over (0, 1], closed on the right; a bin counts by its share of the rows. It is
    biased upwards, the more so the fewer the rows; a resampled one is more biased still, so it has no interval here.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017, equation 3.

    Args:
        label: True classes 0..K-1, shape ``(N,)``.
        probabilities: Rows that sum to 1, shape ``(N, K)``.
        bins: Number of bins, at least 1.

    Raises:
        ValueError: ``bins`` is below 1.
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}, at least 1 is needed")
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == label
    place = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    gap = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(label))
