"""Intervals from a bootstrap over patient families, stratified by class.

``resampling`` says how families are drawn, ``bounds`` how bounds are made of a standard error: a score interval for
shares (``bounds.LIMITS``), Student's t for differences. Other metrics, the logarithmic score among them, have the
percentiles of the replicates, expanded for few families.

Limits: of 1,000 simulated tables of clustered slices each (``benchmarks/interval_coverage.py``; Monte-Carlo error .7),
a nominal 95 % held the truth so often; in brackets with families as uneven in size as those of the Figshare set:

    families in a class                    60-70         30-35         12-15 (one fold of the Figshare set)
    balanced accuracy, correlation .2      93.9 (93.9)   94.8 (95.0)   94.2 (93.9)
    balanced accuracy, correlation .29     94.8 (94.3)   95.1 (94.7)   94.5 (93.9)
    its paired difference, .2              94.8 (95.7)   94.8 (94.8)   94.2 (96.0)
    its paired difference, .29             94.5 (96.0)   94.0 (93.5)   93.2 (93.2)

The sensitivity of one class was held by 92.5 to 95.3 % with 30 families or more, and by 91.8 to 97.5 % with 12 to 15;
its paired difference by 91.4 to 99.6 %, most above 95 where hardly any family tells the networks apart. The logarithmic
score at 12-15 families was held by 89 to 93 %, the area under the ROC curve of one class by 90 to 94 % (500 tables).
Where every slice is right, each family counts as one right observation; a difference of 0 everywhere has no width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.evaluation.bounds import (
    ZERO,
    Bounds,
    effective_number,
    is_difference,
    limits_of,
    score_bounds,
    spread_of,
    student_bounds,
)
from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.pairing import aligned
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import (
    NUDGE,
    Resampling,
    expanded_tail,
    family_classes,
    family_weights,
    probe_weights,
)
from kdmri_monai.evaluation.statistic import Statistic, Values, decision_statistic

Array = NDArray[np.float64]

CHUNK = 1_000_000
"""Replicates times rows that are weighed at once: 8 MB an array."""


@dataclass(frozen=True)
class Interval:
    """A metric, or a difference of two, with its interval.

    Attributes:
        estimate: Value on the table itself.
        low: Lower bound; NaN where the metric is not defined, where no class that it is made of has two families, and
            for a single replicate.
        high: Upper bound; NaN as ``low``.
        level: Nominal coverage, 0..1.
        replicates: Number of bootstrap replicates.
        groups: Number of families in the table.
    """

    estimate: float
    low: float
    high: float
    level: float
    replicates: int
    groups: int


def bootstrap(
    predictions: Predictions, statistic: Statistic | None = None, resampling: Resampling | None = None
) -> dict[str, Interval]:
    """Every metric of a table with its interval.

    Args:
        predictions: One row a slice or a patient.
        statistic: What is computed; metrics of the decided classes (``decision_statistic``) by default.
        resampling: How; 2,000 replicates, 95 %, seed 0 by default.

    Returns:
        Interval by name of the metric.
    """
    resampling, stratum = resampling or Resampling(), family_classes(predictions)
    weights = _weights(stratum, resampling)
    values = _weighed(statistic or decision_statistic(predictions), weights, len(predictions))
    return _intervals(values, stratum, resampling, _bounds)


def paired_bootstrap(
    candidate: Predictions, reference: Predictions, resampling: Resampling | None = None
) -> dict[str, Interval]:
    """Differences of the metrics of decided classes, candidate minus reference, over the same slices.

    Both tables are weighed alike in every replicate, so what a hard patient does to both cancels.

    Args:
        candidate: Table of one network.
        reference: Table of another over the same ids; their order does not matter.
        resampling: As in ``bootstrap``.

    Returns:
        Interval of the difference by name of the metric.

    Raises:
        ComparisonError: The tables differ in classes, ids, labels, patients or families; it names them.
    """
    candidate, resampling = aligned(candidate, reference), resampling or Resampling()
    stratum = family_classes(reference)
    weights = _weights(stratum, resampling)
    new, old = _averaged([candidate], weights), _averaged([reference], weights)
    return _intervals({name: new[name] - old[name] for name in new}, stratum, resampling, _bounds_of_difference)


def seed_averaged(
    candidates: Sequence[Predictions], references: Sequence[Predictions] = (), resampling: Resampling | None = None
) -> dict[str, Interval]:
    """Metrics of decided classes averaged over runs of several seeds, or their difference to another arm's average.

    Every table is weighed alike in every replicate. The interval is that of other patients for these trained networks;
    how much another seed would change is seen from the runs themselves.

    Args:
        candidates: Tables of one arm, one a seed, over the same ids.
        references: Tables of another arm over the same ids; without them the average itself is given.
        resampling: As in ``bootstrap``.

    Returns:
        Interval by name of the metric.

    Raises:
        ComparisonError: No table, or tables that differ in classes, ids, labels, patients or families.
    """
    if not candidates:
        raise ComparisonError("no tables to average")
    first, resampling = candidates[0], resampling or Resampling()
    stratum = family_classes(first)
    weights = _weights(stratum, resampling)
    own = _averaged([aligned(table, first) for table in candidates], weights)
    if not references:
        return _intervals(own, stratum, resampling, _bounds)
    other = _averaged([aligned(table, first) for table in references], weights)
    return _intervals({name: own[name] - other[name] for name in own}, stratum, resampling, _bounds_of_difference)


@dataclass(frozen=True)
class _Sample:
    """A metric as it is, its change with the weight of each family, its value for each class alone, its replicates."""

    estimate: float
    influence: Array
    alone: Array
    replicates: Array

    @property
    def error(self) -> float:
        """Standard error, without what is too little for so few families."""
        return float(self.replicates.std(ddof=1))


_Find = Callable[[str, _Sample, NDArray[np.int64], float], Bounds]


def _weights(stratum: NDArray[np.int64], resampling: Resampling) -> Array:
    return np.concatenate((probe_weights(stratum), family_weights(stratum, resampling).astype(np.float64)))


def _weighed(statistic: Statistic, weights: Array, rows: int) -> Values:
    size = max(1, CHUNK // rows)
    parts = [statistic(weights[start : start + size]) for start in range(0, len(weights), size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _averaged(tables: Sequence[Predictions], weights: Array) -> Values:
    values = [_weighed(decision_statistic(table), weights, len(table)) for table in tables]
    return {name: np.mean([value[name] for value in values], axis=0) for name in values[0]}


def _intervals(values: Values, stratum: NDArray[np.int64], resampling: Resampling, find: _Find) -> dict[str, Interval]:
    groups, strata = len(stratum), len(np.unique(stratum))
    intervals = {}
    for name, value in values.items():
        whole, nudged, alone, replicates = np.split(value, np.cumsum((1, groups, strata)))
        sample = _Sample(float(whole[0]), (nudged - whole) / NUDGE, alone, replicates)
        defined = groups > strata and len(replicates) > 1 and not np.isnan(replicates).any()
        low, high = find(name, sample, stratum, resampling.level) if defined else (np.nan, np.nan)
        parameters = resampling.level, resampling.replicates, groups
        intervals[name] = Interval(sample.estimate, float(low), float(high), *parameters)
    return intervals


def _bounds_of_difference(name: str, sample: _Sample, stratum: NDArray[np.int64], level: float) -> Bounds:
    if sample.error <= ZERO:
        return _bounds_without_error(sample, stratum, level, None)
    spread = spread_of(sample.influence, stratum)
    return student_bounds(sample.estimate, sample.error * spread.correction, spread.degrees, level)


def _bounds(name: str, sample: _Sample, stratum: NDArray[np.int64], level: float) -> Bounds:
    limits = limits_of(name)
    if is_difference(name):
        return _bounds_of_difference(name, sample, stratum, level)
    if limits is None:
        tail = expanded_tail(level, len(stratum), len(np.unique(stratum)))
        low, high = np.quantile(sample.replicates, (tail, 1 - tail))
        return float(low), float(high)
    if sample.error <= ZERO:
        return _bounds_without_error(sample, stratum, level, limits)
    if min(sample.estimate - limits[0], limits[1] - sample.estimate) <= ZERO:
        return _bounds_at_limit(sample, stratum, level, limits)
    spread = spread_of(sample.influence, stratum)
    effective = effective_number(sample.estimate, sample.error * spread.correction, limits)
    return score_bounds(sample.estimate, effective, spread.observed, level, limits)


def _bounds_at_limit(sample: _Sample, stratum: NDArray[np.int64], level: float, limits: Bounds) -> Bounds:
    """At a limit that some replicates leave: as without error, or as far as the replicates go where that is further."""
    low, high = _bounds_without_error(sample, stratum, level, limits)
    tail = expanded_tail(level, len(stratum), len(np.unique(stratum)))
    least, most = np.quantile(sample.replicates, (tail, 1 - tail))
    return float(np.fmin(low, least)), float(np.fmax(high, most))


def _bounds_without_error(sample: _Sample, stratum: NDArray[np.int64], level: float, limits: Bounds | None) -> Bounds:
    """Every family of the classes that the metric is made of counts as one observation; a difference stays as it is.

    So where every class is right or wrong as a whole: its families do not differ, but others might.
    """
    alone = ~np.isnan(sample.alone)
    made_of = stratum[np.isin(stratum, np.unique(stratum)[alone])] if alone.any() else stratum
    degrees = spread_of(np.zeros(len(made_of)), made_of).degrees
    if not degrees:
        return np.nan, np.nan
    if limits is None:
        return sample.estimate, sample.estimate
    return score_bounds(sample.estimate, len(made_of), degrees, level, limits)
