"""ROC curves of a class against the others, with a band over patient families.

Sources: Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 2006 (equally scored instances; curves
compared at rates of false positives); Hanley and McNeil, Radiology 1982 (the area).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.evaluation.intervals import Interval, bootstrap
from kdmri_monai.evaluation.metrics import ratio
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.ranking import Sums, auroc, rank_sums
from kdmri_monai.evaluation.resampling import Resampling
from kdmri_monai.evaluation.statistic import Statistic, Values

GRID = tuple(number / 50 for number in range(51))

AREA = "auroc"


@dataclass(frozen=True)
class RocCurve:
    """One class against the others.

    Attributes:
        name: Name of the class.
        positives: Slices of the class.
        negatives: Slices of the others.
        false_positive_rate: Of every different threshold, from 0 to 1, U + 1 of them.
        true_positive_rate: Sensitivity at the same thresholds.
        threshold: Least probability of the class that counts as positive; infinity first.
        grid: False-positive rates of the band.
        band: Sensitivity at the rates of ``grid``, between points on straight lines; where the curve rises at a rate,
            its upper end. Pointwise intervals.
        area: Area under the curve, ties counted half.
    """

    name: str
    positives: int
    negatives: int
    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    threshold: tuple[float, ...]
    grid: tuple[float, ...]
    band: tuple[Interval, ...]
    area: Interval


def roc_curve(
    predictions: Predictions, name: str, grid: Sequence[float] = GRID, resampling: Resampling | None = None
) -> RocCurve:
    """The curve of one class.

    Args:
        predictions: One row a slice or a patient.
        name: The class.
        grid: False-positive rates of the band, 0..1.
        resampling: How the intervals are found; 2,000 replicates, 95 %, seed 0 by default.

    Raises:
        ValueError: No such class, no rows of it, no others, or a rate outside 0..1.
    """
    if name not in predictions.classes:
        raise ValueError(f"class is {name!r}, allowed are {', '.join(predictions.classes)}")
    outside = [rate for rate in grid if not 0 <= rate <= 1]
    if outside:
        raise ValueError(f"a false-positive rate of the grid is {outside[0]}, allowed are 0 to 1")
    k = predictions.classes.index(name)
    positive, score = predictions.label == k, predictions.probabilities[:, k]
    positives = int(positive.sum())
    if positives in (0, len(positive)):
        raise ValueError(f"{positives} of {len(positive)} rows are {name}: there is no curve without both kinds")
    found = bootstrap(predictions, _statistic(predictions, k, grid), resampling)
    false, true = (rates[0] for rates in curves(rank_sums(positive, score, np.ones((1, len(positive))))))
    return RocCurve(
        name=name,
        positives=positives,
        negatives=len(positive) - positives,
        false_positive_rate=tuple(false.tolist()),
        true_positive_rate=tuple(true.tolist()),
        threshold=(float("inf"), *np.unique(score)[::-1].tolist()),
        grid=tuple(grid),
        band=tuple(found[str(number)] for number in range(len(grid))),
        area=found[AREA],
    )


def roc_curves(
    predictions: Predictions, grid: Sequence[float] = GRID, resampling: Resampling | None = None
) -> tuple[RocCurve, ...]:
    """The curves of all classes that have one, in the order of the classes; a class without rows has none.

    Arguments and errors as for ``roc_curve``.
    """
    counts = np.bincount(predictions.label, minlength=len(predictions.classes))
    named = zip(predictions.classes, counts.tolist(), strict=True)
    return tuple(roc_curve(predictions, name, grid, resampling) for name, n in named if 0 < n < len(predictions))


def curves(sums: Sums) -> Sums:
    """False-positive and true-positive rate at every threshold from the highest on.

    Args:
        sums: Weight of positives and of negatives at every different score, ascending, ``(R, U)`` each, as
            ``ranking.rank_sums`` gives them.

    Returns:
        Two arrays of shape ``(R, U + 1)`` that begin with 0; NaN without negatives, without positives.
    """
    positives, negatives = (np.pad(np.cumsum(part[:, ::-1], axis=1), ((0, 0), (1, 0))) for part in sums)
    return ratio(negatives, negatives[:, -1:]), ratio(positives, positives[:, -1:])


def _statistic(predictions: Predictions, k: int, grid: Sequence[float]) -> Statistic:
    _, family = np.unique(predictions.family, return_inverse=True)
    positive, score = predictions.label == k, predictions.probabilities[:, k]
    rates = np.asarray(grid, dtype=np.float64)

    def statistic(weights: NDArray[np.float64]) -> Values:
        sums = rank_sums(positive, score, weights[:, family])
        band = np.stack([np.interp(rates, false, true) for false, true in zip(*curves(sums), strict=True)])
        return {AREA: auroc(sums)} | {str(number): column for number, column in enumerate(band.T)}

    return statistic
