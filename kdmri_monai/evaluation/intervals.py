"""Intervals by a percentile bootstrap over patient families, stratified by class; ``resampling`` says how.

Limits: of 4,000 simulated tables of clustered slices, a nominal 95 % covered the true balanced accuracy so often, and
the sensitivity of one class in brackets; the families have correlations within them of .2, or of .29 at 85-95 % right:

    families in a class     60-70         30-35         12-15 (one fold of the Figshare set)
    correlation .2          94.3 (94.9)   94.2 (93.5)   93.2 (90.7)
    correlation .29         93.5 (92.9)   93.6 (92.1)   91.6 (88.3)

Where every slice of a class is right its interval has no width, though a further patient may be mistaken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.pairing import aligned
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling, expanded_tail, family_classes, family_weights
from kdmri_monai.evaluation.statistic import Statistic, Values, decision_statistic, estimates

CHUNK = 1_000_000
"""Replicates times rows that are weighed at once: 8 MB an array."""


@dataclass(frozen=True)
class Interval:
    """A metric, or a difference of two, with its interval.

    Attributes:
        estimate: Value on the table itself.
        low: Lower bound; NaN where the metric is not defined, or where no class has two families.
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
    statistic, resampling = statistic or decision_statistic(predictions), resampling or Resampling()
    stratum = family_classes(predictions)
    values = _replicate(statistic, family_weights(stratum, resampling), len(predictions))
    return _intervals(estimates(predictions, statistic), values, resampling, stratum)


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
    weights = family_weights(stratum, resampling)
    statistics = decision_statistic(candidate), decision_statistic(reference)
    new, old = (_replicate(statistic, weights, len(reference)) for statistic in statistics)
    now, before = (estimates(reference, statistic) for statistic in statistics)
    difference = {name: now[name] - before[name] for name in now}
    return _intervals(difference, {name: new[name] - old[name] for name in new}, resampling, stratum)


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
    weights = family_weights(stratum, resampling)
    whole, drawn = _average([aligned(table, first) for table in candidates], weights)
    if references:
        other, drawn_other = _average([aligned(table, first) for table in references], weights)
        whole = {name: whole[name] - other[name] for name in whole}
        drawn = {name: drawn[name] - drawn_other[name] for name in drawn}
    return _intervals(whole, drawn, resampling, stratum)


def _average(tables: Sequence[Predictions], weights: NDArray[np.int64]) -> tuple[dict[str, float], Values]:
    statistics = [decision_statistic(table) for table in tables]
    whole = [estimates(table, statistic) for table, statistic in zip(tables, statistics, strict=True)]
    drawn = [_replicate(statistic, weights, len(tables[0])) for statistic in statistics]
    mean_whole = {name: float(np.mean([value[name] for value in whole])) for name in whole[0]}
    return mean_whole, {name: np.mean([value[name] for value in drawn], axis=0) for name in drawn[0]}


def _replicate(statistic: Statistic, weights: NDArray[np.int64], rows: int) -> Values:
    parts = [statistic(chunk) for chunk in _chunks(weights, rows)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _chunks(weights: NDArray[np.int64], rows: int) -> Iterator[NDArray[np.float64]]:
    size = max(1, CHUNK // rows)
    for start in range(0, len(weights), size):
        yield weights[start : start + size].astype(np.float64)


def _intervals(
    estimate: dict[str, float], values: Values, resampling: Resampling, stratum: NDArray[np.int64]
) -> dict[str, Interval]:
    groups, strata = len(stratum), len(np.unique(stratum))
    tail = expanded_tail(resampling.level, groups, strata)
    intervals = {}
    for name, replicates in values.items():
        defined = groups > strata and not np.isnan(replicates).any()
        low, high = np.quantile(replicates, (tail, 1 - tail)) if defined else (np.nan, np.nan)
        parameters = resampling.level, resampling.replicates, groups
        intervals[name] = Interval(estimate[name], float(low), float(high), *parameters)
    return intervals
