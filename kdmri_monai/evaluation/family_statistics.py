"""Means over slices as functions of how often every patient family counts."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kdmri_monai.evaluation.metrics import ratio
from kdmri_monai.evaluation.statistic import Statistic

Column = NDArray[np.float64]


def family_means(family: NDArray[np.str_], values: Mapping[str, Column]) -> Statistic:
    """Means over slices as functions of how often every patient family counts, for ``bootstrap``.

    Args:
        family: Family of every slice, shape ``(N,)``.
        values: By name, shape ``(N,)`` each.
    """
    _, row = np.unique(family, return_inverse=True)
    sums = {name: np.bincount(row, weights=value) for name, value in values.items()}
    slices = np.bincount(row).astype(np.float64)
    return lambda weights: {name: ratio(weights @ total, weights @ slices) for name, total in sums.items()}
