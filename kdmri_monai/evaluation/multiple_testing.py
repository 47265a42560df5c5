"""Adjusting p-values where several hypotheses are tested together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """p-values adjusted so that comparing each to alpha keeps the chance of any false rejection at alpha.

    The i-th smallest of m is multiplied by ``m - i + 1``; none becomes smaller than one before it, or larger than 1.
    Nothing is assumed of how the tests depend on one another.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979;
        in the adjusted form of Wright, "Adjusted p-values for simultaneous inference", Biometrics 1992.

    Args:
        p_values: Of the m tests, shape ``(M,)``. A NaN, a test that was not done, stays NaN and does not count to m.

    Returns:
        Adjusted values in the same order, shape ``(M,)``.

    Raises:
        ValueError: A value is outside 0..1, or they are not in one row.
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"p-values have shape {values.shape}, expected (M,)")
    done = np.flatnonzero(~np.isnan(values))
    wrong = values[done][(values[done] < 0) | (values[done] > 1)]
    if wrong.size:
        raise ValueError(f"a p-value is {wrong[0]:g}, allowed is 0 to 1")
    ascending = done[np.argsort(values[done], kind="stable")]
    steps = np.arange(len(done), 0, -1) * values[ascending]
    adjusted = np.full(len(values), np.nan)
    adjusted[ascending] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted
