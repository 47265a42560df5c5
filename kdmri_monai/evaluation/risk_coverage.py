"""Risk and coverage: how often a network is wrong where it decides only what it is surest of.

Confidence is the probability of the decided class. Slices of equal confidence are taken in random order and the
expectation over it is given, so neither the order of a file nor a saturated softmax matters.

Sources: Geifman and El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017, section 2 (risk,
coverage, the softmax response); Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation for deep neural
classifiers", ICLR 2019 (area and excess area). Differs: the least area is the exact one of so many slices,
not its limit ``r + (1 - r) ln(1 - r)`` for infinitely many.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import psi

from kdmri_monai.evaluation.intervals import Interval, bootstrap
from kdmri_monai.evaluation.metrics import ratio
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.ranking import Sums, rank_sums
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.statistic import Statistic, Values

COVERAGES = (0.5, 0.7, 0.8, 0.9, 1.0)
GRID = tuple(number / 100 for number in range(5, 101))
"""Coverages of the curve; below 5 % the risk is that of a handful of slices."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RiskCoverage:
    """Risk over coverage of one table.

    Attributes:
        slices: Number of slices.
        coverage: Shares of the slices that are decided, ascending.
        risk: Share of wrong decisions among them, an interval for each (pointwise).
        aurc: Area under the curve, the mean risk of the 1, 2, .. N surest slices.
        excess_aurc: What the area exceeds that of a network by, which errs as often and is least sure of its errors.
        accuracy: Share of right decisions by coverage.
    """

    slices: int
    coverage: tuple[float, ...]
    risk: tuple[Interval, ...]
    aurc: Interval
    excess_aurc: Interval
    accuracy: dict[float, Interval]


def risk_coverage(
    predictions: Predictions,
    coverages: Sequence[float] = COVERAGES,
    grid: Sequence[float] = GRID,
    resampling: Resampling | None = None,
) -> RiskCoverage:
    """The curve, its area, and the accuracy at some coverages, with intervals over patient families.

    Args:
        predictions: One row a slice or a patient.
        coverages: Where the accuracy is given, above 0, at most 1.
        grid: Where the curve is given, the same.
        resampling: How the intervals are found; 2,000 replicates, 95 %, seed 0 by default. In every replicate, the
            coverage is that of its own slices.

    Raises:
        ValueError: A coverage out of range.
    """
    places = tuple(dict.fromkeys((*grid, *coverages)))
    found = bootstrap(predictions, coverage_statistic(predictions, places), resampling)
    return RiskCoverage(
        slices=len(predictions),
        coverage=tuple(grid),
        risk=tuple(found[f"risk/{place}"] for place in grid),
        aurc=found["aurc"],
        excess_aurc=found["excess_aurc"],
        accuracy={place: found[f"accuracy/{place}"] for place in coverages},
    )


def coverage_statistic(predictions: Predictions, coverages: Sequence[float] = COVERAGES) -> Statistic:
    """Areas, risks and accuracies as functions of how often every family counts.

    Args:
        predictions: One row a slice or a patient.
        coverages: Shares of the slices, above 0, at most 1. Where a share is no whole number of slices, a part of the
            next one counts.

    Returns:
        ``aurc``, ``excess_aurc``, and ``risk/0.5`` and ``accuracy/0.5`` for every coverage.

    Raises:
        ValueError: A coverage out of range.
    """
    outside = [coverage for coverage in coverages if not 0 < coverage <= 1]
    if outside:
        raise ValueError(f"coverage is {outside[0]}, allowed is above 0 and at most 1")
    _, family = np.unique(predictions.family, return_inverse=True)
    wrong = predictions.prediction != predictions.label
    confidence = predictions.probabilities.max(axis=1)

    def statistic(weights: Array) -> Values:
        sums = rank_sums(wrong, confidence, weights[:, family])
        area = areas(sums)
        values = {"aurc": area, "excess_aurc": area - least_areas(sums)}
        for coverage, risk in zip(coverages, risks(sums, coverages).T, strict=True):
            values |= {f"risk/{coverage}": risk, f"accuracy/{coverage}": 1 - risk}
        return values

    return statistic


def areas(sums: Sums) -> Array:
    """Mean over k of the expected risk of the k surest slices, shape ``(R,)``.

    Among slices of equal confidence, W of them with E errors behind w surer ones with e errors, the j-th brings the
    expected errors to ``e + j E / W``; the sum over j of that over ``w + j`` is a difference of harmonic numbers.

    Args:
        sums: Number of errors and of right decisions at every confidence, ascending, ``(R, U)`` each.
    """
    errors, count = sums[0][:, ::-1], (sums[0] + sums[1])[:, ::-1]
    surer, surer_errors = np.cumsum(count, axis=1) - count, np.cumsum(errors, axis=1) - errors
    share = np.divide(errors, count, out=np.zeros_like(errors), where=count > 0)
    inverse = _inverse_sum(surer, surer + count)
    return ratio((surer_errors * inverse + share * (count - surer * inverse)).sum(axis=1), count.sum(axis=1))


def least_areas(sums: Sums) -> Array:
    """The smallest area with so many errors, shape ``(R,)``: all errors come last.

    Args:
        sums: As for ``areas``.
    """
    errors, right = (part.sum(axis=1) for part in sums)
    return ratio(errors - right * _inverse_sum(right, right + errors), right + errors)


def risks(sums: Sums, coverages: Sequence[float]) -> Array:
    """Expected share of errors among the surest slices, shape ``(R, len(coverages))``.

    Args:
        sums: As for ``areas``.
        coverages: Shares of the slices, above 0, at most 1.
    """
    none = np.zeros((len(sums[0]), 1))
    errors = np.hstack((none, np.cumsum(sums[0][:, ::-1], axis=1)))
    count = np.hstack((none, np.cumsum((sums[0] + sums[1])[:, ::-1], axis=1)))
    taken = count[:, -1:] * np.asarray(coverages, dtype=np.float64)
    expected = [np.interp(*row) for row in zip(taken, count, errors, strict=True)]
    return ratio(np.stack(expected), taken)


def _inverse_sum(start: Array, end: Array) -> Array:
    """``1 / (start + 1) + .. + 1 / end`` for whole numbers, smooth between them."""
    return psi(end + 1) - psi(start + 1)
