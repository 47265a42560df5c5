"""Permutation tests over patient families: between two networks, between two arms of seeds, and against chance.

Slices of a family are near-copies of one another, so what is exchanged is always a whole family. Two networks that
differ by chance alone might have swapped their answers of any family. Answers that have nothing to do with the truth
would be as good with the labels of the families exchanged. Both need no more of a family than what was decided how
often, so a replicate costs a row of a matrix product.

Sources: Good, "Permutation, Parametric, and Bootstrap Tests of Hypotheses", 2005, chapters 3 and 6 (paired exchange,
clusters); Phipson and Smyth, "Permutation p-values should never be zero", Statistical Applications in Genetics and
Molecular Biology 2010 (the 1 that is added to both counts of a random sample of permutations).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from kdmri_monai.evaluation.errors import ComparisonError, PredictionError
from kdmri_monai.evaluation.metrics import mean_of_defined, ratio
from kdmri_monai.evaluation.pairing import aligned
from kdmri_monai.evaluation.predictions import Predictions
from kdmri_monai.evaluation.resampling import Resampling, family_classes
from kdmri_monai.evaluation.statistic import decision_values, family_confusions

Array = NDArray[np.float64]

TIE = 1e-12
"""Statistics that differ by less are equal: they are sums of the same numbers in another order."""


@dataclass(frozen=True)
class NullRange:
    """What a metric is when the answers have nothing to do with the labels.

    Attributes:
        mean: Mean over the permutations; the chance level of these answers for these labels.
        low: Lower end of the range that holds ``level`` of the permutations, as much left out below as above.
        high: Upper end.
        p: Chance of a value as high as the one found, one-sided: (1 + permutations that reach it) / (1 + all).
    """

    mean: float
    low: float
    high: float
    p: float


def permutation_p(
    candidate: Predictions,
    reference: Predictions,
    metric: str = "balanced_accuracy",
    resampling: Resampling | None = None,
) -> float:
    """Two-sided p-value of a difference between two networks over the same slices.

    Arguments, result and errors as for ``arms_permutation_p`` with arms of one table each.
    """
    return arms_permutation_p([candidate], [reference], metric, resampling)


def arms_permutation_p(
    candidates: Sequence[Predictions],
    references: Sequence[Predictions],
    metric: str = "balanced_accuracy",
    resampling: Resampling | None = None,
) -> float:
    """Two-sided p-value of the difference that ``intervals.seed_averaged`` gives of two arms.

    In every replicate a random part of the families swaps its answers between the arms; each seed of one arm swaps with
    each seed of the other in turn, and the differences are averaged. Where the families that differ at all have no more
    swaps than ``replicates``, every swap is done once and the p-value is exact; otherwise it is (1 + swaps with at
    least as large a difference) / (1 + replicates). The hypothesis is that the arms answer alike for these patients;
    with other numbers of seeds in the arms it holds for their means only.

    Args:
        candidates: Tables of one arm, one a seed, over the same ids in any order.
        references: Tables of the other arm over the same ids.
        metric: A name of ``decision_statistic``.
        resampling: Number of swaps and their seed; 2,000 and 0 by default.

    Returns:
        p-value, above 0; 1 for arms that decide every slice alike, NaN where the metric is not defined for a swap.

    Raises:
        ComparisonError: An arm without tables, or tables that differ in classes, ids, labels, patients or families.
        ValueError: ``metric`` is none of those names.
    """
    if not candidates or not references:
        raise ComparisonError(f"{len(candidates)} tables against {len(references)}, one of each is the least")
    first, resampling = references[0], resampling or Resampling()
    confusion = _metric_of_confusions(metric, first.classes)
    new, old = ([family_confusions(aligned(table, first)) for table in arm] for arm in (candidates, references))
    pairs = [(one, other) for one in new for other in old]
    differs = np.any([(one != other).any(axis=(1, 2)) for one, other in pairs], axis=0)
    swaps = _swaps(int(differs.sum()), resampling)
    difference = np.mean([_swapped_difference(one, other, differs, swaps, confusion) for one, other in pairs], axis=0)
    if np.isnan(difference).any():
        return float("nan")
    return float((np.abs(difference) >= np.abs(difference[0]) - TIE).mean())  # the first row swaps nothing: the 1 +


def label_permutation(
    predictions: Predictions, metric: str = "balanced_accuracy", resampling: Resampling | None = None
) -> NullRange:
    """The range of a metric when the labels of the families are exchanged at random.

    A family keeps its slices, its answers and one label for all of them, so the number of slices of a class varies
    where families differ in size.

    Args:
        predictions: One row a slice or a patient.
        metric: A name of ``decision_statistic``, or ``macro_auroc`` or ``auroc/`` with a class, larger is better.
        resampling: Number of permutations, seed, and level of the range; 2,000, 0 and 95 % by default.

    Returns:
        Mean, range and p-value; NaN where the metric is not defined for the labels or for one permutation of them.

    Raises:
        PredictionError: A family has two labels.
        ValueError: ``metric`` is none of those names.
    """
    resampling = resampling or Resampling()
    _, first, family = np.unique(predictions.family, return_index=True, return_inverse=True)
    mixed = np.flatnonzero(predictions.label != predictions.label[first][family])
    if mixed.size:
        name = str(predictions.family[mixed[0]])
        raise PredictionError(f"family {name!r} has two labels, so its label cannot be exchanged", int(mixed[0]) + 1)
    of_labels = _areas(predictions, metric) if "auroc" in metric else _decisions(predictions, metric)
    own = family_classes(predictions)
    permuted = np.random.default_rng(resampling.seed).permuted(np.tile(own, (resampling.replicates, 1)), axis=1)
    found, values = float(of_labels(own[None])[0]), of_labels(permuted)
    if np.isnan(found) or np.isnan(values).any():
        return NullRange(*[float("nan")] * 4)
    tail = (1 - resampling.level) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    reached = int((values >= found - TIE).sum())
    return NullRange(float(values.mean()), float(low), float(high), (1 + reached) / (1 + resampling.replicates))


def _metric_of_confusions(metric: str, classes: tuple[str, ...]) -> Callable[[Array], Array]:
    names = list(decision_values(np.ones((1, len(classes), len(classes))), classes))
    if metric not in names:
        raise ValueError(f"metric is {metric!r}, allowed are {', '.join(names)}")
    return lambda confusion: decision_values(confusion, classes)[metric]


def _swaps(families: int, resampling: Resampling) -> Array:
    """Which families are swapped, 0 or 1, first none: all ``2**families`` ways, or ``1 + replicates`` of them."""
    if 2**families <= resampling.replicates:
        numbers = np.arange(2**families)[:, None]
        return ((numbers >> np.arange(families)) & 1).astype(np.float64)
    drawn = np.random.default_rng(resampling.seed).integers(0, 2, (resampling.replicates, families))
    return np.concatenate((np.zeros((1, families)), drawn))


def _swapped_difference(
    one: Array, other: Array, differs: NDArray[np.bool_], swaps: Array, metric: Callable[[Array], Array]
) -> Array:
    moved = np.tensordot(swaps, (other - one)[differs], axes=1)
    return metric(one.sum(axis=0) + moved) - metric(other.sum(axis=0) - moved)


def _decisions(predictions: Predictions, metric: str) -> Callable[[NDArray[np.int64]], Array]:
    """The metric as a function of the labels of the families, shape ``(R, G)``."""
    classes = predictions.classes
    confusion = _metric_of_confusions(metric, classes)
    decided = family_confusions(predictions).sum(axis=1)
    return lambda label: confusion(np.stack([(label == k) @ decided for k in range(len(classes))], axis=1))


def _areas(predictions: Predictions, metric: str) -> Callable[[NDArray[np.int64]], Array]:
    """Areas under the ROC curve from the rank sums of the families (Mann-Whitney), as ``_decisions``."""
    names = {f"auroc/{name}": [k] for k, name in enumerate(predictions.classes)}
    names["macro_auroc"] = list(range(len(predictions.classes)))
    if metric not in names:
        raise ValueError(f"metric is {metric!r}, allowed are {', '.join(names)}")
    _, family = np.unique(predictions.family, return_inverse=True)
    rows = np.bincount(family).astype(np.float64)

    def areas(label: NDArray[np.int64]) -> Array:
        found = []
        for k in names[metric]:
            ranks = np.bincount(family, weights=rankdata(predictions.probabilities[:, k]))
            positives = (label == k) @ rows
            above = (label == k) @ ranks - positives * (positives + 1) / 2
            found.append(ratio(above, positives * (rows.sum() - positives)))
        return mean_of_defined(np.stack(found, axis=1))

    return areas
