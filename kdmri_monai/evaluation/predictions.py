"""The predictions table: what a network said of every slice, and nothing else.

Every number that is reported is computed from this table, so it is checked where it enters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kdmri_monai.data.taxonomy import CLASSES
from kdmri_monai.evaluation.errors import PredictionError

SUM_TOLERANCE = 1e-4
"""How far the probabilities of a row may be from 1: a float16 softmax is within it."""

FLOOR = float(np.finfo(np.float64).eps)
"""Probabilities below it count as it in a logarithm, 2.2e-16; the clip of ``sklearn.metrics.log_loss``."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Class probabilities of N slices, or of N patients.

    Attributes:
        id: Unique names of the rows, shape ``(N,)``.
        patient: Patient of every row, shape ``(N,)``.
        family: Patient family of every row, the unit that is independent of the others, shape ``(N,)``.
        label: True class, 0..K-1, shape ``(N,)``.
        probabilities: Rows that sum to 1, shape ``(N, K)``, float64.
        classes: The K names of the classes.

    Raises:
        PredictionError: No rows, sizes that differ, an empty or repeated name, a label outside 0..K-1, a
            probability outside [0, 1], a sum away from 1; it names the row and the column.
    """

    id: NDArray[np.str_]
    patient: NDArray[np.str_]
    family: NDArray[np.str_]
    label: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    classes: tuple[str, ...] = CLASSES

    def __post_init__(self) -> None:
        for name in ("id", "patient", "family"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.str_))
        object.__setattr__(self, "label", np.asarray(self.label, dtype=np.int64))
        object.__setattr__(self, "probabilities", np.asarray(self.probabilities, dtype=np.float64))
        _check_sizes(self)
        _check_names(self)
        _check_label(self)
        _check_probabilities(self)

    def __len__(self) -> int:
        return len(self.id)

    @property
    def prediction(self) -> NDArray[np.int64]:
        """The most probable class of every row, the first of equals, shape ``(N,)``."""
        return self.probabilities.argmax(axis=1).astype(np.int64)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Predictions":
        """The rows with these numbers, in this order, or the rows where a boolean array is true."""
        return Predictions(
            self.id[rows],
            self.patient[rows],
            self.family[rows],
            self.label[rows],
            self.probabilities[rows],
            self.classes,
        )


def by_patient(predictions: Predictions) -> Predictions:
    """One row a patient: the mean log-probability over its slices, renormalised.

    Args:
        predictions: One row a slice. Probabilities below ``FLOOR`` count as ``FLOOR``, so that one slice with
            a probability of 0 weighs much and does not decide alone.

    Returns:
        One row a patient, sorted by patient; ``id`` is the patient.

    Raises:
        PredictionError: A patient with two labels or in two families.
    """
    patients, first, row = np.unique(predictions.patient, return_index=True, return_inverse=True)
    for column in ("label", "family"):
        values = getattr(predictions, column)
        _check_constant(values, values[first][row], predictions.patient, column)
    mean = np.zeros((len(patients), len(predictions.classes)))
    np.add.at(mean, row, np.log(np.maximum(predictions.probabilities, FLOOR)))
    mean /= np.bincount(row)[:, None]
    return Predictions(
        patients,
        patients,
        predictions.family[first],
        predictions.label[first],
        softmax(mean, axis=1),
        predictions.classes,
    )


def probability_columns(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the probability columns of a file, ``p_pituitary_tumour`` for ``pituitary tumour``."""
    return tuple("p_" + name.replace(" ", "_") for name in classes)


def _check_sizes(table: Predictions) -> None:
    shape = (len(table.id), len(table.classes))
    if len(table.id) == 0:
        raise PredictionError("the table has no rows")
    for name in ("id", "patient", "family", "label"):
        if getattr(table, name).shape != shape[:1]:
            raise PredictionError(f"has shape {getattr(table, name).shape}, expected {shape[:1]}", column=name)
    if table.probabilities.shape != shape:
        raise PredictionError(f"probabilities have shape {table.probabilities.shape}, expected {shape} (N, K)")


def _check_names(table: Predictions) -> None:
    for name in ("id", "patient", "family"):
        empty = np.flatnonzero(getattr(table, name) == "")
        if empty.size:
            raise PredictionError("is empty", int(empty[0]) + 1, name)
    _, first, row = np.unique(table.id, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[row] != np.arange(len(table)))
    if repeated.size:
        at = int(repeated[0])
        raise PredictionError(f"{str(table.id[at])!r} already stands in row {first[row[at]] + 1}", at + 1, "id")


def _check_label(table: Predictions) -> None:
    classes = len(table.classes)
    wrong = np.flatnonzero((table.label < 0) | (table.label >= classes))
    if wrong.size:
        at = int(wrong[0])
        raise PredictionError(f"is {table.label[at]}, allowed are 0..{classes - 1}", at + 1, "label")


def _check_probabilities(table: Predictions) -> None:
    names = probability_columns(table.classes)
    outside = np.argwhere(~((table.probabilities >= 0) & (table.probabilities <= 1)))  # NaN is outside too
    if outside.size:
        at, column = map(int, outside[0])
        raise PredictionError(f"{table.probabilities[at, column]} is outside [0, 1]", at + 1, names[column])
    total = table.probabilities.sum(axis=1)
    wrong = np.flatnonzero(np.abs(total - 1) > SUM_TOLERANCE)
    if wrong.size:
        at = int(wrong[0])
        columns = " + ".join(names)
        raise PredictionError(f"sum is {total[at]:.6g}, not 1 within {SUM_TOLERANCE:g}", at + 1, columns)


def _check_constant(
    values: NDArray[np.generic], expected: NDArray[np.generic], patient: NDArray[np.str_], column: str
) -> None:
    wrong = np.flatnonzero(values != expected)
    if wrong.size:
        at = int(wrong[0])
        both = f"{expected[at]} and {values[at]}"
        raise PredictionError(f"patient {str(patient[at])!r} has both {both}", at + 1, column)
