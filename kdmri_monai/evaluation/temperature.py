"""Temperature scaling of a table of predictions, found on validation patients and judged on others.

Log-probabilities are logits up to a constant of every row, so a table is all that is needed. The sibling for a network
is ``engines.calibration.fit_temperature``; both share bounds and optimum.

Source: Guo et al., "On calibration of modern neural networks", ICML 2017, section 4.2.
"""

from dataclasses import asdict
from math import log, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from kdmri_monai.data.errors import LeakageError
from kdmri_monai.engines.calibration import BOUNDS, NEAR_BOUND, best_temperature
from kdmri_monai.evaluation.calibration import brier_scores, calibration_error, log_losses
from kdmri_monai.evaluation.errors import ComparisonError
from kdmri_monai.evaluation.family_statistics import family_means
from kdmri_monai.evaluation.intervals import Interval, bootstrap
from kdmri_monai.evaluation.predictions import FLOOR, Predictions
from kdmri_monai.evaluation.reliability import reliability_bins
from kdmri_monai.evaluation.resampling import Resampling

NAMED = 5
"""How many families an error names before it only counts them."""

SCORES = {"nll": log_losses, "brier": brier_scores}


def fit_table_temperature(validation: Predictions) -> float:
    """Temperature of the smallest mean negative log-likelihood over slices.

    Every slice counts alike, as in the paper and as in the NLL that is reported, so a patient with many slices counts
    more. Patients that count alike would be the optimum of another number than the one it is judged by.

    Args:
        validation: Slices of patients whom the network has not learned from. Probabilities below ``FLOOR`` count as it.

    Returns:
        The temperature by which log-probabilities are to be divided, within ``engines.calibration.BOUNDS``; above 1 for
        a network that is too sure. At a bound, with a warning, where all slices are right or none is better than
        chance.
    """
    return best_temperature(_logits(validation), validation.label)


def scaled(predictions: Predictions, temperature: float) -> Predictions:
    """The table with log-probabilities divided by a temperature and normalised again; decisions stay as they are.

    Args:
        predictions: One row a slice. Probabilities below ``FLOOR`` count as it.
        temperature: Positive; 1 leaves the table as it is, more makes it less sure.

    Raises:
        ValueError: ``temperature`` is not a positive number.
    """
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature is {temperature}, a positive number is needed")
    names = predictions.id, predictions.patient, predictions.family, predictions.label
    probabilities = np.exp(log_softmax(_logits(predictions) / temperature, axis=1))
    return Predictions(*names, probabilities, predictions.classes)


def calibration_before_after(
    validation: Predictions, test: Predictions, bins: int = 15, resampling: Resampling | None = None
) -> dict[str, Any]:
    """Calibration on test slices before and after the temperature that validation slices ask for.

    Args:
        validation: Slices that the temperature is fitted to.
        test: Slices of other patient families.
        bins: Of the calibration error and the reliability diagrams.
        resampling: How the intervals are found; 2,000 replicates, 95 %, seed 0 by default. They are those of other test
            patients for this temperature.

    Returns:
        ``temperature``, ``at_bound`` (it says nothing then), ``bins``; ``slices`` and ``families`` of ``validation``
        and ``test``; ``before`` and ``after``, each with ``ece``, ``nll`` (nats), ``brier`` (0..2), numbers
        ``{"value", "low", "high"}``, and ``reliability`` by rule ``width`` and ``count``, mappings with the fields of
        ``ReliabilityBins``; ``difference``, after minus before, of the three numbers. An ``ece`` has no bounds, see
        ``calibration_error``.

    Raises:
        LeakageError: The tables share a patient family; up to five are named.
        ComparisonError: The tables have other classes.
        ValueError: ``bins`` is below 1.
    """
    _check_apart(validation, test)
    resampling = resampling or Resampling()
    temperature = fit_table_temperature(validation)
    tables = {"before": test, "after": scaled(test, temperature)}
    scores = {
        f"{when}/{name}": score(table.label, table.probabilities)
        for when, table in tables.items()
        for name, score in SCORES.items()
    }
    scores |= {f"difference/{name}": scores[f"after/{name}"] - scores[f"before/{name}"] for name in SCORES}
    found = bootstrap(test, family_means(test.family, scores), resampling)
    errors = {when: calibration_error(table.label, table.probabilities, bins) for when, table in tables.items()}
    errors["difference"] = errors["after"] - errors["before"]
    numbers = {
        when: {"ece": {"value": error, "low": nan, "high": nan}}
        | {name: _num(found[f"{when}/{name}"]) for name in SCORES}
        for when, error in errors.items()
    }
    return {
        "temperature": temperature,
        "at_bound": min(abs(log(temperature / bound)) for bound in BOUNDS) < NEAR_BOUND,
        "bins": bins,
        "validation": _counts(validation),
        "test": _counts(test),
        **{when: numbers[when] | {"reliability": _reliability(table, bins, resampling.level)}
           for when, table in tables.items()},
        "difference": numbers["difference"],
    }  # fmt: skip


def _logits(predictions: Predictions) -> NDArray[np.float64]:
    return np.log(np.maximum(predictions.probabilities, FLOOR))


def _check_apart(validation: Predictions, test: Predictions) -> None:
    if validation.classes != test.classes:
        both = f"{', '.join(validation.classes)} and {', '.join(test.classes)}"
        raise ComparisonError(f"classes of validation and test differ: {both}")
    shared = np.intersect1d(validation.family, test.family).tolist()
    if shared:
        named = ", ".join(shared[:NAMED]) + (f" and {len(shared) - NAMED} others" if len(shared) > NAMED else "")
        raise LeakageError(f"a temperature is fitted to other patients than it is judged on; in both are: {named}")


def _counts(table: Predictions) -> dict[str, int]:
    return {"slices": len(table), "families": len(np.unique(table.family))}


def _reliability(table: Predictions, bins: int, level: float) -> dict[str, Any]:
    return {rule: asdict(reliability_bins(table, bins, rule, level)) for rule in ("width", "count")}


def _num(interval: Interval) -> dict[str, float]:
    return {"value": interval.estimate, "low": interval.low, "high": interval.high}
