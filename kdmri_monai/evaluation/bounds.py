"""Bounds of a metric from its standard error over patient families.

Few families err, and those that do err in many slices, so a standard error is itself uncertain and depends on the
metric: near 1 it is too small where the metric came out too high. Two things answer for this. Student's t takes its
degrees of freedom from how unevenly the families contribute to the variance. And for a metric between two limits the
bounds are those values from which the estimate is t standard errors away *as they would be there* (a score interval),
with the variance of a share of independent slices, of as many as give the standard error that was found.

Sources: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927 (score interval);
Korn and Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated from
survey data", Survey Methodology 1998, and Dean and Pagano, "Evaluating confidence interval methods for binomial
proportions in clustered surveys", Journal of Survey Statistics and Methodology 2015 (effective number); Satterthwaite,
"An approximate distribution of estimates of variance components", Biometrics 1946; Pan and Wall, "Small-sample
adjustments in using the sandwich variance estimator in generalized estimating equations", Statistics in Medicine 2002
(degrees of freedom from the variance of the squared influences).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Bounds = tuple[float, float]

ZERO = 1e-9
"""Standard errors and distances from a limit below it are rounding."""

SHARES = (
    *("accuracy", "balanced_accuracy", "macro_f1", "sensitivity", "specificity", "precision", "f1", "risk"),
    *("auroc", "macro_auroc", "auprc", "pointing_game", "peak_inside", "teacher", "student", "baseline"),
)
LIMITS = dict.fromkeys(SHARES, (0.0, 1.0)) | {"mcc": (-1.0, 1.0), "brier": (0.0, 2.0)}
"""Least and largest value of the metrics that have both and whose variance falls towards them, by name before ``/``."""

DIFFERENCES = ("gain", "gap", "difference")
"""Names, or parts of names beside ``/``, of differences between two networks."""


@dataclass(frozen=True)
class Spread:
    """How the variance of a metric comes about.

    Attributes:
        correction: Factor for the standard deviation of bootstrap replicates, which is too small with few families.
        degrees: Degrees of freedom of the standard error if the influences were normal.
        observed: The same from the influences as they are, at most ``degrees``; about 2 where one family does it all.
    """

    correction: float
    degrees: float
    observed: float


def limits_of(name: str) -> Bounds | None:
    """Least and largest value of the metric of this name; ``None`` where it has none that count."""
    return None if is_difference(name) else LIMITS.get(name.partition("/")[0])


def is_difference(name: str) -> bool:
    """Whether the metric of this name is a difference between two networks."""
    return any(part in DIFFERENCES for part in name.split("/"))


def spread_of(influence: NDArray[np.float64], stratum: NDArray[np.int64]) -> Spread:
    """Spread of a metric over families that were drawn within classes.

    Args:
        influence: How much the metric changes with the weight of each family, shape ``(G,)``.
        stratum: Class of every family, shape ``(G,)``.

    Returns:
        Correction and degrees of freedom; where no family has an influence, as if all had the same. Classes of one
        family tell nothing; the degrees are 0 where there are no others.
    """
    parts = [influence[stratum == k] for k in np.unique(stratum)]
    parts = [part - part.mean() for part in parts if len(part) > 1]
    families = np.array([len(part) for part in parts], dtype=np.float64)
    if not any((np.abs(part) > ZERO).any() for part in parts):
        free = float((families - 1).sum())
        return Spread(float(np.sqrt(families.sum() / free)) if free else 1.0, free, free)
    plain = np.array([np.square(part).sum() for part in parts])
    variance = plain * families / (families - 1)
    normal = 2 * variance**2 / (families - 1)
    uneven = np.array([np.square(part).var() for part in parts]) * families * (families / (families - 1)) ** 2
    total = variance.sum()
    degrees = 2 * total**2 / normal.sum(), 2 * total**2 / np.maximum(uneven, normal).sum()
    return Spread(float(np.sqrt(total / plain.sum())), *map(float, degrees))


def student_bounds(estimate: float, error: float, degrees: float, level: float) -> Bounds:
    """Estimate plus and minus t standard errors.

    Args:
        estimate: Value found.
        error: Its standard error.
        degrees: Degrees of freedom, above 0.
        level: Nominal coverage, above 0 and below 1.
    """
    reach = float(stdtrit(degrees, (1 + level) / 2)) * error
    return estimate - reach, estimate + reach


def score_bounds(estimate: float, effective: float, degrees: float, level: float, limits: Bounds = (0, 1)) -> Bounds:
    """Wilson's interval with Student's t, for a metric between two limits.

    Args:
        estimate: Value found, within ``limits``.
        effective: Number of independent observations that the estimate is worth, above 0.
        degrees: Degrees of freedom of their variance, above 0.
        level: Nominal coverage, above 0 and below 1.
        limits: Least and largest possible value.

    Returns:
        Bounds, within ``limits``.
    """
    least, width = limits[0], limits[1] - limits[0]
    share = (estimate - least) / width
    penalty = float(stdtrit(degrees, (1 + level) / 2)) ** 2 / effective
    centre = (share + penalty / 2) / (1 + penalty)
    reach = np.sqrt(penalty * share * (1 - share) + penalty**2 / 4) / (1 + penalty)
    return least + width * max(centre - reach, 0.0), least + width * min(centre + reach, 1.0)


def effective_number(estimate: float, error: float, limits: Bounds) -> float:
    """Number of independent observations of 0 or 1, stretched to the limits, whose mean has this standard error."""
    return (estimate - limits[0]) * (limits[1] - estimate) / error**2
