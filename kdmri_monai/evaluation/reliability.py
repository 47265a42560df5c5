"""Bins of a reliability diagram: how often a network is right where it says that it is this sure.

The interval of a bin's accuracy is Wilson's, for as many independent slices as the slices of a bin are worth: slices of
a family are right or wrong together. A bootstrap over families is no choice here. A bin holds few families, so some
replicates leave it empty, and a bin that is always right would have an interval without width. For 2,000 simulated bins
of 5 to 39 families, whose slices err together, a nominal 95 % covered the true share in 92-98 % of them; with the
number of slices in place of the effective one it did so in 72-79 %.

Sources: DeGroot and Fienberg, "The comparison and evaluation of forecasters", The Statistician 1983 (the diagram);
Guo et al., ICML 2017 (its bins); Nixon et al., "Measuring calibration in deep learning", CVPR workshops 2019 (bins of
equal count); Wilson, JASA 1927; Rao and Scott, "A simple method for the analysis of clustered binary data", Biometrics
1992 (effective number); Kish, "Survey Sampling", 1965 (its least value); Korn and Graubard, "Confidence intervals for
proportions with small expected number of positive counts estimated from survey data", Survey Methodology 1998 (t for
few families).
"""

from dataclasses import dataclass
from math import nan
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from kdmri_monai.evaluation.predictions import Predictions

Rule = Literal["width", "count"]
RULES: tuple[Rule, ...] = ("width", "count")


@dataclass(frozen=True)
class ReliabilityBins:
    """B bins by confidence, ascending; an empty bin has NaN. ``dataclasses.asdict`` of it can be written as JSON.

    Attributes:
        rule: ``width`` or ``count``.
        edges: Limits of the bins, B + 1; a bin is closed on the right.
        count: Slices of every bin.
        families: Patient families of every bin.
        confidence: Mean probability of the decided class.
        accuracy: Share of right decisions.
        low: Lower bound of the accuracy; NaN where there is a single family.
        high: Upper bound of the accuracy.
        level: Nominal coverage of the bounds, 0..1.
    """

    rule: Rule
    edges: tuple[float, ...]
    count: tuple[int, ...]
    families: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    level: float

    @property
    def error(self) -> float:
        """Expected calibration error, the mean over slices of ``|accuracy - confidence|`` of their bin."""
        gap = np.abs(np.array(self.accuracy) - np.array(self.confidence))
        return float(np.nansum(gap * self.count) / np.sum(self.count))


def reliability_bins(
    predictions: Predictions, bins: int = 15, rule: Rule = "width", level: float = 0.95
) -> ReliabilityBins:
    """Confidence and accuracy by bins of the confidence, the probability of the decided class.

    Args:
        predictions: One row a slice or a patient.
        bins: Number of bins, at least 1.
        rule: ``width``: equal widths over (0, 1], the bins of ``calibration.calibration_error``. ``count``: as equal
            numbers as equal confidences allow, which stay together; there may then be fewer bins.
        level: Nominal coverage of the bounds, above 0 and below 1.

    Returns:
        The bins.

    Raises:
        ValueError: ``bins`` is below 1, another rule, or a level out of range.
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}, at least 1 is needed")
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}, allowed are {', '.join(RULES)}")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, allowed is above 0 and below 1")
    confidence = predictions.probabilities.max(axis=1)
    right = predictions.prediction == predictions.label
    edges = np.linspace(0, 1, bins + 1) if rule == "width" else _even_edges(confidence, bins)
    place = np.digitize(confidence, edges[1:-1], right=True)
    rows = []
    for number in range(len(edges) - 1):
        inside = place == number
        rows.append(_bin(confidence[inside], right[inside], predictions.family[inside], level))
    count, families, mean, accuracy, low, high = zip(*rows, strict=True)
    return ReliabilityBins(rule, tuple(edges.tolist()), count, families, mean, accuracy, low, high, level)


def wilson(share: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share.

    Args:
        share: What was found, 0..1.
        n: Number of independent observations, above 0; it need not be whole.
        level: Nominal coverage, above 0 and below 1.
    """
    z = float(ndtri((1 + level) / 2))
    centre = share + z**2 / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)
    return max(0.0, float(low)), min(1.0, float(high))


def effective_number(right: NDArray[np.bool_], family: NDArray[np.str_]) -> float:
    """How many independent slices have a share of right ones that is as uncertain as that of these.

    The variance of the share by families, over that of independent slices, is the design effect by which their number
    is divided. The result is at most the number of slices, and at least Kish's ``N^2 / sum(n_f^2)``, the number where
    slices of a family are all alike; it is the latter where all slices are right, or none is, or one family has all.

    Args:
        right: Whether a slice is decided rightly, shape ``(N,)``, N at least 1.
        family: Its patient family, shape ``(N,)``.
    """
    _, row = np.unique(family, return_inverse=True)
    sizes, hits, n = np.bincount(row), np.bincount(row, weights=right), len(right)
    share, families = float(hits.sum()) / n, len(sizes)
    least = n**2 / float(np.square(sizes).sum())
    if families == 1 or share in (0.0, 1.0):
        return least
    variance = families / (families - 1) * float(np.square(hits - share * sizes).sum()) / n**2
    return float(np.clip(share * (1 - share) / variance, least, n)) if variance > 0 else float(n)


def _even_edges(confidence: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    quantiles = np.quantile(confidence, np.linspace(0, 1, bins + 1))
    return np.r_[quantiles[0], np.unique(quantiles[1:])]  # the first bin may hold the least confidence alone


def _bin(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], family: NDArray[np.str_], level: float
) -> tuple[int, int, float, float, float, float]:
    if not len(right):
        return 0, 0, nan, nan, nan, nan
    accuracy = float(right.mean())
    families, bounds = len(np.unique(family)), (nan, nan)
    if families > 1:
        few = float(ndtri((1 + level) / 2) / stdtrit(families - 1, (1 + level) / 2)) ** 2
        bounds = wilson(accuracy, effective_number(right, family) * few, level)
    return len(right), families, float(confidence.mean()), accuracy, *bounds
