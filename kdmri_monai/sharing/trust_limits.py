"""Limits beyond which a number is odd, found so that slices of new patients are seldom called odd.

Slices of a patient are alike, and some families have many: every family counts the same, its slices share its weight.
With G families a quantile is of G things, not of so many slices: with fewer than 100 the 99 % limit is little
more than the largest value, and the 5 % beyond the 95 % limit are an expectation with a wide spread.

Source: Dunn, Wasserman and Ramdas, "Distribution-free prediction sets for two-layer hierarchical models", JASA 2023,
section 3 (pooled distribution functions). Differs: their mass of 1 / (G + 1) at infinity is left out, with which no
limit above G / (G + 1) would be finite.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.risk_coverage import risk_coverage

Array = NDArray[np.float64]

INNER = (0.005, 0.995)
"""Quantiles of the training slices between which a trait is usual."""

RISK = 0.05
"""Share of wrong decisions that is allowed among those that are made."""


def family_weights(family: Sequence[str] | NDArray[np.str_]) -> Array:
    """Weight of every slice, all of a family together 1 / G, shape ``(N,)``."""
    families, place = np.unique(np.asarray(family), return_inverse=True)
    count = np.bincount(place).astype(np.float64)
    weights: Array = 1.0 / (len(families) * count[place])
    return weights


def weighted_quantile(values: Array, weights: Array, share: float) -> float:
    """The smallest value that slices of at least this share of the weight do not exceed.

    Args:
        values: Shape ``(N,)``.
        weights: Not negative, of sum 1, shape ``(N,)``.
        share: 0..1.

    Raises:
        ValueError: No values, or another share.
    """
    if not len(values) or not 0 <= share <= 1:
        raise ValueError(f"{len(values)} values and a share of {share}: at least one value and 0..1 are needed")
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][min(int(np.searchsorted(reached, share - 1e-9)), len(values) - 1)])


@dataclass(frozen=True)
class Usual:
    """Between what a number usually lies.

    Attributes:
        low: What only few training slices fall below.
        high: What only few training slices exceed.
        least: Below it a number is odd.
        most: Above it a number is odd.
    """

    low: float
    high: float
    least: float
    most: float

    def excess(self, value: float) -> float:
        """By how much a value is odd, in widths of what is not odd; at most 0 where it is not."""
        return max(self.least - value, value - self.most) / max(self.most - self.least, 1e-9)


def usual_ranges(
    training: Mapping[str, Array],
    training_weights: Array,
    validation: Mapping[str, Array],
    validation_weights: Array,
    narrowest: Mapping[str, float],
    share: float = 0.98,
) -> dict[str, Usual]:
    """Ranges of several numbers, widened alike until this share of the validation slices lies in all of them.

    Args:
        training: Values by name, shape ``(N,)`` each.
        training_weights: Shape ``(N,)``.
        validation: Values of the same names, shape ``(M,)`` each.
        validation_weights: Shape ``(M,)``.
        narrowest: Width by name below which a difference says nothing.
        share: Of the validation slices, by weight.
    """
    inner = {
        name: tuple(weighted_quantile(values, training_weights, share) for share in INNER)
        for name, values in training.items()
    }
    width = {name: max(high - low, narrowest[name]) for name, (low, high) in inner.items()}
    excess = [
        np.maximum(inner[name][0] - values, values - inner[name][1]) / width[name]
        for name, values in validation.items()
    ]
    margin = max(0.0, weighted_quantile(np.max(excess, axis=0), validation_weights, share))
    return {
        name: Usual(low, high, low - margin * width[name], high + margin * width[name])
        for name, (low, high) in inner.items()
    }


@dataclass(frozen=True)
class ConfidenceLimit:
    """From which calibrated probability a decision is made.

    Attributes:
        least: Probability below which none is.
        target: Share of wrong decisions that was allowed.
        risk: Share of the validation slices decided that is wrong.
        risk_low: Lower bound of its 95 % interval over families; ``None`` where too few families give none.
        risk_high: Upper bound.
        coverage: Share of the validation slices that is decided.
    """

    least: float
    target: float
    risk: float
    risk_low: float | None
    risk_high: float | None
    coverage: float


def confidence_limit(validation: Predictions, target: float = RISK) -> ConfidenceLimit | None:
    """The limit that decides as many validation slices as this risk allows.

    Source: Geifman and El-Yaniv, NeurIPS 2017, section 3; of the curve of ``risk_coverage``, by slice.
    Differs: the risk that was found is held to the target, not a bound of it, which so few families would not allow.

    Args:
        validation: Calibrated probabilities, one row a slice.
        target: Share of wrong decisions, above 0 and below 1.

    Returns:
        ``None`` where even the surest slices are wrong more often.
    """
    curve = risk_coverage(validation)
    fitting = [place for place, risk in enumerate(curve.risk) if risk.estimate <= target]
    if not fitting:
        return None
    place = fitting[-1]
    confidence = np.sort(validation.probabilities.max(axis=1))[::-1]
    decided = max(1, round(curve.coverage[place] * len(confidence)))
    risk = curve.risk[place]
    low, high = (None if np.isnan(bound) else float(bound) for bound in (risk.low, risk.high))
    return ConfidenceLimit(
        float(confidence[decided - 1]), target, float(risk.estimate), low, high, curve.coverage[place]
    )
